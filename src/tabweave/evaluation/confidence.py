"""How far a metric could be off: bootstrap intervals and a paired test of two models.

The plain percentile bootstrap (Efron and Tibshirani 1993, chapter 13): the rows of the
split are drawn again with replacement, as another test set would be, so the shares of
the classes vary as well. A resample is a count per row. Each metric is worked out from
such counts for many resamples at once, after sorting the rows a single time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tabweave.errors import ArtifactError
from tabweave.evaluation.config import MetricName
from tabweave.evaluation.predictions import (
    Floats,
    Integers,
    check_predictions,
    predicted_classes,
)

Values = npt.NDArray[np.float64]
# Counts [resamples, rows] -> a metric [resamples], NaN where the counts define none.
Statistic = Callable[[Integers], Values]

CELLS_PER_BATCH = 1 << 21


@dataclass(frozen=True)
class Interval:
    """A metric, or the difference of two models' metrics, with its interval.

    Attributes:
        low: Lower end; None if no resample defines the metric.
        high: Upper end, likewise.
        estimate: Value on the rows themselves; None if they do not define it.
        p_value: Of a difference, two-sided; else None.
        samples: Resamples drawn.
        undefined: Resamples that did not define the metric and were left out.
    """

    low: float | None
    high: float | None
    estimate: float | None
    p_value: float | None = None
    samples: int = 0
    undefined: int = 0


def bootstrap_interval(  # noqa: PLR0913 (all but the data are keywords)
    metric: MetricName,
    y_pred: Floats,
    y_true: Integers,
    *,
    positive_index: int | None,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of one metric.

    The percentile interval, stretched to hold the estimate where it does not.

    Args:
        metric: Name of the metric, defined as in `tabweave.evaluation.metrics`.
        y_pred: Shape [rows, classes]: probabilities.
        y_true: Shape [rows]: number of the true class.
        positive_index: Number of the class that the metric is about; None for the
            mean over the classes. Accuracy is about all rows in either case.
        samples: Resamples.
        level: Share of such intervals that should hold the true value.
        seed: Equal seeds give equal intervals.

    Raises:
        ArtifactError: A shape, a probability or a label is not usable.
    """
    statistic = _statistic(metric, y_pred, y_true, positive_index)
    estimate, drawn = _resample(statistic, len(y_true), samples, seed)
    return _interval(estimate, drawn, level)


