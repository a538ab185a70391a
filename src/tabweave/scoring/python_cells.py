"""Python values of mixed kinds as Arrow arrays of one kind each.

Callers send text, numbers and booleans in one column. Arrow would refuse the mixture, or
turn a whole number into 1.0, which is another category than 1.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tabweave.errors import some_of
from tabweave.tables.cells import Fault, Mask

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "text"),
    ((bool, np.bool_), "boolean"),
    # numpy calls a span of time an integer, but it has no unit that a model knows.
    ((np.datetime64, np.timedelta64), "other"),
    (numbers.Integral, "integer"),
    ((numbers.Real, Decimal), "float"),
)
"""Types of Python values and what they are; the first that fits counts."""


@dataclass(frozen=True)
class Part:
    """The cells of a column that are of one kind; the others are null.

    Attributes:
        values: The cells.
        shown: The cells as a message shows them; None where those are `values`.
        faults: Cells that are of no kind that a column may hold.
    """

    values: pa.Array
    shown: Any = None
    faults: tuple[Fault, ...] = ()


class _Shown:
    """Python values that a message shows as it would Arrow's."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def __getitem__(self, index: int) -> pa.Scalar:
        return _Cell(self._values[index])


@dataclass(frozen=True)
class _Cell:
    value: Any

    def as_py(self) -> Any:
        return self.value


def parts_of(name: str, values: list[Any], role: str) -> list[Part]:
    """The values of one column, divided by kind; together the parts hold every cell.

    Args:
        name: The column.
        values: Text, numbers, booleans and None in any mixture.
        role: text, categorical or numeric.
    """
    return list(_parts(name, values, role)) or [Part(pa.nulls(len(values)))]


def _parts(name: str, values: list[Any], role: str) -> Iterator[Part]:
    kinds = np.array([_kind_of(value) for value in values], dtype=object)
    shown = _Shown(values)
    wrong = kinds == "other"
    if wrong.any():
        types = {type(v).__name__ for v, bad in zip(values, wrong, strict=True) if bad}
        reason = f"{role} column '{name}' holds values of type {some_of(sorted(types))}"
        yield Part(pa.nulls(len(values)), shown, (Fault(reason, wrong, "type"),))
    for kind in ("text", "boolean", "integer", "float"):
        mine = kinds == kind
        if mine.any():
            yield _array_of(name, values, mine, kind, role)


def _kind_of(value: Any) -> str:
    if is_missing(value):
        return "missing"
    return next((kind for types, kind in _KINDS if isinstance(value, types)), "other")


def is_missing(value: Any) -> bool:
    """Whether a Python value is None, NaN, NaT or ``pandas.NA``."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _array_of(
    name: str, values: Sequence[Any], mine: Mask, kind: str, role: str
) -> Part:
    chosen = [value if own else None for value, own in zip(values, mine, strict=True)]
    shown = _Shown(values)
    if kind == "boolean":
        return Part(pa.array(chosen, pa.bool_()), shown)
    if kind == "text":
        return _texts(name, chosen, shown)
    write = _digits if kind == "integer" and role != "numeric" else _double
    made, wrong = [], np.zeros(len(values), bool)
    for row, value in enumerate(chosen):
        try:
            made.append(None if value is None else write(value))
        except (ValueError, TypeError):
            made.append(None)
            wrong[row] = True
    what = "of too many digits to be text" if write is _digits else "that have no value"
    reason = f"{role} column '{name}' holds numbers {what}"
    faults = (Fault(reason, wrong),) if wrong.any() else ()
    return Part(
        pa.array(made, pa.string() if write is _digits else pa.float64()), shown, faults
    )


def _digits(value: Any) -> str:
    """A whole number as text; Python itself bounds the digits that it writes."""
    return str(int(value))


def _double(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _texts(name: str, values: list[Any], shown: _Shown) -> Part:
    try:
        return Part(pa.array(values, pa.string()), shown)
    except UnicodeEncodeError:
        pass
    wrong = np.array([v is not None and not _is_unicode(v) for v in values], bool)
    reason = f"column '{name}' holds text with half a character (a lone surrogate)"
    kept = [None if bad else value for value, bad in zip(values, wrong, strict=True)]
    return Part(pa.array(kept, pa.string()), shown, (Fault(reason, wrong),))


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
