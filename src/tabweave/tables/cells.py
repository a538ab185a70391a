"""What a cell becomes in its role, text or a float32, and which cells cannot."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tabweave.errors import shorten
from tabweave.schema import DataConfig, InvalidUtf8, Parameters, Quoting
from tabweave.tables.delimited import NOT_UTF8
from tabweave.tables.utf8 import invalid_cells, repaired

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
EXACT_INTEGERS = 2**24
SHOWN = 3

Mask = npt.NDArray[np.bool_]
FaultKind = Literal["value", "length", "encoding", "type"]


class CellRules(Parameters):
    """How raw cells are read; the rules of the training data hold for later rows too."""

    null_values: tuple[str, ...] = ("",)
    """Cells of numeric columns that mean 'missing'; an empty cell always does."""
    max_cell_bytes: int = Field(2**20, ge=1)
    """Longest cell in bytes."""
    invalid_utf8: InvalidUtf8 = "refuse"
    """Bytes that are not UTF-8: refuse them, or repair them to U+FFFD."""
    quoting: Quoting | None = None
    """Whether cells of a CSV or TSV may be in quotes, as ``data.quoting``."""

    @classmethod
    def of(cls, config: DataConfig) -> CellRules:
        """The rules in the parameter group ``data``."""
        return cls(**{name: getattr(config, name) for name in cls.model_fields})


@dataclass(frozen=True)
class Fault:
    """Cells of one column that cannot take their role.

    Attributes:
        reason: What is wrong, with the name of the column.
        wrong: Shape [rows]: which cells.
        kind: The value of single cells, their length or bytes, or the type of the column.
    """

    reason: str
    wrong: Mask
    kind: FaultKind = "value"


@dataclass(frozen=True)
class TypedCells:
    """A column in the type of its role; cells with a fault are missing in it.

    Attributes:
        values: string without nulls, or float32 with null for 'missing'.
        faults: What did not fit.
        inexact: Whole numbers beyond 2^24 that lost digits as float32.
    """

    values: pa.Array
    faults: tuple[Fault, ...] = ()
    inexact: int = 0


def readable_text(
    name: str, values: pa.Array, rules: CellRules
) -> tuple[pa.Array, tuple[Fault, ...], int]:
    """A column whose text is UTF-8, the cells that were not, and sequences replaced.

    With ``invalid_utf8: repair`` such cells are no fault, and what is replaced counts.
    """
    kind = values.type
    plain = values
    if pa.types.is_dictionary(kind):
        if not is_any(kind.value_type, "string large_string"):
            return values, (), 0
        if not invalid_cells(values.dictionary).any():
            return values, (), 0
        plain = values.dictionary_decode()
    if not is_any(plain.type, "string large_string"):
        return values, (), 0
    wrong = invalid_cells(plain)
    if not wrong.any():
        return values, (), 0
    text, count = repaired(plain, plain.type)
    text = text.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else text
    if rules.invalid_utf8 == "repair":
        return text, (), count
    reason = f"column '{name}': {NOT_UTF8.rstrip('.')}"
    return text, (Fault(reason, wrong, "encoding"),), 0


def typed_text(name: str, values: pa.Array, rules: CellRules) -> TypedCells:
    """Text exactly as written; null becomes the empty string, which is 'missing'.

    Whole numbers and booleans become their text; numbers with a fraction do not, since
    1 and 1.0 would be two categories.
    """
    values, faults = _of_good_length(name, values, rules)
    if is_any(values.type, "string large_string integer boolean null"):
        return TypedCells(pc.fill_null(values.cast(pa.string()), ""), faults)
    if pa.types.is_floating(values.type):
        reason = (
            f"column '{name}' holds floating-point numbers, but its role wants text; "
            "write whole numbers or strings"
        )
    else:
        reason = f"column '{name}' has type {values.type}, but its role wants text"
    present = pc.invert(pc.is_null(values, nan_is_null=True))
    empty = pa.array([""] * len(values), pa.string())
    return TypedCells(empty, (*faults, *_fault(reason, present, "type")))


def typed_numbers(name: str, values: pa.Array, rules: CellRules) -> TypedCells:
    """Numbers as float32; an empty cell, or one of `rules.null_values`, is missing."""
    values, faults = _of_good_length(name, values, rules)
    wide, wrong = _as_doubles(name, values, rules)
    numbers = wide.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        narrow = numbers.astype(np.float32)
    infinite = np.isinf(narrow)
    reason = f"numeric column '{name}' holds values that are infinite as float32"
    inexact = (np.abs(numbers) > EXACT_INTEGERS) & (narrow != numbers)
    return TypedCells(
        pa.array(narrow, pa.float32(), mask=np.isnan(narrow) | infinite),
        (*faults, *wrong, *_fault(reason, infinite)),
        int(inexact.sum()),
    )


def _as_doubles(
    name: str, values: pa.Array, rules: CellRules
) -> tuple[pa.Array, tuple[Fault, ...]]:
    if is_any(values.type, "string large_string"):
        return _parsed(name, values, rules)
    if pa.types.is_boolean(values.type):
        return values.cast(pa.uint8()).cast(pa.float64()), ()
    if is_any(values.type, "integer floating decimal null"):
        # float32 is the aim, so digits beyond 2^53 may already go here.
        wide = values.cast(pa.float64(), safe=False)
        declared = [float(cell) for cell in rules.null_values if is_number(cell)]
        return _emptied(wide, pc.is_in(wide, pa.array(declared, pa.float64()))), ()
    reason = f"numeric column '{name}' has type {values.type}"
    nothing = pa.nulls(len(values), pa.float64())
    return nothing, _fault(reason, values.is_valid(), "type")


def _parsed(
    name: str, values: pa.Array, rules: CellRules
) -> tuple[pa.Array, tuple[Fault, ...]]:
    empty = pc.is_in(values, value_set=pa.array(["", *rules.null_values], values.type))
    number = pc.fill_null(pc.match_substring_regex(values, NUMBER), False)
    wrong = pc.and_not(pc.invert(number), pc.or_(empty, values.is_null()))
    reason = (
        f"numeric column '{name}' holds cells that are not numbers (declare them "
        "under data.null_values if they mean 'missing')"
    )
    unusable = pc.invert(pc.and_not(number, empty))
    return _emptied(values, unusable).cast(pa.float64()), _fault(reason, wrong)


def _of_good_length(
    name: str, values: pa.Array, rules: CellRules
) -> tuple[pa.Array, tuple[Fault, ...]]:
    """The cells, written out; those above the cap are missing.

    One such cell could fill the memory of later stages.
    """
    lengths, cap = byte_lengths(values), rules.max_cell_bytes
    long: Mask = np.zeros(len(values), bool)
    if lengths is not None:
        long = np.asarray(pc.fill_null(pc.greater(lengths, cap), False))
    reason = f"column '{name}' holds cells above data.max_cell_bytes ({cap} bytes)"
    if pa.types.is_dictionary(values.type):
        indices = _emptied(values.indices, pa.array(long))
        values = pa.DictionaryArray.from_arrays(indices, values.dictionary)
        values = values.dictionary_decode()
    elif long.any():
        values = _emptied(values, pa.array(long))
    if values.null_count == len(values):
        values = pa.nulls(len(values))
    return values, _fault(reason, long, "length")


def byte_lengths(values: pa.Array) -> pa.Array | None:
    """Bytes of each cell of a text column, without writing a dictionary out."""
    if pa.types.is_dictionary(values.type):
        lengths = byte_lengths(values.dictionary)
        return None if lengths is None else lengths.take(values.indices)
    if is_any(values.type, "string large_string"):
        return pc.binary_length(values)
    return None


def _fault(
    reason: str,
    wrong: pa.Array | Mask,
    kind: FaultKind = "value",
) -> tuple[Fault, ...]:
    mask = np.asarray(wrong)
    return (Fault(reason, mask, kind),) if mask.any() else ()


def _emptied(values: pa.Array, empty: pa.Array) -> pa.Array:
    return pc.if_else(empty, pa.scalar(None, values.type), values)


def is_any(kind: pa.DataType, names: str) -> bool:
    """Whether a type is of any of the kinds that ``pa.types.is_<name>`` knows."""
    return any(getattr(pa.types, f"is_{name}")(kind) for name in names.split())


def is_number(cell: str) -> bool:
    """Whether a cell is a decimal number, as a numeric column has it."""
    return re.fullmatch(NUMBER, cell) is not None


@dataclass
class FoundFaults:
    """What did not fit in a whole file: a few cells per reason, and how many there are."""

    shown: dict[str, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    # What a message calls a row; row 1 is the first row below the header.
    place: Callable[[int], str] = "row {}".format

    def add(self, fault: Fault, values: pa.Array, first_row: int = 0) -> None:
        """Notes a fault of cells that begin `first_row` rows below the first one."""
        wrong = np.flatnonzero(fault.wrong)
        if not len(wrong):
            return
        self.counts[fault.reason] += len(wrong)
        shown = self.shown.setdefault(fault.reason, [])
        for index in wrong[: max(0, SHOWN - len(shown))]:
            value = shorten(values[int(index)].as_py())
            shown.append(f"{self.place(first_row + int(index) + 1)}: {value}")

    def clear(self) -> None:
        """Forgets what was found."""
        self.shown.clear()
        self.counts.clear()

    def sentences(self) -> Iterator[str]:
        """One sentence per reason."""
        for reason, rows in self.shown.items():
            count = self.counts[reason]
            more = f" and {count - len(rows)} more" if count > len(rows) else ""
            yield f"{reason}: {'; '.join(rows)}{more}."
