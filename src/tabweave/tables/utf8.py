"""Finds cells whose bytes are not UTF-8, and replaces what cannot be read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

REPLACEMENT = "\ufffd"


def is_utf8(values: pa.Array) -> bool:
    """Whether every cell of a string or binary array is UTF-8; nulls are.

    Files may claim it wrongly: a Parquet reader takes the bytes of a string as they are.
    """
    try:
        _as_bytes(values).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def first_invalid(values: pa.Array) -> int | None:
    """Position of the first cell that is not UTF-8, or None."""
    if is_utf8(values):
        return None
    for place in range(len(values)):
        if not is_utf8(values[place : place + 1]):
            return place
    return None


def invalid_cells(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Shape [rows]: which cells of a string or binary array are not UTF-8."""
    if is_utf8(values):
        return np.zeros(len(values), bool)
    places = range(len(values))
    return np.array([not is_utf8(values[n : n + 1]) for n in places], bool)


def repaired(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, int]:
    """The cells as text, each bad byte sequence as U+FFFD, and how many those were.

    A bad sequence is the longest beginning of a character that does not go on as one, as
    the Unicode standard recommends (section 3.9, U+FFFD substitution of maximal subparts).

    Args:
        values: A string or binary array.
        kind: Type of the result: string or large_string.
    """
    if is_utf8(values):
        return _as_bytes(values).cast(kind), 0
    replaced = 0
    cells: list[str | None] = []
    for cell in _as_bytes(values).to_pylist():
        text = None if cell is None else cell.decode("utf-8", "replace")
        if text is not None:
            written = cell.count(REPLACEMENT.encode())
            replaced += text.count(REPLACEMENT) - written
        cells.append(text)
    return pa.array(cells, kind), replaced


def _as_bytes(values: pa.Array) -> pa.Array:
    return values.cast(pa.large_binary())
