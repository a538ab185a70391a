import subprocess
import sys

import pytest
from pydantic import ValidationError

from tabweave.models.config import (
    ARCHITECTURES,
    CUSTOM,
    CnnConfig,
    ModelConfig,
    ModelSpec,
    NumericEmbeddingConfig,
    ScratchConfig,
)

NO_TORCH = """
import sys, tabweave.models.config
heavy = {"torch", "transformers", "lightning"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_name_gives_its_architecture(name):
    assert ModelConfig(model_class=name).architecture == ARCHITECTURES[name]


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
        ("encoder_training", "half"),
        ("last_k", 0),
        ("reinit_layers", -1),
        ("fusion_heads", 0),
        ("text_encoder", "gpt"),
        ("fusion", "none"),
        ("lora", {"rank": 0}),
        ("lora", {"dropout": 1.0}),
        ("moe", {"num_experts": 0}),
        ("moe", {"balance_weight": -0.1}),
        ("numeric_embedding", {"kind": "spline"}),
        ("numeric_embedding", {"bins": 1}),
        ("cnn", {"kernel_size": ()}),
        ("lstm", {"num_layers": 0}),
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


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n != CUSTOM])
@pytest.mark.parametrize(
    "parts",
    [
        {"text_encoder": "bert"},
        {"fusion": "concat"},
        {"text_encoder": "lstm", "fusion": "gate"},
    ],
)
def test_parts_belong_to_a_custom_model_alone(name, parts):
    with pytest.raises(ValidationError) as caught:
        ModelConfig(model_class=name, **parts)
    message = str(caught.value)
    assert f"{' and '.join(parts)} choose the parts of model_class custom" in message
    assert f"model_class is {name}, which names its parts itself" in message


@pytest.mark.parametrize("fusion", [None, "concat", "gate", "moe", "cross_attention"])
@pytest.mark.parametrize("text", [None, "bert", "cnn", "lstm"])
def test_a_custom_model_has_the_parts_asked_for(text, fusion):
    config = ModelConfig(model_class=CUSTOM, text_encoder=text, fusion=fusion)
    parts = config.architecture
    assert (parts.text, parts.fusion) == (text or "bert", fusion or "concat")
    assert (parts.fields, parts.table) == (None, True)


@pytest.mark.parametrize(
    ("width", "heads"), [(128, 8), (16, 8), (12, 4), (6, 2), (7, 1), (1, 1)]
)
def test_heads_are_as_many_as_divide_the_width(width, heads):
    assert ModelConfig(hidden_common_dim=width).heads == heads


def test_heads_asked_for_must_divide_the_width():
    assert ModelConfig(hidden_common_dim=12, fusion_heads=3).heads == 3
    with pytest.raises(
        ValidationError, match="fusion_heads 5 must divide hidden_common_dim 12"
    ):
        ModelConfig(hidden_common_dim=12, fusion_heads=5)


@pytest.mark.parametrize("channels", [(4,), (4, 4, 4)])
def test_every_convolution_has_its_channels(channels):
    with pytest.raises(
        ValidationError,
        match=r"num_channels .* one number for each of the num_layers 2",
    ):
        CnnConfig(num_layers=2, num_channels=channels)


def test_numbers_are_embedded_by_default():
    assert ModelConfig().numeric_embedding == NumericEmbeddingConfig(kind="piecewise")


def test_a_pooler_that_is_not_there_cannot_start_anew():
    with pytest.raises(ValidationError, match=r"reinit_pooler .* pooling is mean"):
        ModelConfig(reinit_pooler=True)
    assert ModelConfig(reinit_pooler=True, pooling="pooler").reinit_pooler


def test_a_description_keeps_its_bins(tiny):
    edges = ((0.0, 1.0, 2.0), (0.5, 0.75, 3.0))
    spec = tiny.spec(
        "tabular", bins=edges, numeric_embedding={"kind": "piecewise", "bins": 2}
    )
    assert spec.bins == edges
    assert ModelSpec(**spec.model_dump(mode="json")) == spec
