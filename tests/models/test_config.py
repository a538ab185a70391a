import subprocess
import sys

import pytest
from pydantic import ValidationError

from tabweave.models.config import ARCHITECTURES, ModelConfig, ModelSpec, ScratchConfig

NO_TORCH = """
import sys, tabweave.models.config
heavy = {"torch", "transformers", "lightning"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_name_gives_its_architecture(name):
    assert ModelConfig(model_class=name).architecture is ARCHITECTURES[name]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_consistent(name):
    parts = ARCHITECTURES[name]
    assert (parts.text == "none") == (parts.fields == 0)
    assert parts.table or parts.text != "none"
    alone = parts.fields in (0, 1) and not (parts.table and parts.text != "none")
    assert (parts.fusion == "none") == alone
    assert parts.use.endswith(".")


def test_an_unknown_name_lists_the_known_ones_and_a_guess():
    with pytest.raises(ValidationError) as caught:
        ModelConfig(model_class="multimodal_brt")
    message = str(caught.value)
    assert "Unknown model class: multimodal_brt." in message
    assert "Did you mean 'multimodal_bert'?" in message
    assert all(name in message for name in ARCHITECTURES)


def test_the_default_is_text_and_table():
    parts = ModelConfig().architecture
    assert (parts.fields, parts.table, parts.fusion) == (1, True, "concat")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dropout_keep", 0),
        ("dropout_keep", 1.01),
        ("hidden_common_dim", 0),
        ("pooling", "max"),
        ("model_clas", "bert"),
    ],
)
def test_an_impossible_value_is_refused_by_its_name(field, value):
    with pytest.raises(ValidationError, match=field):
        ModelConfig(**{field: value})


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match="num_heads 3 must divide hidden_size 32"):
        ScratchConfig(hidden_size=32, num_heads=3)
    assert ScratchConfig(hidden_size=33, num_heads=3).num_heads == 3


def test_reading_the_configuration_needs_no_torch():
    command = [sys.executable, "-c", NO_TORCH]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_description_has_the_fields_of_its_architecture(tiny, name):
    spec = tiny.spec(name)
    assert ModelSpec(**spec.model_dump()) == spec
    field = tiny.spec("bert").text[0]
    other = spec.model_dump() | {"text": (*spec.text, field)}
    if ARCHITECTURES[name].fields is not None:
        with pytest.raises(ValidationError, match=f"{name}' takes .* text fields"):
            ModelSpec(**other)
