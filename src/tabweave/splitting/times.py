"""Times of rows, and the split that puts the past before the future."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import Problems, SchemaError, shorten
from tabweave.splitting.assignment import DROPPED, TEST, TRAIN, VAL, Sides
from tabweave.tables.cells import is_number

# What 64 bits hold for certain; nanoseconds since 1970 are 19 digits that begin with 1.
INTEGER = re.compile(r"[+-]?([0-9]{1,18}|1[0-9]{18})", re.ASCII)
ISO_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}"
    r"([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?",
    re.ASCII,
)
EXACT = 2**61
SHOWN = 3

Kind = Literal["number", "naive", "aware"]


@dataclass(frozen=True)
class Times:
    """Times of all rows: numbers as they are, or microseconds since 1970.

    Attributes:
        values: Shape [rows], int64 or float64, no value missing.
        kind: Whether they are numbers, local times, or times with an offset (in UTC).
    """

    values: npt.NDArray[Any]
    kind: Kind


@dataclass(frozen=True)
class Where:
    """What messages call a column and its rows.

    Attributes:
        column: Its file and name.
        row: Gives what a row is called; row 1 is the first below the header.
    """

    column: str
    row: Callable[[int], str] = "row {}".format

    def __str__(self) -> str:
        return self.column


def read_times(
    column: pa.ChunkedArray, where: Where, problems: Problems
) -> Times | None:
    """The times of a column, or None and what is wrong with them.

    ISO 8601 dates and times are compared to the microsecond; a date is its midnight.

    Args:
        column: Strings, numbers, dates or timestamps.
        where: File, column and rows, for messages.
        problems: Receives missing, unreadable and mixed values.
    """
    kind, before = column.type, len(problems.found)
    missing = np.flatnonzero(_is_missing(column))
    if len(missing):
        problems.add(
            f"{where} is empty in {len(missing)} rows, first {_rows(missing, where)}. A "
            "row without a time cannot be placed."
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        found = _from_text(column, where, problems)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        found = _from_timestamps(column)
    elif any(
        getattr(pa.types, f"is_{name}")(kind)
        for name in ("integer", "floating", "decimal")
    ):
        found = _from_numbers(column, where, problems)
    else:
        found = None
        problems.add(f"{where} has type {kind}; write ISO 8601 times or numbers.")
    return found if len(problems.found) == before else None


def _is_missing(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    gone = pc.is_null(column, nan_is_null=True)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        gone = pc.or_(gone, pc.fill_null(pc.equal(column, ""), True))
    return np.asarray(gone)


def _rows(indices: npt.NDArray[np.intp], where: Where) -> str:
    """The first few rows."""
    return ", ".join(where.row(int(index) + 1) for index in indices[:SHOWN])


def _from_timestamps(column: pa.ChunkedArray) -> Times:
    zone = getattr(column.type, "tz", None)
    micros = column.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
    return Times(np.asarray(pc.fill_null(micros, 0)), "aware" if zone else "naive")


def _from_numbers(column: pa.ChunkedArray, where: Where, problems: Problems) -> Times:
    wide = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), 0.0))
    infinite = np.flatnonzero(np.isinf(wide))
    if len(infinite):
        problems.add(f"{where} is infinite in {_rows(infinite, where)}.")
    if pa.types.is_integer(column.type) and not (np.abs(wide) > EXACT).any():
        return Times(np.asarray(pc.fill_null(column.cast(pa.int64()), 0)), "number")
    return Times(wide, "number")


def _from_text(
    column: pa.ChunkedArray, where: Where, problems: Problems
) -> Times | None:
    distinct = pc.unique(column)
    codes = np.asarray(pc.index_in(column, value_set=distinct))
    cells = distinct.to_pylist()
    written = [cell for cell in cells if cell]
    if all(is_number(cell) for cell in written):
        whole = all(INTEGER.fullmatch(cell) for cell in written)
        numbers = pc.if_else(pa.array(_is_missing(column)), "0", column)
        plain = pc.replace_substring_regex(numbers, r"^\+", "")
        kind = pa.int64() if whole else pa.float64()
        return _from_numbers(plain.cast(kind), where, problems)
    parsed = {code: _parse(cell) for code, cell in enumerate(cells) if cell}
    wrong = [code for code, moment in parsed.items() if moment is None]
    if wrong:
        problems.add(
            f"{where} holds cells that are not ISO 8601 times such as 2024-01-31 or "
            f"2024-01-31T12:00:00Z, and not all are numbers: "
            f"{_cells(codes, wrong, cells, where)}."
        )
        return None
    offsets = [c for c, moment in parsed.items() if moment and moment.tzinfo]
    if offsets and len(offsets) < len(parsed):
        local = [code for code in parsed if code not in set(offsets)]
        aware = _cells(codes, offsets, cells, where, 1)
        naive = _cells(codes, local, cells, where, 1)
        problems.add(
            f"{where} mixes times with an offset ({aware}) and without one ({naive}); "
            "their order is not known. Write all times in one form."
        )
        return None
    return Times(
        _microseconds(parsed, len(cells))[codes], "aware" if offsets else "naive"
    )


def _parse(cell: str) -> datetime | None:
    if ISO_TIME.fullmatch(cell) is None:
        return None
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None


def _cells(
    codes: npt.NDArray[Any],
    wanted: list[int],
    cells: list[str],
    where: Where,
    shown: int = SHOWN,
) -> str:
    """The first rows that hold one of the wanted cells, and what they hold."""
    rows = np.flatnonzero(np.isin(codes, wanted))
    first = [
        f"{where.row(int(row) + 1)}: {shorten(cells[codes[row]])}"
        for row in rows[:shown]
    ]
    more = f" and {len(rows) - shown} more" if len(rows) > shown > 1 else ""
    return "; ".join(first) + more


def _microseconds(
    parsed: Mapping[int, datetime | None], cells: int
) -> npt.NDArray[np.int64]:
    values = np.zeros(cells, np.int64)
    for code, moment in parsed.items():
        assert moment is not None
        start = datetime(1970, 1, 1, tzinfo=UTC if moment.tzinfo else None)
        values[code] = (moment - start) // timedelta(microseconds=1)
    return values


def split_by_time(
    times: Times, fractions: tuple[Fraction, Fraction, Fraction], embargo: float | None
) -> Sides:
    """The split of every row: train is before val, val is before test.

    The two cuts lie at the times nearest to the wanted shares; rows of one time are
    never cut apart. With an embargo, rows of train and val that are less than it before
    the first row of the next split are dropped.

    Args:
        times: Of all rows.
        fractions: Shares of train, val and test.
        embargo: In microseconds, or in the unit of times that are numbers.

    Raises:
        SchemaError: There are fewer than three distinct times.
    """
    order = np.sort(times.values)
    starts = np.flatnonzero(order[1:] != order[:-1]) + 1
    if len(starts) < 2:
        raise SchemaError(
            f"A split by time needs at least 3 distinct times, but the time column "
            f"holds {len(starts) + 1}. Use method stratified or group."
        )
    rows = len(order)
    cut = int(np.argmin(np.abs(starts[:-1] - float(fractions[0] * rows))))
    wanted = float((1 - fractions[2]) * rows)
    second = cut + 1 + int(np.argmin(np.abs(starts[cut + 1 :] - wanted)))
    first_val, first_test = order[starts[cut]], order[starts[second]]
    sides = np.full(rows, TRAIN, np.int8)
    sides[times.values >= first_val] = VAL
    sides[times.values >= first_test] = TEST
    if embargo is not None:
        for side, following in ((TRAIN, first_val), (VAL, first_test)):
            near = (sides == side) & (following - times.values < embargo)
            sides[near] = DROPPED
    return sides
