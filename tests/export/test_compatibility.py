import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models_fixtures import FIELDS
from tabweave.errors import ArtifactError, ExportError
from tabweave.export.compatibility import (
    model_artifacts,
    model_weights,
    plain,
    predict_results,
    word_embeddings,
)
from tabweave.models.config import ARCHITECTURES, ModelConfig, ModelSpec
from tabweave.models.encoders.text_encoder import TextEncoder
from tabweave.models.registry import build_model
from tabweave.tabular import RiskTables
from tabweave.tabular.risk_table import RiskTable

CONFIG = {"training": {"lr": 5e-5, "betas": (0.9, 0.999)}, "text": None, "deep": [[1]]}
RISKS = RiskTables(
    settings=None,
    classes=("no", "yes"),
    targets=("yes",),
    class_counts=(3, 1),
    columns={
        "market": RiskTable({"DE": (0.5,), "": (0.25,)}, (0.25,), {"DE": (1, 1)}),
    },
)


def through_a_file(value):
    """What another tool reads, and how many bytes it takes."""
    file = io.BytesIO()
    torch.save(value, file)
    size = file.tell()
    file.seek(0)
    return torch.load(file, weights_only=True), size


@pytest.fixture(scope="module")
def tokenizers(pretrained):
    """A tokenizer per field, the second with other tokens than the first."""
    content = (pretrained / "tokenizer.json").read_text()
    return dict(zip(FIELDS, (content, content.replace('"word', '"term')), strict=True))


def artifacts_of(model, tokenizers, config=CONFIG):
    return model_artifacts(
        model, config=config, tokenizers=tokenizers, risk_tables=RISKS
    )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_two_files_are_enough_to_build_the_model(tiny, tokenizers, name, classes):
    model, rows = tiny.model(name, classes), tiny.rows(name, classes=classes)
    weights, size = through_a_file(model_weights(model))
    assert all(type(value) is torch.Tensor for value in weights.values())
    content = sum(value.nbytes for value in weights.values())
    assert size < content + 1000 * len(weights), "no more than the weights is stored"

    artifacts, _ = through_a_file(artifacts_of(model, tokenizers))
    made = build_model(ModelSpec(**artifacts["model_spec"])).eval()
    made.load_state_dict(weights, strict=True)
    batch = rows.batch(np.arange(8))
    with torch.inference_mode():
        assert torch.equal(made(batch), model(batch))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_artifacts_say_what_the_specification_lists(tiny, tokenizers, name):
    model = tiny.model(name, 3)
    found, _ = through_a_file(artifacts_of(model, tokenizers))
    fields = [field.name for field in model.spec.text]
    assert found["config"] == json.loads(json.dumps(CONFIG))
    assert found["model_class"] == name
    assert found["id_to_label"] == ["class 0", "class 1", "class 2"]
    assert found["label_to_id"] == {"class 0": 0, "class 1": 1, "class 2": 2}
    assert found["categorical_processor_mappings"] == {
        "market": {"bins": {"DE": 0.5, "": 0.25}, "default_bin": 0.25}
    }
    vocabularies = {
        field: json.loads(tokenizers[field])["model"]["vocab"] for field in fields
    }
    assert found["vocabularies"] == vocabularies
    if not fields:
        assert found["embedding_mat"] is None
        assert found["vocab"] == {}
        return
    assert found["vocab"] == vocabularies["review"]
    assert list(found["vocab"].values()) == list(range(len(found["vocab"])))
    stored = [
        key
        for key, value in model_weights(model).items()
        if value.shape == found["embedding_mat"].shape
        and torch.equal(value, found["embedding_mat"])
    ]
    assert len(stored) == 1, "the embeddings of the first field, and of no other"
    assert stored[0].startswith("text.0.")
    assert "embeddings" in stored[0]


def test_a_field_without_a_tokenizer_is_named(tiny, tokenizers):
    model = tiny.model("trimodal_bert")
    with pytest.raises(ArtifactError, match="'title' of the model has no tokenizer"):
        artifacts_of(model, {"review": tokenizers["review"]})


def test_an_encoder_without_a_table_of_tokens_is_refused():
    class Bytes(TextEncoder):
        def padded_states(self, ids, mask):
            return nn.functional.one_hot(ids, 4).float()

        def load_pretrained(self, source):
            pass

        def layers(self):
            return []

    with pytest.raises(ExportError, match="Bytes has no table of token embeddings"):
        word_embeddings(Bytes(4, 4, 0, "mean"))


# Predictions


def predictions(**changes):
    columns = {
        "id": ["a", "b", "c"],
        "label": ["yes", "no", "yes"],
        "prob_yes": pa.array([0.9, 0.2, 0.4], pa.float32()),
        "prob_no": pa.array([0.1, 0.8, 0.6], pa.float32()),
        "predicted": ["yes", "no", "no"],
    }
    return pa.table(columns | changes)


def test_predictions_are_numbers_in_the_order_of_the_classes():
    results = predict_results(predictions(), ("no", "yes"))
    found, _ = through_a_file(results)
    assert sorted(found) == ["y_pred", "y_true"]
    assert found["y_true"].dtype == torch.int64
    assert found["y_true"].tolist() == [1, 0, 1]
    assert found["y_pred"].dtype == torch.float32
    expected = np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]], np.float32)
    assert np.array_equal(found["y_pred"].numpy(), expected)


def test_a_label_that_is_no_class_and_a_column_that_is_not_there_are_named():
    with pytest.raises(ArtifactError, match="labels 'perhaps', which are not among"):
        predict_results(predictions(label=["yes", "perhaps", "no"]), ("no", "yes"))
    with pytest.raises(ArtifactError, match="no column 'prob_maybe'"):
        predict_results(predictions(), ("no", "yes", "maybe"))


# Plain values

LEAVES = st.none() | st.booleans() | st.text() | st.floats(allow_nan=False)
LEAVES |= st.integers(-(2**62), 2**62)
VALUES = st.recursive(
    LEAVES.filter(lambda x: x not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_plain_values_stay_as_they_are(value):
    assert plain(value, "x") == value


def test_parameters_and_tuples_become_what_json_would_make_of_them():
    config = ModelConfig(model_class="bert")
    found = plain({"model": config, "pair": (1, (2.5, None))}, "x")
    assert found == {"model": config.model_dump(mode="json"), "pair": [1, [2.5, None]]}
    assert type(found["model"]["cnn"]["kernel_size"]) is list


class Loud(str):
    """Text that is more than text: a pickle of it would name this class."""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [0, Path("x")]}, r"config\.a\[1\] is a PosixPath"),
        (np.float64(1), "config is a float64"),
        ({"a": np.zeros(2)}, r"config\.a is a ndarray"),
        ({"a": {1, 2}}, r"config\.a is a set"),
        ({"a": Loud("x")}, r"config\.a is a Loud"),
        ({"a": nn.Parameter(torch.zeros(1))}, r"config\.a is a Parameter"),
        ({1: "a"}, "config has keys that are not text: 1"),
        ({"a": float("nan")}, r"config\.a is nan, which is not a number"),
        ([float("inf")], r"config\[0\] is inf"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_place(value, message):
    with pytest.raises(ExportError, match=message):
        plain(value, "config")
