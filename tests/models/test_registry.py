import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file
from torch.nn import functional

from models_fixtures import (
    FEATURES,
    FIELDS,
    KIND_SIZES,
    MAX_SEN_LEN,
    VOCABULARY,
    WITH_CLASSES,
    model_config,
    small_disk,
)
from tabweave.errors import ArtifactError, ConfigError
from tabweave.models.config import ARCHITECTURES, ModelConfig
from tabweave.models.registry import (
    TextInput,
    build_model,
    choose_fields,
    describe_model,
    load_model,
    save_model,
)

CLASSES = ("no", "yes")
BATCH = np.arange(12)


def text_input(name="review", **changes):
    return replace(TextInput(name, "scratch", VOCABULARY, 0, MAX_SEN_LEN, 3), **changes)


def describe(name, fields=FIELDS, features=FEATURES, **changes):
    inputs = [text_input(field, **changes) for field in fields]
    return describe_model(model_config(name), inputs, features, CLASSES)


def same_weights(model, other):
    mine, its = model.state_dict(), other.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[k], its[k]) for k in mine)


@pytest.mark.parametrize(("name", "classes"), WITH_CLASSES)
def test_every_architecture_can_learn_64_rows_by_heart(tiny, name, classes):
    torch.manual_seed(0)
    config = {"scratch": {"hidden_size": 32, "num_layers": 1, "num_heads": 2}}
    model = build_model(tiny.spec(name, classes, dropout_keep=1.0, **config))
    batch = tiny.rows(name, rows=64, classes=classes).batch(np.arange(64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    for _ in range(300):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(batch), batch.labels)
        loss.backward()
        optimizer.step()
        if loss < 0.004:
            break
    with torch.inference_mode():
        logits = model.eval()(batch)
    assert functional.cross_entropy(logits, batch.labels) < 0.05
    assert torch.equal(logits.argmax(1), batch.labels)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_saved_model_says_the_same_bits(tiny, name, tmp_path):
    model, batch = tiny.model(name, classes=3), tiny.rows(name).batch(BATCH)
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert not again.training
    assert again.spec == model.spec
    assert same_weights(again, model)
    assert torch.equal(again(batch), model(batch))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equal_models_give_equal_bytes(tiny, name, tmp_path):
    for folder in ("a", "b"):
        save_model(tiny.model(name), tmp_path / folder)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["config.json", "model.safetensors"]
    for file in files:
        a, b = ((tmp_path / folder / file).read_bytes() for folder in ("a", "b"))
        assert a == b


def test_the_description_is_whole_and_plain(tiny, tmp_path):
    save_model(tiny.model("trimodal_bert"), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["classes"] == ["class 0", "class 1"]
    assert config["features"] == list(FEATURES)
    assert [field["name"] for field in config["text"]] == list(FIELDS)
    assert all(field["encoder"]["vocab_size"] == 200 for field in config["text"])


def test_a_failed_save_leaves_the_old_model(tiny, tmp_path):
    model = tiny.model("tabular")
    save_model(model, tmp_path / "model")
    with (
        small_disk(),
        pytest.raises(ArtifactError, match=r"Cannot write .* are free in"),
    ):
        save_model(tiny.model("trimodal_bert"), tmp_path / "model")
    assert same_weights(load_model(tmp_path / "model"), model)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(tiny.model("multimodal_bert"), folder)
    return folder


def change_config(change):
    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def read_weights(folder):
    # Not load_file: its tensors are a map of the file that is written next.
    return load((folder / "model.safetensors").read_bytes())


def change_weights(change):
    def damage(folder):
        weights = read_weights(folder)
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return damage


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def drop(name):
    return lambda folder: (folder / name).unlink()


def cut(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1])


def pickled(folder):
    torch.save(read_weights(folder), folder / "model.safetensors")


def encoder(**changes):
    return change_config(lambda c: c["text"][0]["encoder"].update(changes))


DAMAGES = {
    "nothing there": shutil.rmtree,
    "no config": drop("config.json"),
    "no weights": drop("model.safetensors"),
    "empty config": write("config.json", b""),
    "config is a list": write("config.json", b"[]"),
    "config is binary": write("config.json", b"\xff\xfe\x00"),
    "config without keys": write("config.json", b"{}"),
    "empty weights": write("model.safetensors", b""),
    "random weights": write("model.safetensors", bytes(range(256)) * 9),
    "pickled weights": pickled,
    "cut weights": cut,
    "a further key": change_config(lambda c: c.update(code="print()")),
    "an unknown architecture": change_config(
        lambda c: c["model"].update(model_class="gpt")
    ),
    "another architecture": change_config(
        lambda c: c["model"].update(model_class="tabular")
    ),
    "another width": change_config(lambda c: c["model"].update(hidden_common_dim=17)),
    "a feature less": change_config(lambda c: c["features"].pop()),
    "a class more": change_config(lambda c: c["classes"].append("third")),
    "an encoder that is none": change_config(lambda c: c["text"][0].update(encoder={})),
    "an encoder of an unknown kind": encoder(model_type="unheard"),
    "an encoder of another kind": encoder(model_type="gpt2"),
    "an encoder without a kind": change_config(
        lambda c: c["text"][0]["encoder"].pop("model_type")
    ),
    "an encoder of another width": encoder(hidden_size=64),
    "an encoder of width 0": encoder(hidden_size=0),
    "an encoder without heads": encoder(num_attention_heads=0),
    "an encoder that pads with what is no token": encoder(pad_token_id=9999),
    "an encoder of images": encoder(model_type="clip"),
    "an encoder of an unknown precision": encoder(dtype="float99"),
    "an encoder with odd heads": encoder(num_attention_heads=3),
    "an encoder with a text for a width": encoder(hidden_size="wide"),
    "an encoder with an unknown activation": encoder(hidden_act="unheard"),
    "a weight less": change_weights(lambda w: w.pop("head.bias")),
    "a weight more": change_weights(lambda w: w.update(other=torch.ones(1))),
    "a weight of another shape": change_weights(
        lambda w: w.update({"head.bias": torch.ones(9)})
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_or_foreign_model_is_refused(saved, tmp_path, damage):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    load_model(folder)
    damage(folder)
    with pytest.raises(
        ArtifactError, match=r"(?s)does not hold a whole model.*stage train"
    ):
        load_model(folder)


def test_code_in_the_folder_is_not_run(saved, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    encoder(auto_map=own, _name_or_path=str(folder))(folder)
    (folder / "own.py").write_text("raise SystemExit('the code was run')")
    assert same_weights(load_model(folder), load_model(saved))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_takes_its_number_of_fields(name):
    wanted = ARCHITECTURES[name].fields
    for count in range(4):
        fields = [text_input(f"field {n}") for n in range(count)]
        if wanted in (0, count) or (wanted is None and count):
            chosen = choose_fields(model_config(name), fields)
            assert chosen == fields[:wanted]
        else:
            with pytest.raises(ConfigError) as caught:
                choose_fields(model_config(name), fields)
            message = str(caught.value)
            assert f"{name!r} takes {wanted or 'at least 1'} text field" in message
            assert f"text.fields gives {count}: " in message
            assert all(field.name in message for field in fields)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_description_has_what_the_architecture_uses(tiny, name):
    parts, spec = ARCHITECTURES[name], tiny.spec(name)
    assert spec.features == (FEATURES if parts.table else ())
    assert [field.name for field in spec.text] == list(FIELDS[: parts.fields])
    assert spec.classes == ("class 0", "class 1")
    for field in spec.text:
        assert (field.max_sen_len, field.max_total_chunks) == (MAX_SEN_LEN, 3)
        assert field.encoder["max_position_embeddings"] == MAX_SEN_LEN


def test_a_piecewise_description_without_bins_says_what_it_wants():
    with pytest.raises(ConfigError, match=r"bins .* quantile_edges"):
        describe_model(
            ModelConfig(model_class="tabular"), [], ["num:a", "cat:b"], ["0", "1"]
        )
    only = describe_model(ModelConfig(model_class="tabular"), [], ["cat:b"], ["0", "1"])
    assert only.bins == ()


def test_the_table_alone_needs_a_feature():
    with pytest.raises(ConfigError, match="reads only the table, but there is no"):
        describe("tabular", fields=(), features=())


def test_a_field_may_have_its_own_encoder(pretrained):
    fields = [text_input("review"), text_input("title", encoder=str(pretrained))]
    config = model_config("trimodal_bert")
    spec = describe_model(config, fields, FEATURES, CLASSES)
    assert [field.encoder["num_hidden_layers"] for field in spec.text] == [2, 1]
    model = build_model(spec, ["scratch", str(pretrained)])
    stored = read_weights(pretrained)
    for name, value in model.text_encoders[1].encoder.state_dict().items():
        assert torch.equal(value, stored[name])
    scratch = model.text_encoders[0].encoder.embeddings.word_embeddings.weight
    assert not torch.equal(scratch, stored["embeddings.word_embeddings.weight"])


def test_a_pretrained_model_loads_without_its_folder(tiny, pretrained, tmp_path):
    folder = tmp_path / "pretrained"
    shutil.copytree(pretrained, folder)
    spec = describe("bert", FIELDS[:1], encoder=str(folder))
    model = build_model(spec, [str(folder)]).eval()
    save_model(model, tmp_path / "model")
    shutil.rmtree(folder)
    again = load_model(tmp_path / "model")
    batch = tiny.rows("bert").batch(BATCH)
    assert torch.equal(again(batch), model(batch))


def test_build_without_sources_gives_random_weights(pretrained):
    spec = describe("bert", FIELDS[:1], encoder=str(pretrained))
    torch.manual_seed(0)
    a, b = build_model(spec), build_model(spec)
    assert not same_weights(a, b)
    torch.manual_seed(0)
    assert same_weights(build_model(spec), a)


def test_a_tokenizer_larger_than_the_encoder_is_refused(pretrained):
    with pytest.raises(
        ConfigError, match=r"'review' has 201 tokens, but the encoder .* knows 200"
    ):
        describe("bert", FIELDS[:1], encoder=str(pretrained), vocabulary_size=201)
    # An encoder may know more tokens than its tokenizer uses.
    describe("bert", FIELDS[:1], encoder=str(pretrained), vocabulary_size=190)


def test_chunks_longer_than_the_encoder_takes_are_refused(pretrained):
    with pytest.raises(
        ConfigError, match=r"max_sen_len is 99, but .* at most 12 tokens"
    ):
        describe("bert", FIELDS[:1], encoder=str(pretrained), max_sen_len=99)


def test_an_encoder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be loaded"):
        describe("bert", FIELDS[:1], encoder=str(tmp_path / "nowhere"))


def test_one_source_per_field_is_wanted(tiny):
    with pytest.raises(ValueError, match="zip"):
        build_model(tiny.spec("trimodal_bert"), ["scratch"])


NUMBERS = {
    "piecewise": {"kind": "piecewise", "bins": 3},
    "periodic": {"kind": "periodic", "frequencies": 4},
}
BINS = [[-1.0, 0.0, 0.5, 2.0], [-2.0, 0.0, 1.0, 3.0]]


@pytest.mark.parametrize("name", ["multimodal_bert", "tabular", "trimodal_cross_attn"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_every_way_to_embed_numbers_is_saved(tiny, name, kind, tmp_path):
    bins = BINS if kind == "piecewise" else ()
    model = tiny.model(name, bins=bins, numeric_embedding=NUMBERS[kind])
    batch = tiny.rows(name).batch(BATCH)
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert torch.equal(again(batch), model(batch))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["bins"] == [list(edges) for edges in bins]
    assert config["model"]["numeric_embedding"]["kind"] == kind


def test_a_text_model_has_no_bins(tiny):
    spec = tiny.spec("bert", bins=BINS, numeric_embedding=NUMBERS["piecewise"])
    assert spec.bins == ()


@pytest.mark.parametrize(
    "bins", [[], BINS[:1], [*BINS, BINS[0]], [edges[1:] for edges in BINS]]
)
def test_a_model_with_other_bins_than_its_numbers_is_refused(tiny, tmp_path, bins):
    folder = tmp_path / "model"
    save_model(
        tiny.model("tabular", bins=BINS, numeric_embedding=NUMBERS["piecewise"]), folder
    )
    change_config(lambda config: config.update(bins=bins))(folder)
    with pytest.raises(
        ArtifactError, match=r"(?s)does not hold a whole model.*stage train"
    ):
        load_model(folder)


@pytest.mark.parametrize("fusion", ["concat", "gate", "moe", "cross_attention"])
@pytest.mark.parametrize("text", ["bert", "cnn", "lstm"])
def test_a_model_of_any_parts_is_saved(tiny, text, fusion, tmp_path):
    model = tiny.model("custom", text_encoder=text, fusion=fusion)
    batch = tiny.rows("custom").batch(BATCH)
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.spec.model.architecture.text == text
    assert torch.equal(again(batch), model(batch))


@pytest.mark.parametrize("features", [FEATURES[:2], FEATURES[2:3], ()])
@pytest.mark.parametrize("name", [n for n, a in ARCHITECTURES.items() if a.fields != 0])
def test_a_model_of_few_columns_is_saved(tiny, name, features, tmp_path):
    model = tiny.model(name, features=features)
    places = [FEATURES.index(column) for column in features]
    batch = tiny.rows(name).batch(BATCH)
    batch = replace(batch, features=batch.features[:, places])
    save_model(model, tmp_path / "model")
    assert torch.equal(load_model(tmp_path / "model")(batch), model(batch))


@pytest.mark.parametrize("kind", KIND_SIZES)
def test_every_kind_of_encoder_loads_without_its_folder(
    tiny, encoder_folder, kind, tmp_path
):
    folder = tmp_path / "pretrained"
    shutil.copytree(encoder_folder(kind), folder)
    for pooling in ("mean", "pooler"):
        spec = tiny.spec("multimodal_bert", encoder=str(folder), pooling=pooling)
        model = build_model(spec, [str(folder)]).eval()
        save_model(model, tmp_path / pooling)
    shutil.rmtree(folder)
    again = load_model(tmp_path / "pooler")
    batch = tiny.rows("multimodal_bert").batch(BATCH)
    assert torch.equal(again(batch), model(batch))
    assert not torch.equal(load_model(tmp_path / "mean")(batch), model(batch))


def test_small_encoders_start_from_the_words_of_a_pretrained_one(tiny, pretrained):
    words = read_weights(pretrained)["embeddings.word_embeddings.weight"]
    for name in ("cnn", "lstm", "multimodal_cnn"):
        spec = tiny.spec(name, encoder=str(pretrained))
        model = build_model(spec, [str(pretrained)])
        assert torch.equal(model.text_encoders[0].embeddings.weight, words)
        assert not torch.equal(
            build_model(spec).text_encoders[0].embeddings.weight, words
        )


def test_what_an_encoder_cannot_do_is_refused_by_the_description(tiny):
    with pytest.raises(ConfigError, match="only a transformer can do"):
        tiny.spec("lstm", encoder_training="frozen")
    with pytest.raises(ConfigError, match="starts from nothing"):
        tiny.spec("bert", encoder_training="lora")
