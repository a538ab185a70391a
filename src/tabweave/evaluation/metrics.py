"""Classification metrics under flat names; an undefined one is None, never 0.

With two classes, precision, recall, F1, AUROC and average precision are about the
positive label. With more, precision, recall and F1 are the mean over every class that
occurs as a label or as a prediction; AUROC and average precision are the mean over the
classes that occur as labels, each against the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tabweave.statistics.classification import (
    METRICS,
    Answers,
    MetricName,
    check_predictions,
)
from tabweave.statistics.ranking import Floats
from tabweave.statistics.resampling import Integers
from tabweave.storage.artifacts import number_or_none

# A metric, and the class that it is about or None for all -> value, NaN if undefined.
ValueOf = Callable[[MetricName, int | None], float]


def reported(y_pred: Floats, y_true: Integers) -> ValueOf:
    """The values of a report: those that its intervals are about."""
    return Answers(y_pred, y_true).value


@dataclass(frozen=True)
class MetricResult:
    """Metrics of one split.

    Attributes:
        values: Flat name, such as ``test/auroc``, -> number, or None if undefined.
        reasons: Name of every undefined metric -> why it is.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def note(self, name: str, value: float | None, reason: str) -> None:
        """Notes a value, or the reason why there is none."""
        self.values[name] = None if value is None else number_or_none(value)
        if self.values[name] is None:
            self.reasons[name] = reason


def compute_metrics(  # noqa: PLR0913 (all but the data are keywords)
    y_pred: Floats,
    y_true: Integers,
    *,
    metrics: Sequence[MetricName] = METRICS,
    classes: Sequence[str],
    positive_index: int,
    stage: str,
    values_of: Callable[[Floats, Integers], ValueOf] = reported,
) -> MetricResult:
    """The metrics of one split; a row's predicted class is its most probable one.

    ``<stage>/average_precision/<class>`` is given for every class. Rows of fewer than
    two classes define an accuracy and nothing else.

    Args:
        y_pred: Shape [rows, classes]: probabilities.
        y_true: Shape [rows]: number of the true class.
        metrics: Names of the metrics to compute.
        classes: Labels in the order of the columns.
        positive_index: Number of the positive label; used when there are two classes.
        stage: Prefix of the names, such as ``test``.
        values_of: What computes them.

    Raises:
        ArtifactError: A shape, a probability or a label is not usable.
    """
    check_predictions(y_pred, y_true, len(classes))
    present = np.unique(y_true).tolist()
    about = positive_index if len(classes) == 2 else None
    value_of = values_of(y_pred, y_true)
    result = MetricResult()
    for metric in metrics:
        name, why = f"{stage}/{metric}", _why_undefined(metric, present, classes)
        value = None if why else value_of(metric, about)
        # Of rows with both classes, only the precision of no prediction is undefined.
        result.note(
            name, value, why or "no row is predicted to have the positive label"
        )
    for index, label in enumerate(classes):
        why = _why_undefined("average_precision", present, classes)
        if present and index not in present:
            why = f"no row has the label {label!r}"
        value = None if why else value_of("average_precision", index)
        result.note(f"{stage}/average_precision/{label}", value, why)
    return result


def _why_undefined(
    metric: MetricName, present: list[int], classes: Sequence[str]
) -> str:
    """Why the rows do not define a metric, or '' where they do."""
    if not present:
        return "there are no rows"
    if len(present) == 1 and metric != "accuracy":
        return f"every row has the label {classes[present[0]]!r}"
    return ""
