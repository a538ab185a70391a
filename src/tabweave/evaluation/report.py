"""Predictions -> metrics with intervals, beside the baselines, and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tabweave.evaluation.baseline_tables import read_baselines, read_predictions
from tabweave.evaluation.confidence import bootstrap_interval, paired_bootstrap
from tabweave.evaluation.config import EvaluationConfig
from tabweave.evaluation.metrics import compute_metrics
from tabweave.evaluation.predictions import Floats, Integers
from tabweave.schema import DataSchema

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def evaluate(
    predictions: Mapping[str, pa.Table],
    baselines: Mapping[str, pa.Table],
    schema: DataSchema,
    config: EvaluationConfig,
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Flat metrics of every split, and the same with intervals and baselines.

    Args:
        predictions: Split -> prediction table.
        baselines: Split -> baseline table of the same rows.
        schema: Classes and the positive label.
        config: Which metrics, and how sure.

    Returns:
        ``<split>/<metric>`` and ``baseline/<name>/<split>/<metric>`` -> number or None;
        and ``<split>/<metric>`` -> value, interval, rows, reason and baselines.
    """
    flat: dict[str, float | None] = {}
    full: dict[str, Any] = {}
    for split, table in predictions.items():
        probabilities, labels = read_predictions(table, schema)
        others = read_baselines(baselines[split], schema)
        judge = _Judge(split, labels, schema, config)
        flat |= judge.values(probabilities)
        for name, answers in others.items():
            values = judge.values(answers)
            flat |= {f"baseline/{name}/{key}": value for key, value in values.items()}
        full |= judge.full(probabilities, others)
    return flat, full


class _Judge:
    """Everything that is said about one split."""

    def __init__(
        self, split: str, labels: Integers, schema: DataSchema, config: EvaluationConfig
    ) -> None:
        self.split, self.labels, self.config = split, labels, config
        self.schema = schema
        self.positive = schema.positive_index if schema.task == "binary" else None

    def _compute(self, probabilities: Floats) -> Any:
        return compute_metrics(
            probabilities,
            self.labels,
            metrics=self.config.metrics,
            classes=self.schema.classes,
            positive_index=self.schema.positive_index,
            stage=self.split,
        )

    def values(self, probabilities: Floats) -> dict[str, float | None]:
        """Flat metrics of one model."""
        return dict(self._compute(probabilities).values)

    def full(self, model: Floats, baselines: Mapping[str, Floats]) -> dict[str, Any]:
        """Every metric with its interval, and each baseline's with the difference."""
        result = self._compute(model)
        others = {name: self.values(answers) for name, answers in baselines.items()}
        out: dict[str, Any] = {}
        for metric in self.config.metrics:
            name = f"{self.split}/{metric}"
            out[name] = {
                "n": len(self.labels),
                "arithmetic": self.config.precision,
                "reason": result.reasons.get(name),
                "value": result.values[name],
                "interval": asdict(
                    bootstrap_interval(metric, model, self.labels, **self._options())
                ),
                "baselines": {
                    other: {
                        "value": others[other][name],
                        "difference": asdict(
                            paired_bootstrap(
                                metric, model, answers, self.labels, **self._options()
                            )
                        ),
                    }
                    for other, answers in baselines.items()
                },
            }
        return out

    def _options(self) -> dict[str, Any]:
        return {
            "positive_index": self.positive,
            "samples": self.config.bootstrap_samples,
            "level": self.config.confidence_level,
            "seed": self.config.seed,
        }


def curve_figures(
    val: pa.Table, test: pa.Table, test_baselines: pa.Table, schema: DataSchema
) -> tuple[Figure, Figure]:
    """ROC and precision-recall curves of val and test, the baseline's on test beside."""
    from tabweave.evaluation.curves import CurveData, pr_figure, roc_figure

    data = [
        CurveData(name, *read_predictions(table, schema))
        for name, table in (("val", val), ("test", test))
    ]
    baseline = read_baselines(test_baselines, schema).get("logistic_regression")
    return roc_figure(data, schema, baseline), pr_figure(data, schema, baseline)
