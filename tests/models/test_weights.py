import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from tabweave.errors import ArtifactError, ConfigError
from tabweave.models.encoders.encoder_config import pretrained_encoder_config
from tabweave.models.encoders.transformer_encoder import pretrained_model
from tabweave.models.registry import build_model, load_model, save_model
from tabweave.models.weights import check_finite, check_shapes, stored_shapes

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(build_model(tiny.spec("multimodal_bert", 2)), folder)
    return folder


@pytest.fixture
def model(saved, tmp_path):
    """A saved model, to change as one likes."""
    return shutil.copytree(saved, tmp_path / "model")


def change(path, edit):
    values = json.loads(path.read_text("utf-8"))
    edit(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def refused(folder, words):
    started = time.process_time()
    with pytest.raises(
        ArtifactError, match=f"model does not hold a whole model.*{words}"
    ):
        load_model(folder)
    assert time.process_time() - started < 5


def test_a_million_layers_are_not_built(model):
    name = "num_hidden_layers"
    change(
        model / "config.json", lambda v: v["text"][0]["encoder"].update({name: 10**6})
    )
    refused(model, f"{name} is 1,000,000, but the weights are")


@pytest.mark.parametrize(
    ("name", "size"),
    [("vocab_size", 10**12), ("intermediate_size", 10**11), ("num_hidden_layers", 40)],
)
def test_sizes_that_are_not_those_of_the_weights_take_no_memory(model, name, size):
    change(
        model / "config.json", lambda v: v["text"][0]["encoder"].update({name: size})
    )
    refused(model, r"its description makes text\.0\..*but the weights hold it as")


def test_sizes_of_other_parts_are_compared_as_well(model):
    change(
        model / "config.json", lambda v: v["model"].update({"hidden_common_dim": 10**8})
    )
    refused(model, "its description makes .* but the weights hold it as")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_model_of_no_numbers_is_refused(model, bad):
    weights = load_file(model / WEIGHTS)
    name = sorted(weights)[-1]
    weights[name].view(-1)[0] = bad
    save_file(weights, model / WEIGHTS)
    refused(model, f"1 of the .* numbers of {name} are NaN or infinite")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"model":' * 50_000])
def test_a_deep_description_is_an_error_of_the_file(model, text):
    (model / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"config\.json is damaged"):
        load_model(model)


def test_a_deep_header_of_weights_is_an_error_of_the_file(model):
    header = b'{"a":' * 50_000
    (model / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)
    refused(model, "")


def test_whole_numbers_and_large_sums_are_finite():
    check_finite({"a": torch.tensor([2**40]), "b": torch.full((9,), 3e38)})


def test_shapes_are_compared_name_by_name(saved):
    shapes = stored_shapes([saved / WEIGHTS])
    check_shapes(shapes, dict(shapes))
    first = min(shapes)
    with pytest.raises(
        ValueError, match=f"makes {first} nothing, but the weights hold"
    ):
        check_shapes({n: s for n, s in shapes.items() if n != first}, shapes)


# Pretrained encoders


@pytest.fixture
def encoder(tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_sound_encoder_is_described_and_loaded(encoder):
    assert pretrained_encoder_config(str(encoder), 16)["vocab_size"] == 50
    assert pretrained_model(encoder).config.hidden_size == 16


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("num_hidden_layers", 10**6, "num_hidden_layers is 1,000,000, but"),
        ("vocab_size", 10**12, "describes 16,000,0.* weights, but the files"),
        ("hidden_size", 10**9, ""),
        ("hidden_size", "wide", ""),
        ("num_attention_heads", 0, ""),
        ("max_position_embeddings", None, ""),
    ],
)
def test_an_encoder_without_measure_is_refused(encoder, name, value, words):
    change(encoder / "config.json", lambda v: v.update({name: value}))
    started = time.process_time()
    with pytest.raises(ConfigError, match=f"encoder' cannot be loaded: .*{words}"):
        pretrained_encoder_config(str(encoder), 16)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "[]", "1", ""])
def test_an_encoder_of_an_odd_description_is_refused(encoder, text):
    (encoder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="encoder' cannot be loaded"):
        pretrained_encoder_config(str(encoder), 16)


def test_an_encoder_of_no_numbers_is_refused(encoder):
    weights = load_file(encoder / WEIGHTS)
    weights["embeddings.word_embeddings.weight"][0, 0] = float("nan")
    save_file(weights, encoder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(
        ConfigError, match=r"1 of the 800 numbers of .* NaN or infinite"
    ):
        pretrained_model(encoder)
