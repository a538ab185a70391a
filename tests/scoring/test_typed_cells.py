import numpy as np
import pyarrow as pa
import pytest

from tabweave.schema import DataConfig
from tabweave.scoring.typed_cells import readable_text, typed_columns
from tabweave.tables.cells import CellRules
from tabweave.tables.files import RawTable
from tabweave.tables.loading import load_splits

RULES = CellRules(null_values=("", "NA"), max_cell_bytes=9)
REPAIR = RULES.model_copy(update={"invalid_utf8": "repair"})
BAD = pa.array([b"ok", b"\xff", None, b"caf\xe9"]).view(pa.string())


def column(values, kind, rules=RULES):
    typed, faults = typed_columns({"c": values}, {"c": kind}, rules)
    return typed["c"].to_pylist(), list(faults.sentences())


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (["1", 2, 0.5, True, None, "NA"], [1, 2, 0.5, 1, None, None]),
        (["1", "2"], [1, 2]),
        ([None], [None]),
        (pa.array([1, 2]), [1, 2]),
    ],
)
def test_numbers_may_be_mixed(values, cells):
    assert column(values, "numeric") == (cells, [])


@pytest.mark.parametrize("kind", ["text", "categorical"])
def test_text_may_be_mixed(kind):
    values = ["007", 7, True, None, ""]
    assert column(values, kind) == (["007", "7", "true", "", ""], [])


def test_a_fraction_is_no_text():
    _, (sentence,) = column(["a", 1.5, 2], "categorical")
    assert "column 'c' holds floating-point numbers" in sentence
    assert "row 2: 1.5" in sentence


def test_faults_of_all_kinds_are_collected():
    _, sentences = column(["x", [1], 10**400, "9" * 10], "numeric")
    assert len(sentences) == 4
    assert any("row 1: 'x'" in s for s in sentences)
    assert any("row 2: [1]" in s for s in sentences)
    assert any("row 3: 1000" in s and "infinite" in s for s in sentences)
    assert any("row 4: '9999999999'" in s for s in sentences)


@pytest.mark.parametrize("encode", [False, True])
def test_bytes_that_are_no_text_are_a_fault_or_repaired(encode):
    values = BAD.dictionary_encode() if encode else BAD
    text, (fault,), count = readable_text("c", values, RULES)
    assert fault.wrong.tolist() == [False, True, False, True]
    assert "not UTF-8" in fault.reason
    assert (text.type, count) == (values.type, 0)
    text, faults, count = readable_text("c", values, REPAIR)
    assert text.to_pylist() == ["ok", "\ufffd", None, "caf\ufffd"]
    assert (text.type, faults, count) == (values.type, (), 2)


@pytest.mark.parametrize(
    "values", [pa.array([1]), pa.array([b"\xff"]), pa.array([1]).dictionary_encode()]
)
def test_columns_that_are_no_text_are_left_alone(values):
    assert readable_text("c", values, RULES) == (values, (), 0)


def test_a_message_can_show_cells_that_are_no_text():
    _, (sentence,) = column(BAD, "text")
    assert "row 2: '\ufffd'; row 4: 'caf\ufffd'" in sentence


CELLS = [
    "",
    "NA",
    "0",
    "-1.5",
    "1e5",
    "+3",
    " 3",
    "True",
    "16777217",
    "0x1",
    "1_0",
    "é",
]
TYPES = [
    pa.array(CELLS),
    pa.array(CELLS).dictionary_encode(),
    pa.array(CELLS, pa.large_string()),
    pa.array([1, None, -3]),
    pa.array([0.5, None, float("nan")]),
    pa.array([True, None, False]),
    pa.nulls(3),
]


@pytest.mark.parametrize("values", TYPES, ids=str)
@pytest.mark.parametrize("kind", ["text", "numeric"])
def test_the_typing_is_that_of_the_load_stage(tmp_path, values, kind):
    """The same cells in a Parquet file that the load stage reads, as an oracle."""
    typed, faults = typed_columns({"c": values}, {"c": kind}, RULES)
    keep = np.ones(len(values), bool)
    if list(faults.sentences()):
        keep = np.array(
            [not list(column(values[n : n + 1], kind)[1]) for n in range(len(values))]
        )
    kept = values.filter(pa.array(keep))
    count = len(kept)
    if count < 2:
        pytest.skip("the load stage wants two classes")
    table = pa.table(
        {
            "i": [str(n) for n in range(count)],
            "y": [str(n % 2) for n in range(count)],
            "c": kept,
        }
    )
    pa.parquet.write_table(table, tmp_path / "train.parquet")
    roles = {"text": ("c",)} if kind == "text" else {"numeric": ("c",)}
    config = DataConfig(id="i", label="y", null_values=RULES.null_values, **roles)
    loaded = load_splits(
        {"train": RawTable(tmp_path / "train.parquet", "train")}, config
    )
    expected = loaded.tables["train"]["c"].combine_chunks()
    assert typed["c"].filter(pa.array(keep)).equals(expected)
