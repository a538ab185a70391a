import datetime
import decimal
import json
import math

import pyarrow as pa
import pytest
from kedro.io.core import DatasetError

from tabweave.datasets.tables import (
    PREVIEW_CHARACTERS,
    DemoTableDataset,
    MappedTableDataset,
    RawTableDataset,
    ScoredRows,
    ScoredRowsDataset,
    TypedTableDataset,
)
from tabweave.errors import ArtifactError, MissingDataError, SchemaError
from tabweave.evaluation.predictions import scored_batches
from tabweave.fabrication import FabricationConfig, fabricate
from tabweave.schema import SPLITS
from tabweave.storage.artifacts import Provenance
from tabweave.tables import delimited
from tabweave.tables.files import (
    FORMATS,
    RawTable,
    TableFile,
    write_parquet,
    write_rows,
)

TABLE = pa.table(
    {
        "id": [f"r{n}" for n in range(10)],
        "note": ["é" * 1000, None, *["x"] * 8],
        "price": pa.array([math.nan, None, math.inf, *[0.5] * 7], pa.float32()),
        "tokens": pa.array([[[1] * 500], [], *[[[2]]] * 8]),
    }
)
NARROW = TABLE.select(["id", "note"])


def write(path, table=NARROW):
    write_rows(path, iter(table.to_batches()), table.schema)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def cause(caught, kind):
    """The error of ours behind Kedro's."""
    assert isinstance(caught.value.__cause__, kind)
    return str(caught.value.__cause__)


def shown(preview):
    """The preview as a browser gets it: strict JSON, no long cells."""
    text = json.dumps(preview, allow_nan=False)
    cells = [cell for row in json.loads(text)["data"] for cell in row]
    assert all(len(str(cell)) <= PREVIEW_CHARACTERS + 1 for cell in cells)
    return json.loads(text)


# The user's files


@pytest.mark.parametrize("kind", FORMATS)
def test_a_raw_file_is_found_by_the_rule_and_read_by_column(tmp_path, kind):
    entry = RawTableDataset(path=str(tmp_path), split="train")
    assert not entry.exists()
    path = write(tmp_path / "train" / f"part-0.{kind}")
    assert entry.exists()
    assert entry.path == path
    raw = entry.load()
    assert (raw.path, raw.split, raw.format) == (path, "train", kind)
    (batch,) = raw.batches(["id"])
    assert batch["id"].to_pylist() == NARROW["id"].to_pylist()


@pytest.mark.parametrize("given", [None, "refuse", "repair"])
def test_an_entry_says_what_becomes_of_bytes_that_are_not_utf8(tmp_path, given):
    (tmp_path / "train.csv").write_bytes(b"id\n\xff\n")
    entry = RawTableDataset(path=str(tmp_path), split="train", invalid_utf8=given)
    if given == "repair":
        assert entry.preview()["data"] == [["\ufffd"]]
        return
    with pytest.raises(SchemaError, match="row 1, column 'id'"):
        entry.preview()


def test_a_named_file_wins(tmp_path):
    write(tmp_path / "train" / "a.csv")
    path = write(tmp_path / "mine.tsv")
    entry = RawTableDataset(path=str(tmp_path), split="train", filename="mine.tsv")
    assert entry.load().path == path


def test_no_file_and_two_files_are_refused(tmp_path):
    entry = RawTableDataset(path=str(tmp_path), split="train")
    with pytest.raises(DatasetError) as caught:
        entry.load()
    assert "No supported data file" in cause(caught, MissingDataError)
    write(tmp_path / "train.csv")
    write(tmp_path / "train.tsv")
    with pytest.raises(DatasetError) as caught:
        entry.load()
    assert "Several files claim to be the train split" in cause(caught, SchemaError)
    assert not entry.exists()


def test_a_users_file_is_never_written(tmp_path):
    path = write(tmp_path / "train.csv")
    before = path.read_bytes()
    entry = RawTableDataset(path=str(tmp_path), split="train")
    with pytest.raises(DatasetError, match="never written"):
        entry.save(NARROW)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["train.csv"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rows", [0, 1, 10])
def test_the_preview_of_a_raw_file_has_its_first_rows(tmp_path, kind, rows):
    write(tmp_path / f"train.{kind}", NARROW.slice(0, rows))
    entry = RawTableDataset(path=str(tmp_path), split="train")
    preview = shown(entry.preview(nrows=3))
    assert preview["columns"] == ["id", "note"]
    assert [row[0] for row in preview["data"]] == ["r0", "r1", "r2"][:rows]
    assert preview["index"] == list(range(min(rows, 3)))


def test_the_preview_of_a_large_file_reads_its_first_block_only(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1000)
    (tmp_path / "train.csv").write_text("id,note\n" + "r,x\n" * 5000 + "short\n")
    entry = RawTableDataset(path=str(tmp_path), split="train")
    assert shown(entry.preview(nrows=2))["data"] == [["r", "x"]] * 2


# The demo


def test_the_committed_demo_files_are_what_the_defaults_fabricate(root, tmp_path):
    for split, table in fabricate(FabricationConfig()).items():
        entry = DemoTableDataset(path=str(tmp_path / split / "marketplace.csv"))
        entry.save(table)
        raw = entry.load()
        assert (raw.split, raw.columns()) == (split, table.column_names)
        committed = root / "data" / "01_raw" / split / "marketplace.csv"
        assert committed.read_bytes() == raw.path.read_bytes()
    assert names(tmp_path) == sorted(SPLITS)


# Our own tables


@pytest.mark.parametrize("kind", [TypedTableDataset, MappedTableDataset])
@pytest.mark.parametrize("rows", [0, 1, 10])
def test_a_table_reads_back_and_has_a_preview(tmp_path, kind, rows):
    entry = kind(path=str(tmp_path / "deep" / "x"))
    table = TABLE.slice(0, rows)
    entry.save(table)
    handle = entry.load()
    found = handle.read() if kind is TypedTableDataset else handle.open()
    assert str(found.to_pydict()) == str(table.to_pydict())
    assert found.schema == table.schema
    preview = shown(entry.preview(nrows=3))
    assert preview["columns"] == TABLE.column_names
    assert [row[0] for row in preview["data"]] == ["r0", "r1", "r2"][:rows]
    assert names(tmp_path / "deep") == ["x"]


def test_a_preview_shows_values_that_json_does_not_have(tmp_path):
    entry = TypedTableDataset(path=str(tmp_path / "x"))
    entry.save(
        pa.table(
            {
                "float": [math.nan, math.inf],
                "none": pa.array([None, 1.5]),
                "int": [1, 2],
                "bool": [True, False],
                "date": [datetime.date(2024, 1, 31)] * 2,
                "bytes": [b"\xff", b""],
                "decimal": [decimal.Decimal("1.50")] * 2,
                "list": [[1, 2], []],
            }
        )
    )
    assert shown(entry.preview())["data"] == [
        ["nan", None, 1, True, "2024-01-31", "b'\\xff'", "1.50", "[1, 2]"],
        ["inf", 1.5, 2, False, "2024-01-31", "b''", "1.50", "[]"],
    ]


@pytest.mark.parametrize("kind", [TypedTableDataset, MappedTableDataset])
def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, kind):
    entry = kind(path=str(tmp_path / "x"))
    entry.save(NARROW)
    before = entry.path.read_bytes()
    with pytest.raises(DatasetError):
        entry.save({"no": "table"})
    assert entry.path.read_bytes() == before
    assert names(tmp_path) == ["x"]


