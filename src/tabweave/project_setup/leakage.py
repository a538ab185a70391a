"""Finds columns that give the label away, which good results often turn out to be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import shorten
from tabweave.project_setup.columns import SampledColumn

LEAK_AUROC = 0.99
LEAK_ROWS = 10


def leakage_doubt(column: SampledColumn, label: SampledColumn) -> str:
    """A sentence for a column that alone tells one class from the rest, else "".

    A column is judged by one-vs-rest AUROC, once with its cells as categories and, if
    it is numeric, once by size. Rates of categories come from the other half of the
    sample: within one half, a category of one row would always be right. Classes of
    fewer than `LEAK_ROWS` rows are not judged.
    """
    labels = label.cells.dictionary_encode()
    classes = np.asarray(labels.indices)
    rates = _rates_of_other_half(column.cells, classes, len(labels.dictionary))
    for number, name in enumerate(labels.dictionary.to_pylist()):
        positive = classes == number
        found = _auroc(rates[:, number], positive)
        if column.numbers is not None:
            there = ~np.isnan(column.numbers)
            by_size = _auroc(column.numbers[there], positive[there])
            found = max(found, by_size, 1 - by_size)
        if found > LEAK_AUROC:
            return (
                f"alone it tells label {shorten(name)} from the rest (AUROC "
                f"{found:.3f} on the sample). Is it known when a prediction is made? "
                "If not, remove it."
            )
    return ""


def _rates_of_other_half(
    cells: pa.Array, classes: np.ndarray, num_classes: int
) -> np.ndarray:
    """Smoothed share of every class per row's category: [rows, classes]."""
    encoded = pc.dictionary_encode(cells)
    codes = np.asarray(encoded.indices)
    shape = (len(encoded.dictionary), num_classes)
    half = np.random.default_rng(0).random(len(codes)) < 0.5
    rates = np.empty((len(codes), num_classes))
    for rows in (half, ~half):
        seen = codes[~rows] * num_classes + classes[~rows]
        counts = np.bincount(seen, minlength=shape[0] * shape[1]).reshape(shape)
        prior = counts.sum(0) / max(1, counts.sum())
        table = (counts + prior) / (counts.sum(1, keepdims=True) + 1)
        rates[rows] = table[codes[rows]]
    return rates


def _auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive outscores a negative, ties half; 0.5 for too few rows."""
    if min(positive.sum(), (~positive).sum()) < LEAK_ROWS:
        return 0.5
    _, ranks = np.unique(scores, return_inverse=True)
    hits = np.bincount(ranks, weights=positive)
    misses = np.bincount(ranks, weights=~positive)
    below = np.cumsum(misses) - misses / 2
    return float((hits * below).sum() / (hits.sum() * misses.sum()))
