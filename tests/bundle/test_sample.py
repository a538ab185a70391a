import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabweave.bundle.sample import Sample, raw_sample
from tabweave.errors import ArtifactError
from tabweave.tables.cells import CellRules
from tabweave.tables.files import RawTable

RULES = CellRules(null_values=("", "NA"))


def test_the_label_is_the_most_probable_class_and_of_equal_ones_the_first():
    sample = Sample.of([{"a": "x"}] * 2, ("n", "y"), np.array([[0.5, 0.5], [0.2, 0.8]]))
    assert sample.labels == ["n", "y"]
    assert sample.expected()["probabilities"] == [[0.5, 0.5], [0.2, 0.8]]


def test_the_csv_holds_the_same_rows():
    rows = [{"t": 'a "b",\nc', "n": None}, {"t": "", "n": 0.1}]
    sample = Sample.of(rows, ("n", "y"), np.array([[0.5, 0.5], [0.2, 0.8]]))
    found = list(csv.DictReader(io.StringIO(sample.as_csv().decode(), newline="")))
    assert found == [{"t": 'a "b",\nc', "n": ""}, {"t": "", "n": "0.1"}]


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ArtifactError, match="2 labels"):
        Sample([{"a": "x"}], ("n", "y"), [[0.5, 0.5]], ["n", "y"])
    with pytest.raises(ArtifactError, match="probabilities of shape"):
        Sample([{"a": "x"}], ("n", "y"), [[1.0]], ["n"])
    with pytest.raises(ArtifactError, match="at least one row"):
        Sample([], ("n", "y"), [], [])
    with pytest.raises(ArtifactError, match=r"shape \(1, 2\), .* int8 .*\(2, 2\)\."):
        Sample.of([{"a": "x"}], ("n", "y"), np.ones((1, 2)), np.ones((2, 2)))


def test_answers_of_int8_are_there_only_if_they_were_given():
    rows, answers = [{"a": "x"}], np.array([[0.25, 0.75]])
    plain = Sample.of(rows, ("n", "y"), answers)
    assert set(plain.expected()) == {"classes", "probabilities", "label"}
    both = Sample.of(rows, ("n", "y"), answers, np.array([[0.5, 0.5]], np.float32))
    own = {"int8_probabilities": [[0.5, 0.5]]}
    assert both.expected() == plain.expected() | own


def test_raw_rows_are_what_a_caller_would_send(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("i,x,n,t\n007,left,0.1,é\n008,out,NA,\n009,,3,\n", encoding="utf-8")
    kinds = {"i": "id", "t": "text", "n": "numeric"}
    found = raw_sample(RawTable(path, "test"), kinds, RULES, rows=2)
    assert found == [
        {"i": "007", "t": "é", "n": 0.1},
        {"i": "008", "t": "", "n": None},
    ]


def test_a_number_is_the_same_float32_again(tmp_path):
    path = tmp_path / "test.csv"
    cells = ["0.1", "1e-30", "16777216", "3.14159265358979"]
    path.write_text("\n".join(["n", *cells]) + "\n", encoding="utf-8")
    found = raw_sample(RawTable(path, "test"), {"n": "numeric"}, RULES)
    for cell, row in zip(cells, found, strict=True):
        assert np.float32(row["n"]) == np.float32(cell)


def test_a_file_without_rows_gives_none(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("n\n", encoding="utf-8")
    assert raw_sample(RawTable(path, "test"), {"n": "numeric"}, RULES) == []


def test_long_rows_make_a_short_sample(tmp_path):
    path = tmp_path / "test.csv"
    cells = ["a" * 400_000, "b" * 400_000, "c" * 400_000, "d"]
    path.write_text("\n".join(["t", *cells]) + "\n", encoding="utf-8")
    found = raw_sample(RawTable(path, "test"), {"t": "text"}, RULES)
    assert [row["t"][0] for row in found] == ["a", "b"]
    path.write_text(f"t\n{'x' * 1_048_576}\n", encoding="utf-8")
    assert len(raw_sample(RawTable(path, "test"), {"t": "text"}, RULES)) == 1


def test_an_empty_row_group_does_not_hide_the_rows(tmp_path):
    path = tmp_path / "test.parquet"
    with pq.ParquetWriter(path, pa.schema({"t": pa.string()})) as writer:
        writer.write_table(pa.table({"t": pa.array([], pa.string())}))
        writer.write_table(pa.table({"t": ["x"]}))
    found = raw_sample(RawTable(path, "test"), {"t": "text"}, RULES)
    assert found == [{"t": "x"}]
