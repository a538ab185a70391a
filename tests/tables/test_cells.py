import numpy as np
import pyarrow as pa
import pytest

from tabweave.schema import DataConfig
from tabweave.tables.cells import (
    CellRules,
    FoundFaults,
    byte_lengths,
    is_any,
    typed_numbers,
    typed_text,
)

RULES = CellRules(null_values=("", "NA", "-1"), max_cell_bytes=8)


def test_the_rules_are_those_of_the_data():
    config = DataConfig(
        id="i", label="y", text=("t",), null_values=("?",), invalid_utf8="repair"
    )
    rules = CellRules.of(config)
    assert (rules.null_values, rules.invalid_utf8) == (("?",), "repair")
    assert rules.max_cell_bytes == config.max_cell_bytes


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (pa.array([" NA", None, "é"]), [" NA", "", "é"]),
        (pa.array([1, None, -2]), ["1", "", "-2"]),
        (pa.array([True, None, False]), ["true", "", "false"]),
        (pa.array(["b", None, "a"]).dictionary_encode(), ["b", "", "a"]),
        (pa.nulls(3), [""] * 3),
        (pa.array([float("nan")] * 3), [""] * 3),
    ],
)
def test_text_is_kept_as_it_was_written(values, cells):
    found = typed_text("t", values, RULES)
    assert found.values.to_pylist() == cells
    assert found.values.type == pa.string()
    assert found.faults == ()


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (pa.array(["1.5", "NA", "", "-1"]), [1.5, None, None, None]),
        (pa.array([1.5, None, float("nan"), -1]), [1.5, None, None, None]),
        (pa.array([3, -1, None, 0]), [3, None, None, 0]),
        (pa.array([True, False, None, True]), [1, 0, None, 1]),
        (pa.nulls(4), [None] * 4),
    ],
)
def test_numbers_are_float32_and_declared_cells_are_missing(values, cells):
    found = typed_numbers("n", values, RULES)
    assert found.values.to_pylist() == cells
    assert found.values.type == pa.float32()
    assert found.faults == ()


def test_a_type_that_no_role_takes_is_a_fault_of_the_type():
    (text,) = typed_text("t", pa.array([1.0, None]), RULES).faults
    assert (text.kind, text.wrong.tolist()) == ("type", [True, False])
    (number,) = typed_numbers("n", pa.array([[1], None]), RULES).faults
    assert (number.kind, number.wrong.tolist()) == ("type", [True, False])


def test_cells_that_are_no_numbers_are_named_and_missing():
    found = typed_numbers("n", pa.array(["x", "1", "1e99", ""]), RULES)
    assert found.values.to_pylist() == [None, 1.0, None, None]
    words, infinite = found.faults
    assert (words.kind, words.wrong.tolist()) == ("value", [True, False, False, False])
    assert infinite.wrong.tolist() == [False, False, True, False]


@pytest.mark.parametrize("typed", [typed_text, typed_numbers])
@pytest.mark.parametrize("encode", [False, True])
def test_a_long_cell_is_missing_and_the_others_stay(typed, encode):
    values = pa.array(["1", "9" * 9, "2"])
    values = values.dictionary_encode() if encode else values
    found = typed("c", values, RULES)
    (fault,) = found.faults
    assert (fault.kind, fault.wrong.tolist()) == ("length", [False, True, False])
    assert "data.max_cell_bytes (8 bytes)" in fault.reason
    kept = found.values.to_pylist()
    assert kept[1] in ("", None)
    assert [float(cell) for cell in (kept[0], kept[2])] == [1.0, 2.0]


def test_lengths_are_bytes_and_do_not_write_a_dictionary_out():
    values = pa.array(["é", None, "ab"])
    assert byte_lengths(values).to_pylist() == [2, None, 2]
    assert byte_lengths(values.dictionary_encode()).to_pylist() == [2, None, 2]
    assert byte_lengths(pa.array([1])) is None


def test_whole_numbers_that_lose_digits_are_counted():
    found = typed_numbers("n", pa.array([2**24 + 1, 2**24, 5]), RULES)
    assert found.inexact == 1


def test_a_kind_is_any_of_several():
    assert is_any(pa.large_string(), "string large_string")
    assert not is_any(pa.int8(), "string large_string")


def test_faults_show_a_few_rows_and_count_the_rest():
    found = FoundFaults()
    values = pa.array(["x"] * 4)
    (fault,) = typed_numbers("n", values, RULES).faults
    found.add(fault, values)
    found.add(fault, values, first_row=10)
    (sentence,) = found.sentences()
    assert sentence.endswith("row 1: 'x'; row 2: 'x'; row 3: 'x' and 5 more.")


def test_the_first_rows_shown_may_come_from_a_later_batch():
    found = FoundFaults()
    values = pa.array(["1", "x"])
    (fault,) = typed_numbers("n", values, RULES).faults
    assert np.array_equal(fault.wrong, [False, True])
    found.add(fault, values, first_row=10)
    assert "row 12: 'x'." in next(found.sentences())
