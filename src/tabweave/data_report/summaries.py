"""Counts and summaries of one split's columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.schema import DataSchema

LONGEST_CELL = 80
"""Characters of a cell that a report shows at most."""
BINS = 30
"""Bars of a histogram of text lengths."""


def display_names(cells: Sequence[str]) -> list[str]:
    """The cells, cut to 80 characters; those that look alike then are numbered.

    Example:
        >>> display_names(["yes", "no"])
        ['yes', 'no']
    """
    names: list[str] = []
    for cell in cells:
        name, number = cut(cell), 1
        while name in names:
            number += 1
            ending = f" ({number})"
            name = f"{cut(cell, LONGEST_CELL - len(ending))}{ending}"
        names.append(name)
    return names


def cut(cell: str, limit: int = LONGEST_CELL) -> str:
    """A cell, cut to so many characters."""
    return cell if len(cell) <= limit else f"{cell[: limit - 1]}…"


def class_rows(table: pa.Table, schema: DataSchema) -> list[int]:
    """Rows of every class, in the order of the schema."""
    counts = pc.value_counts(table[schema.label].combine_chunks()).to_pylist()
    found = {entry["values"]: entry["counts"] for entry in counts}
    return [found.get(label, 0) for label in schema.classes]


def missing_cells(table: pa.Table, schema: DataSchema) -> dict[str, int]:
    """Missing cells of every feature column: empty text, or a number that is null."""
    as_text = (*schema.text, *schema.categorical)
    empty = {name: int(_true(pc.equal(table[name], ""))) for name in as_text}
    return empty | {name: table[name].null_count for name in schema.numeric}


def distinct_cells(table: pa.Table, schema: DataSchema) -> dict[str, int]:
    """Distinct categories of every categorical column; a missing one counts as one."""
    return {n: pc.count_distinct(table[n]).as_py() for n in schema.categorical}


def numeric_summary(column: pa.ChunkedArray) -> dict[str, float | None]:
    """Least, quartiles, greatest and mean of the numbers that are there, else None.

    Quartiles lie between two values by linear interpolation.
    """
    names = ("min", "q25", "median", "q75", "max")
    numbers = column.drop_null().to_numpy()
    if not len(numbers):
        return dict.fromkeys((*names, "mean"))
    points = np.quantile(numbers.astype(np.float64), [0, 0.25, 0.5, 0.75, 1])
    summary = dict(zip(names, map(float, points), strict=True))
    return {**summary, "mean": float(numbers.mean(dtype=np.float64))}


def text_lengths(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Characters of every text that is there."""
    lengths = np.asarray(pc.utf8_length(column)).astype(np.int64)
    return lengths[lengths > 0]


def length_edges(longest: int) -> list[float]:
    """Borders of the bars of a histogram of lengths, each the same factor apart."""
    return [
        float(edge) for edge in np.geomspace(0.999, max(2, longest) + 0.5, BINS + 1)
    ]


def length_summary(
    lengths: npt.NDArray[np.int64], edges: Sequence[float]
) -> dict[str, Any]:
    """Median, 95th percentile and greatest length in characters, and a histogram."""
    counts = np.histogram(lengths, edges)[0].tolist()
    if not len(lengths):
        return {"median": None, "p95": None, "max": None, "histogram": counts}
    median, p95 = np.quantile(lengths, [0.5, 0.95])
    return {
        "median": float(median),
        "p95": float(p95),
        "max": int(lengths.max()),
        "histogram": counts,
    }


def unseen_categories(
    train: pa.Table, other: pa.Table, schema: DataSchema
) -> dict[str, dict[str, float]]:
    """Rows, and their share, whose category train never showed, per column."""
    found = {}
    for name in schema.categorical:
        known = pc.unique(train[name])
        rows = _true(pc.invert(pc.is_in(other[name], value_set=known)))
        found[name] = {"rows": rows, "share": rows / other.num_rows}
    return found


def constant_columns(table: pa.Table, schema: DataSchema) -> list[str]:
    """Feature columns that hold one value in every row; missing counts as a value."""
    features = (*schema.text, *schema.categorical, *schema.numeric)
    return [name for name in features if _is_constant(table[name])]


def _is_constant(column: pa.ChunkedArray) -> bool:
    if column.null_count:
        return column.null_count == len(column)
    return _true(pc.equal(column, column[0])) == len(column)


def share_error(share: float, rows: int) -> float:
    """Standard error of a share that was counted on so many rows."""
    return math.sqrt(share * (1 - share) / rows)


def _true(flags: pa.ChunkedArray) -> int:
    return int(pc.sum(flags).as_py() or 0)


def rates(counts: Mapping[str, int], rows: int) -> dict[str, float]:
    """Counts as shares of the rows."""
    return {name: count / rows for name, count in counts.items()}
