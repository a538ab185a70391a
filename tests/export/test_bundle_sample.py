import json

import pyarrow as pa
import pytest

import tabweave.export.bundle_sample as bundle_sample
from preparation_fixtures import preparation
from tabweave.cells import CellRules
from tabweave.export.bundle_sample import make_sample, without_rows
from tabweave.tables import RawTable, write_rows

FEATURES = ("num:price", "cat:shop:yes", "missing:price")


@pytest.fixture(scope="module")
def prepared():
    return preparation([], tokenizers={}, features=FEATURES)


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.model("tabular")


@pytest.fixture
def val(tmp_path, prepared):
    """A user's rows, whose cells no other place knows."""
    table = pa.table(
        {
            name: ["31.5", "", "32.5"] if kind == "numeric" else ["of a user"] * 3
            for name, kind in prepared.schema.kinds.items()
        }
    )
    path = tmp_path / "val.csv"
    write_rows(path, table.to_batches(), table.schema)
    return RawTable(path, "val"), None, None, CellRules()


def answers(monkeypatch):
    """The answers of a model are another module's matter: here every row gets one."""
    monkeypatch.setattr(
        bundle_sample,
        "reference_probabilities",
        lambda model, rows, index: [[0.25, 0.75] for _ in index],
    )


def test_no_sample_is_made_where_none_is_wanted(prepared, val):
    assert make_sample("none", (None, b""), prepared, val) is None


@pytest.mark.parametrize(("kind", "of_a_user"), [("val", True), ("synthetic", False)])
def test_rows_of_val_are_taken_only_where_they_are_asked_for(
    prepared, val, monkeypatch, kind, of_a_user
):
    answers(monkeypatch)
    monkeypatch.setattr(bundle_sample, "Rows", lambda *parts: parts)
    monkeypatch.setattr(bundle_sample, "prepared_rows", lambda *parts: parts)
    sample = make_sample(kind, (None, b""), prepared, val)
    text = json.dumps(list(map(dict, sample.rows)))
    assert ("of a user" in text) is of_a_user
    assert ("31.5" in text) is of_a_user
    assert len(sample.labels) == len(sample.rows) > 0


def test_the_text_of_val_that_differed_first_goes_from_the_reports():
    first = {"row": 3, "text": "of a user"}
    report = {"tokens": {"val": {"mismatches": 2, "first": first}, "random": {}}}
    reports = {"pipeline.onnx": report, "model.onnx": {"bytes": 1}}
    kept = without_rows(reports)
    assert kept["pipeline.onnx"]["tokens"]["val"] == {"mismatches": 2, "first": None}
    assert kept["model.onnx"] == {"bytes": 1}
    assert report["tokens"]["val"]["first"] == first, "the report itself stays"
