"""A model's answers to rows whose classes are known, and every metric of them.

The conventions are scikit-learn's, so that anybody can check a report with one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from tabweave.errors import ArtifactError, shorten
from tabweave.statistics.ranking import (
    Floats,
    auroc_of_counts,
    average_precision_of_counts,
)
from tabweave.statistics.resampling import (
    Integers,
    OfCounts,
    Statistic,
    Values,
    ratio,
)

MetricName = Literal[
    "auroc", "average_precision", "f1_score", "precision", "recall", "accuracy"
]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
RANKINGS = {"auroc": auroc_of_counts, "average_precision": average_precision_of_counts}


def check_predictions(probabilities: Floats, labels: Integers, classes: int) -> None:
    """Refuses probabilities or labels that no metric can be computed from.

    Args:
        probabilities: Shape [rows, classes], each in [0, 1].
        labels: Shape [rows], each a position among the classes.
        classes: Number of classes.

    Raises:
        ArtifactError: A shape is wrong, a probability is no number in [0, 1], or a
            label is not a class; the message names the first such row.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != classes:
        raise ArtifactError(
            f"Probabilities have shape {probabilities.shape}; {classes} classes need "
            f"shape [rows, {classes}]."
        )
    if labels.shape != probabilities.shape[:1] or labels.dtype.kind not in "iu":
        raise ArtifactError(
            f"Labels have shape {labels.shape} and type {labels.dtype}; there must be "
            f"one class number for each of {len(probabilities)} rows of probabilities."
        )
    outside = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)).all(axis=1))
    if len(outside):
        row = int(outside[0])
        raise ArtifactError(
            f"{len(outside)} rows have probabilities that are not numbers from 0 to 1; "
            f"the first is row {row + 1}: {shorten(probabilities[row].tolist())}. "
            "Train again: the model's weights are not usable."
        )
    unknown = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(unknown):
        row = int(unknown[0])
        raise ArtifactError(
            f"Row {row + 1} has label number {labels[row]}, which is not one of the "
            f"{classes} classes (0 to {classes - 1})."
        )


def predicted_classes(probabilities: Floats) -> Integers:
    """The most probable class of each row; of equal ones the first.

    Example:
        >>> predicted_classes(np.array([[0.2, 0.8], [0.5, 0.5]])).tolist()
        [1, 0]
    """
    return np.argmax(probabilities, axis=1).astype(np.int64)


class Answers:
    """A model's answers to rows whose classes are known.

    Args:
        probabilities: Shape [rows, classes].
        labels: Shape [rows]: number of the true class.

    Raises:
        ArtifactError: A shape, a probability or a label is not usable.
    """

    def __init__(self, probabilities: Floats, labels: Integers) -> None:
        check_predictions(probabilities, labels, probabilities.shape[-1])
        self.probabilities = probabilities
        self.labels = np.asarray(labels, np.int64)

    def statistic(self, metric: MetricName, about: int | None) -> Statistic:
        """One metric: its value, its interval, its difference to another model's.

        Args:
            metric: Name of the metric.
            about: Number of the class that the metric is about; None for the mean over
                the classes that occur: as labels, or for precision, recall and F1 as
                predictions, too. Accuracy is about all rows in either case.
        """
        if metric not in RANKINGS:
            of_counts = _confusion_of_counts(
                metric, self.probabilities, self.labels, about
            )
            return Statistic(of_counts, len(self.labels))
        chosen = np.unique(self.labels) if about is None else [about]
        per_class = [
            RANKINGS[metric](self.probabilities[:, index], self.labels == index)
            for index in chosen
        ]

        def mean_of_defined(counts: Integers) -> Values:
            values = np.stack([of_counts(counts) for of_counts in per_class])
            defined = np.isfinite(values)
            return ratio(np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0))

        return Statistic(mean_of_defined, len(self.labels))

    def value(self, metric: MetricName, about: int | None) -> float:
        """The metric on the rows themselves; NaN where they do not define it."""
        return self.statistic(metric, about).value


def _sums_by(keys: Integers, number: int) -> Callable[[Integers], Integers]:
    """Adds up the counts of the rows of each key: [resamples, `number`]."""
    order = np.argsort(keys, kind="stable")
    present, starts = np.unique(keys[order], return_index=True)

    def sums(counts: Integers) -> Integers:
        total = np.zeros((len(counts), number), np.int64)
        total[:, present] = np.add.reduceat(counts[:, order], starts, axis=1)
        return total

    return sums


def _confusion_of_counts(
    metric: MetricName, y_pred: Floats, y_true: Integers, about: int | None
) -> OfCounts:
    """Accuracy, precision, recall or F1 of the most probable class."""
    classes = y_pred.shape[1]
    predicted = predicted_classes(y_pred)
    missed = classes
    hit_of = _sums_by(np.where(predicted == y_true, y_true, missed), classes + 1)
    true_of, predicted_of = _sums_by(y_true, classes), _sums_by(predicted, classes)

    def of_counts(counts: Integers) -> Values:
        hits, labels = hit_of(counts)[:, :missed], true_of(counts)
        if metric == "accuracy":
            return ratio(hits.sum(axis=1), labels.sum(axis=1))
        predictions = predicted_of(counts)
        top, bottom = {
            "precision": (hits, predictions),
            "recall": (hits, labels),
            "f1_score": (2 * hits, labels + predictions),
        }[metric]
        per_class = ratio(top, bottom)
        if about is not None:
            value = per_class[:, about]
            value[labels[:, about] == 0] = np.nan
        else:
            occurs = labels + predictions > 0
            value = np.nansum(per_class, axis=1) / occurs.sum(axis=1)
        value[(labels > 0).sum(axis=1) < 2] = np.nan
        return value

    return of_counts
