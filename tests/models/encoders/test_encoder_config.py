import json
import shutil

import pytest
from transformers import AutoConfig, GPT2Config

from models_fixtures import KIND_SIZES, LONGEST, MAX_SEN_LEN
from tabweave.errors import ConfigError
from tabweave.models.config import ScratchConfig
from tabweave.models.encoders.encoder_config import (
    ATTENTION_DROPOUT,
    KINDS,
    first_position,
    pretrained_encoder_config,
    scratch_encoder_config,
)
from tabweave.models.encoders.transformer_encoder import TransformerEncoder

AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet"}


def with_config(source, target, **changes):
    """A copy of a pretrained folder with a changed config.json."""
    shutil.copytree(source, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


def test_every_kind_has_a_small_configuration_in_these_tests():
    assert set(KIND_SIZES) == set(KINDS)


def test_a_scratch_configuration_is_the_size_asked_for():
    size = ScratchConfig(
        hidden_size=24, num_layers=3, num_heads=3, intermediate_size=40
    )
    config = scratch_encoder_config(size, 77, 19, 4)
    encoder = TransformerEncoder(json.loads(json.dumps(config)))
    inner = encoder.encoder
    assert len(inner.encoder.layer) == 3
    assert inner.config.num_attention_heads == 3
    assert inner.embeddings.word_embeddings.weight.shape == (77, 24)
    assert inner.embeddings.word_embeddings.padding_idx == 4
    assert inner.embeddings.position_embeddings.weight.shape == (19, 24)
    assert inner.encoder.layer[0].intermediate.dense.weight.shape == (40, 24)
    assert (encoder.width, encoder.vocabulary_size, encoder.pad_id) == (24, 77, 4)
    assert config["attention_probs_dropout_prob"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_pretrained_configuration_is_plain_and_names_no_place(encoder_folder, kind):
    folder = encoder_folder(kind)
    config = pretrained_encoder_config(str(folder), LONGEST)
    assert json.loads(json.dumps(config)) == config
    assert str(folder) not in json.dumps(config)
    assert "dtype" not in config
    again = AutoConfig.for_model(**config)
    stored = AutoConfig.from_pretrained(folder)
    # No dropout on attention weights under any of its names; else the file's values.
    quiet = dict.fromkeys(set(ATTENTION_DROPOUT) & set(stored.to_dict()), 0.0)
    assert quiet
    expected = stored.to_dict() | quiet
    for name in ("_name_or_path", "dtype", "architectures"):
        expected.pop(name, None)
    found = again.to_dict()
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("kind", KINDS)
def test_no_part_of_an_encoder_drops_attention_weights(encoder_folder, kind):
    config = pretrained_encoder_config(str(encoder_folder(kind)), LONGEST)
    named = [name for name in config if "attention" in name and "drop" in name]
    assert named
    assert all(config[name] == 0 for name in named)


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_longer_than_the_encoder_takes_are_refused(encoder_folder, kind):
    folder = encoder_folder(kind)
    assert pretrained_encoder_config(str(folder), LONGEST)["model_type"] == kind
    with pytest.raises(
        ConfigError, match=r"text.max_sen_len is 41, but .* takes at most 40 tokens"
    ):
        pretrained_encoder_config(str(folder), LONGEST + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_some_kinds_count_positions_from_after_the_padding(kind):
    config = AutoConfig.for_model(kind, **KIND_SIZES[kind])
    assert first_position(config) == (2 if kind in AFTER_PADDING else 0)


def test_another_padding_token_costs_other_positions(encoder_folder, tmp_path):
    folder = with_config(encoder_folder("roberta"), tmp_path / "r", pad_token_id=5)
    with pytest.raises(ConfigError, match="takes at most 36 tokens"):
        pretrained_encoder_config(str(folder), 37)
    assert pretrained_encoder_config(str(folder), 36)


def test_another_kind_of_encoder_is_refused(tmp_path):
    GPT2Config().save_pretrained(tmp_path)
    with pytest.raises(
        ConfigError, match=r"of kind 'gpt2'\. Supported kinds: "
    ) as said:
        pretrained_encoder_config(str(tmp_path), 4)
    assert all(kind in str(said.value) for kind in KINDS)


@pytest.mark.parametrize(
    "content",
    [
        *(None, "{", "{}", "[]", '{"model_type": "unheard"}'),
        '{"model_type": "bert", "hidden_size": "wide"}',
    ],
)
def test_a_folder_that_is_no_encoder_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"cannot be loaded: .*hub id, or 'scratch'"):
        pretrained_encoder_config(str(tmp_path), 4)


def test_code_beside_a_configuration_is_never_run_and_nobody_is_asked(
    pretrained, tmp_path, capsys
):
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    folder = with_config(pretrained, tmp_path / "own", auto_map=own, model_type="own")
    (folder / "own.py").write_text("raise SystemExit('the code was run')")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        pretrained_encoder_config(str(folder), 4)
    assert "Do you wish to run the custom code?" not in capsys.readouterr().out
    folder = with_config(pretrained, tmp_path / "known", auto_map=own)
    (folder / "own.py").write_text("raise SystemExit('the code was run')")
    assert pretrained_encoder_config(str(folder), MAX_SEN_LEN)["model_type"] == "bert"