def test_a_mapped_table_that_is_missing_is_named(tmp_path):
    entry = MappedTableDataset(path=str(tmp_path / "x.arrow"))
    handle = entry.load()
    with pytest.raises(ArtifactError, match=r"x\.arrow is missing"):
        handle.open()


# Scored rows


def scored(tmp_path, kind, *, ids=("a", "b", "c"), raw=None):
    """A user's file of three rows, and predictions for them."""
    table = pa.table({"key": ["a", "b", "c"], "note": ["1", "x, y", ""]})
    path = write(tmp_path / "in" / f"val.{kind}", table)
    predictions = tmp_path / "predictions.parquet"
    write_parquet(
        predictions,
        pa.table(
            {
                "id": list(ids),
                "label": ["0", "1", "0"],
                "prob_0": pa.array([0.75, 0.25, 0.5], pa.float32()),
                "prob_1": pa.array([0.25, 0.75, 0.5], pa.float32()),
                "predicted": ["0", "1", "0"],
            }
        ),
    )
    raw = RawTable(path, "val") if raw is None else raw
    rows = scored_batches(raw, TableFile(predictions).read(), id_column="key")
    return ScoredRows(*rows, raw.format, raw.quoting)


def scored_entry(tmp_path):
    return ScoredRowsDataset(path=str(tmp_path / "out"), split="val")


@pytest.mark.parametrize("kind", FORMATS)
def test_scored_rows_have_the_format_and_the_cells_of_the_users_file(tmp_path, kind):
    entry = scored_entry(tmp_path)
    assert not entry.exists()
    entry.save(scored(tmp_path, kind))
    assert entry.exists()
    assert names(tmp_path / "out") == [f"val.{kind}"]
    raw = entry.load()
    assert raw.columns() == ["key", "note", "prob_0", "prob_1", "predicted"]
    found = pa.Table.from_batches(raw.batches()).to_pydict()
    assert found["key"] == ["a", "b", "c"]
    assert found["note"] == ["1", "x, y", ""]
    assert [float(p) for p in found["prob_1"]] == [0.25, 0.75, 0.5]
    assert shown(entry.preview(nrows=1))["data"][0][0] == "a"


def test_a_file_of_another_format_goes_with_its_record(tmp_path):
    entry = scored_entry(tmp_path)
    for kind in ("tsv", "csv", "parquet", "tsv"):
        entry.save(scored(tmp_path, kind))
        assert entry.path == tmp_path / "out" / f"val.{kind}"
        Provenance("val.scored", "evaluate", "0").write(entry.path)
        expected = [f"val.{kind}", f"val.{kind}.provenance.json"]
        assert names(tmp_path / "out") == expected


def test_rows_that_are_not_those_of_the_predictions_leave_the_old_file(tmp_path):
    entry = scored_entry(tmp_path)
    entry.save(scored(tmp_path, "tsv"))
    before = entry.path.read_bytes()
    with pytest.raises(DatasetError) as caught:
        entry.save(scored(tmp_path, "csv", ids=("a", "b", "z")))
    assert "has id 'c' in row 3, not the 'z'" in cause(caught, ArtifactError)
    assert names(tmp_path / "out") == ["val.tsv"]
    assert entry.path.read_bytes() == before


def test_scored_rows_without_quotes_are_written_so(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text('key\tnote\na\t"1\nb\tx, y\nc\t"\n')
    raw = RawTable(path, "val", quoting="none")
    data = scored(tmp_path, "csv", raw=raw)
    entry = ScoredRowsDataset(path=str(tmp_path / "out"), split="val", quoting="none")
    entry.save(data)
    found = pa.Table.from_batches(entry.load().batches()).to_pydict()
    assert found["note"] == ['"1', "x, y", '"']
    assert (tmp_path / "out" / "val.tsv").read_text().startswith("key\tnote\tprob_0\t")
