"""Predictions -> metrics with intervals, beside the baselines, and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tabweave.evaluation.baseline_tables import read_baselines, read_predictions
from tabweave.evaluation.config import EvaluationConfig
from tabweave.evaluation.metrics import compute_metrics
from tabweave.schema import DataSchema
from tabweave.statistics.classification import Answers, MetricName
from tabweave.statistics.resampling import Resampling
from tabweave.storage.artifacts import number_or_none

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
        compute = partial(
            compute_metrics,
            metrics=config.metrics,
            classes=schema.classes,
            positive_index=schema.positive_index,
            stage=split,
        )
        result = compute(probabilities, labels)
        flat |= result.values
        for name, answers in others.items():
            values = compute(answers, labels).values
            flat |= {f"baseline/{name}/{key}": value for key, value in values.items()}
        model = Answers(probabilities, labels)
        beside = {name: Answers(given, labels) for name, given in others.items()}
        for metric in config.metrics:
            name = f"{split}/{metric}"
            full[name] = {
                "n": len(labels),
                "arithmetic": config.precision,
                "reason": result.reasons.get(name),
                **_with_intervals(metric, model, beside, schema, config),
            }
    return flat, full


def _with_intervals(
    metric: MetricName,
    model: Answers,
    baselines: Mapping[str, Answers],
    schema: DataSchema,
    config: EvaluationConfig,
) -> dict[str, Any]:
    """A metric with its interval, and each baseline's with the difference to it."""
    about = schema.positive_index if schema.task == "binary" else None
    how = Resampling(config.bootstrap_samples, config.confidence_level, config.seed)
    statistic = model.statistic(metric, about)
    found: dict[str, Any] = {}
    for name, answers in baselines.items():
        other = answers.statistic(metric, about)
        difference = asdict(statistic.difference(other, how))
        found[name] = {"value": number_or_none(other.value), "difference": difference}
    return {
        "value": number_or_none(statistic.value),
        "interval": asdict(statistic.interval(how)),
        "baselines": found,
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
