"""Every architecture of the specification, from the raw record to its probabilities."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from models_fixtures import field_count, model_config, write_features
from preparation_fixtures import preparation, text_field
from tabweave.batching.batches import Rows
from tabweave.evaluation.predict import predict_probabilities
from tabweave.export.config import ExportConfig
from tabweave.export.gates.pipeline_gate import export_pipeline
from tabweave.export.onnx_model import export_model
from tabweave.models.config import ARCHITECTURES
from tabweave.models.registry import build_model, describe_model
from tabweave.preparation.reference import reference_features, reference_tokens
from tabweave.tables.files import ArrowFile, write_arrow
from tabweave.training.plan import text_inputs

FEATURES = ("num:price", "missing:price", "num:age", "cat:shop:no", "cat:plan:yes")
CHATS = [
    *("hello one two", "", "the quick brown fox " * 9, "don't [CLS] e-mail: a/b $5"),
    *("[bom]walked &amp; talked[eom][bom]x[eom]", "退款 中文", "é<b>ü</b>", "\x00 3"),
]
NOTES = ["x", "talking 2024", "", "one", "the fox " * 30, "hello", "walking", ""]
ROWS = 4 * len(CHATS)
TABLE = pa.table(
    {
        "chat": CHATS * 4,
        "note": [*NOTES[3:], *NOTES[:3]] * 4,
        "shop": ["de", "fr", "", "never seen"] * (ROWS // 4),
        "plan": ["a", "b"] * (ROWS // 2),
        "price": pa.array([1.5, None, -3.0, 1e6] * (ROWS // 4), pa.float32()),
        "age": pa.array(range(ROWS), pa.float32()),
    }
)
# A text encoder of either kind, and the table alone; the others take half a minute each.
FAST = ("tabular", "lstm", "multimodal_moe")
CONFIG = ExportConfig(parity_rows=ROWS, pipeline_single_rows=8)


@pytest.fixture(scope="module")
def proofs(tmp_path_factory):
    """Both fields share a vocabulary, so that it is proven once for all models."""
    return tmp_path_factory.mktemp("proofs")


def prepared_for(name):
    names = ("chat", "note")[: field_count(name)]
    fields = [text_field(one, (one,), max_total_chunks=3) for one in names]
    reads = ARCHITECTURES[name].table
    return preparation(fields, features=FEATURES if reads else ())


def rows_of(prepared, folder):
    """What the text stage and the tabular stage make of the table."""
    tokens = reference_tokens(prepared, TABLE)
    write_arrow(folder / "tokens.arrow", tokens)
    features = reference_features(prepared, TABLE)
    labels = np.arange(ROWS) % 3
    file = write_features(
        folder / "features.arrow", features, labels.tolist(), prepared.features
    )
    names = [one.name for one in prepared.fields]
    return Rows(ArrowFile(folder / "tokens.arrow"), file, names)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
        for name in ARCHITECTURES
    ],
)
def test_it_says_of_a_raw_record_what_pytorch_says(name, tmp_path, proofs):
    prepared = prepared_for(name)
    rows = rows_of(prepared, tmp_path)
    torch.manual_seed(3)
    inputs = text_inputs(rows.token_file) if prepared.fields else []
    spec = describe_model(
        model_config(name), inputs, prepared.features, prepared.schema.classes
    )
    model = build_model(spec).eval()
    with torch.no_grad():
        model.head.weight.mul_(8)
    expected = predict_probabilities(model, rows)
    assert np.ptp(expected, axis=0).max() > 0.01, "the rows get different answers"
    core = export_model(model, rows, CONFIG).model
    made = export_pipeline(core, prepared, (TABLE, expected), CONFIG, proofs)
    assert made.report["refused"] is None
    assert made.content
    assert max(made.report["probabilities"].values()) <= 1e-5
    tokens = made.report["tokens"]
    assert bool(tokens) == bool(prepared.fields)
    assert not any(one["mismatches"] for one in tokens.values())
