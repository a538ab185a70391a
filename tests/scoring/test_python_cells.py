import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from tabweave.scoring.python_cells import parts_of


def whole(values, role):
    """The parts laid over one another."""
    cells = [None] * len(values)
    for part in parts_of("c", values, role):
        for row, cell in enumerate(part.values.to_pylist()):
            if cell is not None:
                assert cells[row] is None, "two parts hold the same cell"
                cells[row] = cell
    return cells


def faults(values, role):
    return [fault for part in parts_of("c", values, role) for fault in part.faults]


def test_text_keeps_whole_numbers_as_they_are_written():
    values = ["007", 7, np.int64(-7), 10**30, True, np.bool_(False), None]
    expected = ["007", "7", "-7", str(10**30), True, False, None]
    assert whole(values, "text") == expected
    assert whole(values, "categorical") == expected


def test_numbers_of_all_kinds_stand_in_one_column():
    values = ["1.5", 2, np.float32(0.5), Decimal("0.25"), True, None, np.uint8(3)]
    assert whole(values, "numeric") == ["1.5", 2.0, 0.5, 0.25, True, None, 3.0]


@pytest.mark.parametrize(
    "missing",
    [
        *(None, float("nan"), np.float64("nan"), np.float32("nan"), pd.NA, pd.NaT),
        *(np.datetime64("NaT"), np.timedelta64("NaT")),
    ],
)
@pytest.mark.parametrize("role", ["text", "numeric"])
def test_what_means_missing_is_null(missing, role):
    nothing = (None, pytest.approx(np.nan, nan_ok=True))
    assert whole([missing, "1"], role) in [[cell, "1"] for cell in nothing]
    assert whole([missing], role) in [[cell] for cell in nothing]
    assert faults([missing, "1"], role) == []


def test_no_cells_at_all():
    (part,) = parts_of("c", [], "text")
    assert len(part.values) == 0


def test_a_number_beyond_all_floats_is_infinite():
    assert whole([10**400, -(10**400)], "numeric") == [float("inf"), float("-inf")]


def test_other_kinds_are_a_fault_with_their_rows():
    values = ["x", ["x"], {"a": 1}, datetime.date(2024, 1, 1)]
    (fault,) = faults(values, "text")
    assert fault.kind == "type"
    assert fault.wrong.tolist() == [False, True, True, True]
    assert "column 'c' holds values of type 'date', 'dict', 'list'" in fault.reason


def test_half_a_character_is_a_fault_and_the_others_stay():
    values = ["a", "b\ud800", "é"]
    (fault,) = faults(values, "text")
    assert fault.wrong.tolist() == [False, True, False]
    assert "lone surrogate" in fault.reason
    assert whole(values, "text") == ["a", None, "é"]


def test_a_message_shows_the_value_as_it_came():
    (part,) = parts_of("c", [1.5, 2.5], "text")
    assert part.shown[1].as_py() == 2.5


def test_numbers_that_python_cannot_write_or_read_are_a_fault_of_their_rows():
    (fault,) = faults([1, 10**5000, 2], "categorical")
    assert fault.wrong.tolist() == [False, True, False]
    assert "categorical column 'c' holds numbers of too many digits" in fault.reason
    assert whole([1, 10**5000], "text") == ["1", None]
    (fault,) = faults([0.5, Decimal("sNaN"), Decimal("NaN")], "numeric")
    assert fault.wrong.tolist() == [False, True, False]
    assert "numeric column 'c' holds numbers that have no value" in fault.reason
