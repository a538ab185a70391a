"""The metrics that are logged while a model trains, by torchmetrics.

They are those of `tabweave.statistics` within single precision; a report never mixes both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torchmetrics.functional import classification as tm

from tabweave.statistics.classification import MetricName, predicted_classes
from tabweave.statistics.ranking import Floats
from tabweave.statistics.resampling import Integers

RANKINGS = {
    "auroc": tm.binary_auroc,
    "average_precision": tm.binary_average_precision,
}
# Of two classes, and the mean over all that occur.
THRESHOLDS = {
    "f1_score": (tm.binary_f1_score, tm.multiclass_f1_score),
    "precision": (tm.binary_precision, tm.multiclass_precision),
    "recall": (tm.binary_recall, tm.multiclass_recall),
}


def logged(
    y_pred: Floats, y_true: Integers
) -> Callable[[MetricName, int | None], float]:
    """Metrics of rows of at least two classes.

    Args:
        y_pred: Shape [rows, classes]: probabilities.
        y_true: Shape [rows]: number of the true class.

    Returns:
        A metric, and the number of the class that it is about or None for the mean over
        the classes that occur -> its value, NaN where it is undefined.
    """
    labels, classes = torch.tensor(y_true).long(), y_pred.shape[1]
    predicted = torch.tensor(predicted_classes(y_pred))

    @cache
    def ranking(metric: MetricName, index: int) -> float:
        scores = torch.tensor(y_pred[:, index])
        return float(RANKINGS[metric](scores, (labels == index).long()))

    def value(metric: MetricName, about: int | None) -> float:
        if metric == "accuracy":
            found = tm.multiclass_accuracy(predicted, labels, classes, average="micro")
            return float(found)
        if metric in RANKINGS:
            chosen = np.unique(y_true).tolist() if about is None else [about]
            return float(np.mean([ranking(metric, index) for index in chosen]))
        binary, multiclass = THRESHOLDS[metric]
        if about is None:
            return float(multiclass(predicted, labels, classes, average="macro"))
        hits = (predicted == about).long()
        if metric == "precision" and not hits.any():
            return float("nan")
        return float(binary(hits, (labels == about).long()))

    return value
