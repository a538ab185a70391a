"""AUROC and average precision, on the rows themselves and on many resamples at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tabweave.statistics.resampling import Integers, OfCounts, Values, ratio

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]


def auroc(
    values: npt.NDArray[Any], hits: npt.NDArray[Any], misses: npt.NDArray[Any]
) -> float:
    """Chance that a hit has a larger value than a miss, ties half; NaN without both.

    Args:
        values: A score per group of rows; a group may be one row.
        hits: Rows of the class in each group.
        misses: Rows of the other classes in each group.
    """
    up, down = np.flatnonzero(hits), np.flatnonzero(misses)
    scores = np.concatenate([values[up], values[down]]).astype(np.float64)
    counts = np.concatenate([hits[up], misses[down]]).astype(np.int64)
    return float(
        auroc_of_counts(scores, np.arange(len(scores)) < len(up))(counts[None])[0]
    )


def average_precision(scores: Floats, positive: Flags) -> float:
    """Mean precision at the positive rows; NaN without both kinds of rows."""
    ones = np.ones((1, len(scores)), np.int64)
    return float(average_precision_of_counts(scores, positive)(ones)[0])


def auroc_error(hits: float, misses: float) -> float:
    """Standard error of the AUROC of a score that says nothing, for so many rows."""
    if hits == 0 or misses == 0:
        return math.nan
    return math.sqrt((hits + misses + 1) / (12 * hits * misses))


class _Ranking:
    """Rows from the highest score down; only groups of equal score with a positive.

    Everything about the negatives follows from how many rows lie above each positive,
    so a rare class costs little more than one running sum.
    """

    def __init__(self, scores: Floats, positive: Flags) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        at = np.flatnonzero(positive[self.order])
        self.positives = self.order[at]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        group, first = np.unique(
            np.searchsorted(starts, at, side="right"), return_index=True
        )
        self.rows = starts[group - 1], np.r_[starts, len(ranked)][group]
        self.first, self.last = first, np.append(first, len(at))[1:]

    def running(self, counts: Integers) -> tuple[Integers, ...]:
        """Positives in each group and down to its end, and rows likewise.

        Each of the four has shape [resamples, groups].
        """
        above = _running_sum(counts, self.positives)
        seen = _running_sum(counts, self.order)
        before, until = self.rows
        above_end, seen_end = above[:, self.last], seen[:, until]
        inside = above_end - above[:, self.first]
        return inside, above_end, seen_end - seen[:, before], seen_end


def _running_sum(counts: Integers, order: Integers) -> Integers:
    total = np.zeros((len(counts), len(order) + 1), np.int64)
    np.cumsum(counts[:, order], axis=1, out=total[:, 1:])
    return total


def _class_totals(counts: Integers, positive: Flags) -> Integers:
    """Positive and negative rows of each resample: [2, resamples]."""
    total = counts @ positive
    return np.stack([total, counts.sum(axis=1) - total])


def auroc_of_counts(scores: Floats, positive: Flags) -> OfCounts:
    """Share of pairs in which the positive scores higher; equal scores count half."""
    ranking = _Ranking(scores, positive)

    def of_counts(counts: Integers) -> Values:
        inside, above, rows, seen = ranking.running(counts)
        positives, negatives = _class_totals(counts, positive)
        negatives_tied, negatives_seen = rows - inside, seen - above
        # In whole numbers, so that equal rankings differ by exactly 0.
        twice_lost = (inside * (2 * negatives_seen - negatives_tied)).sum(axis=1)
        pairs = 2 * positives * negatives
        return ratio(pairs - twice_lost, pairs)

    return of_counts


def average_precision_of_counts(scores: Floats, positive: Flags) -> OfCounts:
    """Mean precision at the positives, each taken at the end of its group."""
    ranking = _Ranking(scores, positive)

    def of_counts(counts: Integers) -> Values:
        inside, above, _, seen = ranking.running(counts)
        positives, negatives = _class_totals(counts, positive)
        precision = above / np.maximum(seen, 1)
        total = np.where(negatives > 0, positives, 0)
        return ratio((inside * precision).sum(axis=1), total)

    return of_counts
