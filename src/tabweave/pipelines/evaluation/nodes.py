"""Nodes of the evaluation stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tabweave.datasets.tables import ScoredRows
from tabweave.evaluation.config import EvaluationConfig
from tabweave.schema import DataSchema, typed
from tabweave.tables.files import ArrowFile, TableFile
from tabweave.tables.parted_tables import Source
from tabweave.training.config import TrainingConfig


@typed
def predict_splits(
    model: Any,
    val_tokens: ArrowFile,
    test_tokens: ArrowFile,
    val_features: ArrowFile,
    test_features: ArrowFile,
    checkpoints: Path,
    config: EvaluationConfig,
    training: TrainingConfig,
) -> tuple[pa.Table, pa.Table]:
    """Probabilities of every val and test row, in the order of the file."""
    from tabweave.batching.batches import Rows
    from tabweave.evaluation.predict import predict_in_ranks
    from tabweave.evaluation.predictions import prediction_table

    classes = model.spec.classes
    fields = [field.name for field in model.spec.text]
    val = Rows(val_tokens, val_features, fields)
    test = Rows(test_tokens, test_features, fields)
    found = predict_in_ranks(
        model,
        (val, test),
        precision=config.precision,
        training=training,
        logs=checkpoints.parent / "rank_logs",
    )
    return (
        prediction_table(val.ids, val.labels, found[0], classes),
        prediction_table(test.ids, test.labels, found[1], classes),
    )


def score_rows(
    val: Source,
    test: Source,
    val_predictions: TableFile,
    test_predictions: TableFile,
    schema: DataSchema,
) -> tuple[ScoredRows, ScoredRows]:
    """The user's own rows with the predictions added, in their own format."""
    return (
        _scored(val, val_predictions, schema),
        _scored(test, test_predictions, schema),
    )


def _scored(raw: Source, predictions: TableFile, schema: DataSchema) -> ScoredRows:
    from tabweave.evaluation.predictions import scored_batches

    rows = scored_batches(raw, predictions.read(), id_column=schema.id)
    return ScoredRows(*rows, raw.format, raw.quoting)


@typed
def fit_baselines(
    train: TableFile,
    val: TableFile,
    test: TableFile,
    train_features: ArrowFile,
    val_features: ArrowFile,
    test_features: ArrowFile,
    schema: DataSchema,
    config: EvaluationConfig,
) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
    """Probabilities of simple baselines fitted on the same rows."""
    from tabweave.evaluation.baseline_tables import baseline_inputs, fit_baseline_tables

    files = {
        "train": (train, train_features),
        "val": (val, val_features),
        "test": (test, test_features),
    }
    inputs = {s: baseline_inputs(*pair, schema) for s, pair in files.items()}
    ids = {name: features.open()["id"] for name, (_, features) in files.items()}
    tables, report = fit_baseline_tables(inputs, ids, schema, config)
    return tables["val"], tables["test"], report


@typed
def compute_metrics(
    val: TableFile,
    test: TableFile,
    val_baselines: TableFile,
    test_baselines: TableFile,
    schema: DataSchema,
    config: EvaluationConfig,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flat metrics, and the same with intervals, reasons and baselines."""
    from tabweave.evaluation.report import evaluate

    predictions = {"val": val.read(), "test": test.read()}
    baselines = {"val": val_baselines.read(), "test": test_baselines.read()}
    return evaluate(predictions, baselines, schema, config)


def plot_curves(
    val: TableFile, test: TableFile, test_baselines: TableFile, schema: DataSchema
) -> tuple[Any, Any]:
    """ROC and precision-recall curves of val and test."""
    from tabweave.evaluation.report import curve_figures

    return curve_figures(val.read(), test.read(), test_baselines.read(), schema)


def log_evaluation(
    metrics: dict[str, Any],
    val: TableFile,
    test: TableFile,
    test_baselines: TableFile,
    schema: DataSchema,
) -> dict[str, Any]:
    """Metrics and figures for TensorBoard."""
    roc, pr = plot_curves(val, test, test_baselines, schema)
    return {"scalars": metrics, "figures": {"roc_curve": roc, "pr_curve": pr}}
