"""Columns that give the label away, which good results often turn out to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tabweave.data_report.summaries import display_names
from tabweave.schema import DataSchema
from tabweave.statistics.ranking import auroc
from tabweave.tabular.columns import categories, class_indices, numbers

LEAK_AUROC = 0.99
"""A column that ranks one class this well alone is reported."""
LEAK_ROWS = 10
"""Classes with fewer rows, or fewer other rows, are not judged."""
PROBED_ROWS = 100_000
"""Rows of train that are judged, drawn at random."""
SEED = 0

Codes = npt.NDArray[Any]


@dataclass(frozen=True)
class Separation:
    """How well a column alone tells one class from the rest.

    Attributes:
        auroc: Chance that a row of the class outranks another row.
        label: Number of the class.
    """

    auroc: float
    label: int


def strongest_separation(
    codes: Codes, sizes: npt.NDArray[Any] | None, labels: Codes, num_classes: int
) -> Separation | None:
    """The class that a column alone tells best from the rest, or None if none is judged.

    A column is judged by one-vs-rest AUROC, once with its cells as categories and, if it
    is numeric, once by size. Rates of categories come from the other half of the rows:
    within one half, a category of one row would always be right. Classes of fewer than
    `LEAK_ROWS` rows are not judged.

    Args:
        codes: Number [rows] of each row's category.
        sizes: The number [rows] in each row, NaN where there is none; None for a column
            without numbers.
        labels: Number [rows] of each row's class.
        num_classes: Classes.
    """
    best: Separation | None = None
    half = np.random.default_rng(SEED).random(len(codes)) < 0.5
    groups = codes.astype(np.int64) * 2 + half
    width = int(groups.max(initial=-1)) + 1
    width += width % 2
    rows = np.bincount(groups, minlength=width)
    for label in range(num_classes):
        positive = labels == label
        if min(positive.sum(), (~positive).sum()) < LEAK_ROWS:
            continue
        hits = np.bincount(groups[positive], minlength=width)
        found = auroc(_rates_of_other_half(hits, rows), hits, rows - hits)
        if sizes is not None:
            found = max(found, _auroc_by_size(sizes, positive))
        if best is None or found > best.auroc:
            best = Separation(found, label)
    return best


def _rates_of_other_half(hits: Codes, rows: Codes) -> npt.NDArray[np.float64]:
    """Smoothed share of a class per category and half, as the other half has it.

    Args:
        hits: Rows of the class; categories stand in pairs, one entry per half.
        rows: All rows.
    """
    hits, rows = hits.reshape(-1, 2)[:, ::-1], rows.reshape(-1, 2)[:, ::-1]
    prior = hits.sum(0) / np.maximum(1, rows.sum(0))
    return ((hits + prior) / (rows + 1)).reshape(-1)


def _auroc_by_size(sizes: npt.NDArray[Any], positive: npt.NDArray[Any]) -> float:
    """AUROC of the numbers, in the better direction; 0.5 where too few are there."""
    there = ~np.isnan(sizes)
    hits = positive[there]
    if min(hits.sum(), (~hits).sum()) < LEAK_ROWS:
        return 0.5
    found = auroc(sizes[there], hits, ~hits)
    return max(found, 1 - found)


def leak_probe(train: pa.Table, schema: DataSchema) -> dict[str, Any]:
    """Every numeric and categorical column, judged alone on the rows of train."""
    rows = train.num_rows
    if rows > PROBED_ROWS:
        chosen = np.random.default_rng(SEED).choice(rows, PROBED_ROWS, replace=False)
        names = [schema.label, *schema.numeric, *schema.categorical]
        train = train.select(names).take(pa.array(np.sort(chosen)))
    labels = class_indices(train, schema)
    names = display_names(schema.classes)
    found = {}
    for name in (*schema.numeric, *schema.categorical):
        best = strongest_separation(
            *_cells(train, name, schema), labels, len(schema.classes)
        )
        found[name] = best and {"auroc": best.auroc, "class": names[best.label]}
    return {"rows": train.num_rows, "sampled": rows > PROBED_ROWS, "columns": found}


def _cells(
    train: pa.Table, name: str, schema: DataSchema
) -> tuple[Codes, npt.NDArray[Any] | None]:
    if name in schema.categorical:
        return categories(train, name)[0], None
    sizes = numbers(train, name)
    # NaN is one category: being filled for one class only is a leak too.
    return np.unique(sizes, return_inverse=True)[1], sizes