def paired_bootstrap(  # noqa: PLR0913 (all but the data are keywords)
    metric: MetricName,
    pred_a: Floats,
    pred_b: Floats,
    y_true: Integers,
    *,
    positive_index: int | None,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of metric(a) - metric(b); both models see the same resamples.

    The p-value is twice the smaller share of resamples at or beyond 0, counted with
    one more on each side, so it is never below 2 / (samples + 1).

    Args:
        metric: As in `bootstrap_interval`, and so are the further arguments.
        pred_a: Shape [rows, classes]: probabilities of the one model.
        pred_b: Shape [rows, classes]: probabilities of the other model.
        y_true: Shape [rows]: number of the true class.
        positive_index: Number of the class that the metric is about, or None.
        samples: Resamples.
        level: Share of such intervals that should hold the true difference.
        seed: Equal seeds give equal intervals.

    Raises:
        ArtifactError: A shape, a probability or a label is not usable.
    """
    if pred_a.shape != pred_b.shape:
        raise ArtifactError(
            f"Two models can only be compared on the same rows and classes, but their "
            f"probabilities have shapes {pred_a.shape} and {pred_b.shape}."
        )
    of_a = _statistic(metric, pred_a, y_true, positive_index)
    of_b = _statistic(metric, pred_b, y_true, positive_index)
    estimate, drawn = _resample(
        lambda counts: of_a(counts) - of_b(counts), len(y_true), samples, seed
    )
    defined = drawn[np.isfinite(drawn)]
    p_value = None
    if np.isfinite(estimate):
        beyond = min((defined <= 0).sum(), (defined >= 0).sum())
        p_value = min(1.0, 2 * (1 + int(beyond)) / (1 + len(defined)))
    return _interval(estimate, drawn, level, p_value)


def _resample(
    statistic: Statistic, rows: int, samples: int, seed: int
) -> tuple[float, Values]:
    """The value on the rows themselves, and on every resample; NaN is undefined."""
    undefined = np.full(samples, np.nan)
    if rows == 0:
        return np.nan, undefined
    estimate = float(statistic(np.ones((1, rows), np.int64))[0])
    if not np.isfinite(estimate):
        return np.nan, undefined
    return estimate, np.concatenate(
        [statistic(counts) for counts in _counts(rows, samples, seed)]
    )


def _counts(rows: int, samples: int, seed: int) -> Iterator[Integers]:
    """How often each resample draws each row, a bounded number of cells at a time."""
    generator = np.random.default_rng(seed)
    step = max(1, CELLS_PER_BATCH // rows)
    for start in range(0, samples, step):
        number = min(step, samples - start)
        drawn = generator.integers(0, rows, (number, rows))
        drawn += np.arange(number)[:, None] * rows
        counts = np.bincount(drawn.ravel(), minlength=number * rows)
        yield counts.reshape(number, rows)


def _interval(
    estimate: float, drawn: Values, level: float, p_value: float | None = None
) -> Interval:
    defined = drawn[np.isfinite(drawn)]
    undefined = len(drawn) - len(defined)
    if not len(defined):
        value = estimate if np.isfinite(estimate) else None
        return Interval(None, None, value, None, len(drawn), undefined)
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(
        low=min(float(low), estimate),
        high=max(float(high), estimate),
        estimate=estimate,
        p_value=p_value,
        samples=len(drawn),
        undefined=undefined,
    )


def _statistic(
    metric: MetricName, y_pred: Floats, y_true: Integers, positive_index: int | None
) -> Statistic:
    check_predictions(y_pred, y_true, y_pred.shape[-1])
    y_true = np.asarray(y_true, np.int64)
    if metric in ("auroc", "average_precision"):
        rank = _auroc if metric == "auroc" else _average_precision
        chosen = np.unique(y_true) if positive_index is None else [positive_index]
        per_class = [rank(y_pred[:, index], y_true == index) for index in chosen]
        return lambda counts: _mean_of_defined([one(counts) for one in per_class])
    return _confusion_statistic(metric, y_pred, y_true, positive_index)


def _mean_of_defined(values: list[Values]) -> Values:
    stacked = np.stack(values)
    defined = np.isfinite(stacked)
    return _ratio(np.where(defined, stacked, 0).sum(axis=0), defined.sum(axis=0))


def _ratio(top: npt.NDArray[np.number], bottom: npt.NDArray[np.number]) -> Values:
    """`top` / `bottom`, NaN where `bottom` is 0."""
    undefined = np.full(np.broadcast(top, bottom).shape, np.nan)
    return np.divide(top, bottom, out=undefined, where=bottom != 0)


class _Ranking:
    """Rows from the highest score down; only groups of equal score with a positive.

    Everything about the negatives follows from how many rows lie above each positive,
    so a rare class costs little more than one running sum.
    """

    def __init__(self, scores: Floats, positive: npt.NDArray[np.bool_]) -> None:
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


def _class_totals(counts: Integers, positive: npt.NDArray[np.bool_]) -> Integers:
    """Positive and negative rows of each resample: [2, resamples]."""
    total = counts @ positive
    return np.stack([total, counts.sum(axis=1) - total])


def _auroc(scores: Floats, positive: npt.NDArray[np.bool_]) -> Statistic:
    """Share of pairs in which the positive scores higher; equal scores count half."""
    ranking = _Ranking(scores, positive)

    def statistic(counts: Integers) -> Values:
        inside, above, rows, seen = ranking.running(counts)
        positives, negatives = _class_totals(counts, positive)
        negatives_tied, negatives_seen = rows - inside, seen - above
        # In whole numbers, so that equal rankings differ by exactly 0.
        twice_lost = (inside * (2 * negatives_seen - negatives_tied)).sum(axis=1)
        pairs = 2 * positives * negatives
        return _ratio(pairs - twice_lost, pairs)

    return statistic


def _average_precision(scores: Floats, positive: npt.NDArray[np.bool_]) -> Statistic:
    """Mean precision at the positives, each taken at the end of its group."""
    ranking = _Ranking(scores, positive)

    def statistic(counts: Integers) -> Values:
        inside, above, _, seen = ranking.running(counts)
        positives, negatives = _class_totals(counts, positive)
        precision = above / np.maximum(seen, 1)
        total = np.where(negatives > 0, positives, 0)
        return _ratio((inside * precision).sum(axis=1), total)

    return statistic


def _sums_by(keys: Integers, number: int) -> Callable[[Integers], Integers]:
    """Adds up the counts of the rows of each key: [resamples, `number`]."""
    order = np.argsort(keys, kind="stable")
    present, starts = np.unique(keys[order], return_index=True)

    def sums(counts: Integers) -> Integers:
        total = np.zeros((len(counts), number), np.int64)
        total[:, present] = np.add.reduceat(counts[:, order], starts, axis=1)
        return total

    return sums


def _confusion_statistic(
    metric: MetricName, y_pred: Floats, y_true: Integers, positive_index: int | None
) -> Statistic:
    """Accuracy, precision, recall or F1 of the most probable class."""
    classes = y_pred.shape[1]
    predicted = predicted_classes(y_pred)
    missed = classes
    hit_of = _sums_by(np.where(predicted == y_true, y_true, missed), classes + 1)
    true_of, predicted_of = _sums_by(y_true, classes), _sums_by(predicted, classes)

    def statistic(counts: Integers) -> Values:
        hits, labels = hit_of(counts)[:, :missed], true_of(counts)
        if metric == "accuracy":
            return _ratio(hits.sum(axis=1), labels.sum(axis=1))
        predictions = predicted_of(counts)
        top, bottom = {
            "precision": (hits, predictions),
            "recall": (hits, labels),
            "f1_score": (2 * hits, labels + predictions),
        }[metric]
        per_class = _ratio(top, bottom)
        if positive_index is not None:
            value = per_class[:, positive_index]
            value[labels[:, positive_index] == 0] = np.nan
        else:
            occurs = labels + predictions > 0
            value = np.nansum(per_class, axis=1) / occurs.sum(axis=1)
        value[(labels > 0).sum(axis=1) < 2] = np.nan
        return value

    return statistic
