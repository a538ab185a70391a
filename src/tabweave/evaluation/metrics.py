"""Exact classification metrics under flat names; an undefined one is None, never 0.

The conventions are scikit-learn's, so that anybody can check a report with one call.
With two classes, precision, recall, F1, AUROC and average precision are about the
positive label. With more, precision, recall and F1 are the mean over every class that
occurs as a label or as a prediction; AUROC and average precision are the mean over the
classes that occur as labels, each against the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tabweave.evaluation.config import MetricName
from tabweave.evaluation.predictions import (
    Floats,
    Integers,
    check_predictions,
    predicted_classes,
)
from tabweave.storage.artifacts import number_or_none

if TYPE_CHECKING:
    from torch import Tensor


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
    metrics: Sequence[MetricName],
    classes: Sequence[str],
    positive_index: int,
    stage: str,
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

    Raises:
        ArtifactError: A shape, a probability or a label is not usable.
    """
    check_predictions(y_pred, y_true, len(classes))
    y_true = np.asarray(y_true, np.int64)
    present = sorted(np.unique(y_true).tolist())
    result = MetricResult()
    ranked = _ranking_metrics(y_pred, y_true, present, metrics)
    for metric in metrics:
        name = f"{stage}/{metric}"
        if why := _why_undefined(metric, present, classes):
            result.note(name, None, why)
        elif metric in ranked:
            per_class = ranked[metric]
            binary = len(classes) == 2
            chosen = [per_class[positive_index]] if binary else [*per_class.values()]
            result.note(name, float(np.mean(chosen)), "")
        else:
            value, why = _threshold_metric(metric, y_pred, y_true, positive_index)
            result.note(name, value, why)
    for index, label in enumerate(classes):
        value = ranked["average_precision"].get(index)
        why = f"no row has the label {label!r}"
        if not present or index in present:
            why = _why_undefined("average_precision", present, classes)
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


def _ranking_metrics(
    y_pred: Floats,
    y_true: Integers,
    present: list[int],
    metrics: Sequence[MetricName],
) -> dict[str, dict[int, float]]:
    """AUROC and average precision of each class against the rest, where defined."""
    import torch
    from torchmetrics.functional.classification import (
        binary_auroc,
        binary_average_precision,
    )

    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "average_precision": binary_average_precision
    }
    if "auroc" in metrics:
        functions["auroc"] = binary_auroc
    ranked: dict[str, dict[int, float]] = {name: {} for name in functions}
    for index in present if len(present) > 1 else []:
        scores = torch.tensor(y_pred[:, index])
        labels = torch.tensor(y_true == index).long()
        for name, function in functions.items():
            ranked[name][index] = float(function(scores, labels))
    return ranked


def _threshold_metric(
    metric: MetricName, y_pred: Floats, y_true: Integers, positive_index: int
) -> tuple[float | None, str]:
    """Accuracy, precision, recall or F1 of the most probable class, or why not."""
    import torch
    from torchmetrics.functional import classification as tm

    predicted = torch.tensor(predicted_classes(y_pred))
    labels = torch.tensor(y_true)
    classes = y_pred.shape[1]
    if metric == "accuracy":
        value = tm.multiclass_accuracy(predicted, labels, classes, average="micro")
        return float(value), ""
    binary, multiclass = {
        "f1_score": (tm.binary_f1_score, tm.multiclass_f1_score),
        "precision": (tm.binary_precision, tm.multiclass_precision),
        "recall": (tm.binary_recall, tm.multiclass_recall),
    }[metric]
    if classes > 2:
        return float(multiclass(predicted, labels, classes, average="macro")), ""
    hits = (predicted == positive_index).long()
    if metric == "precision" and not hits.any():
        return None, "no row is predicted to have the positive label"
    return float(binary(hits, (labels == positive_index).long())), ""
