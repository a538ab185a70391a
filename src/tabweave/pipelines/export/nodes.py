"""Nodes of the export stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tabweave.bundle import BundleParts, Sample, raw_sample
from tabweave.cells import CellRules
from tabweave.export.config import ExportConfig
from tabweave.models.config import ModelConfig
from tabweave.schema import DataConfig, DataSchema, probability_columns
from tabweave.tables import ArrowFile, RawTable, TableFile
from tabweave.tabular import (
    Imputer,
    PrecomputedFile,
    RiskTables,
    Scaler,
    TabularConfig,
    select_columns,
)
from tabweave.text import TextConfig, resolve_fields
from tabweave.training.config import TrainingConfig

SAMPLE_ROWS = 16
NOT_ASKED = "export.pipeline is false."


def export_onnx(
    model: Any,
    val_tokens: ArrowFile,
    val_features: ArrowFile,
    config: ExportConfig,
) -> tuple[bytes, dict[str, Any]]:
    """model.onnx, checked and equal to PyTorch on rows of val, and the figures."""
    from tabweave.batches import Rows
    from tabweave.export.onnx_model import export_model

    fields = [field.name for field in model.spec.text]
    exported = export_model(model, Rows(val_tokens, val_features, fields), config)
    return exported.model, exported.report


def export_pipeline(
    onnx_model: bytes,
    model: Any,
    val_table: TableFile,
    val_tokens: ArrowFile,
    val_features: ArrowFile,
    schema: dict[str, Any],
    selected: PrecomputedFile | None,
    tokenizers: dict[str, str],
    imputer: dict[str, Any],
    risk_tables: dict[str, Any],
    scaler: dict[str, Any],
    proofs: Path,
    text: TextConfig,
    config: ExportConfig,
) -> tuple[bytes, dict[str, Any]]:
    """pipeline.onnx, equal to training on all of val, or none and the reason."""
    if not config.pipeline:
        return b"", {"refused": NOT_ASKED}
    from tabweave.batches import Rows
    from tabweave.evaluation.predict import predict_probabilities
    from tabweave.export.pipeline_gate import export_pipeline as export
    from tabweave.export.preparation import Preparation

    roles = DataSchema(**schema)
    read = [field.name for field in model.spec.text]
    by_name = {one.name: one for one in resolve_fields(text, roles)}
    preparation = Preparation(
        schema=select_columns(roles, selected),
        fields=tuple(by_name[name] for name in read),
        tokenizers=tokenizers,
        imputer=Imputer.from_json(imputer),
        risk_tables=RiskTables.from_json(risk_tables),
        scaler=Scaler.from_json(scaler),
        features=model.spec.features,
    )
    table = val_table.read([name for name, _ in preparation.columns()])
    expected = predict_probabilities(model, Rows(val_tokens, val_features, read))
    exported = export(onnx_model, preparation, (table, expected), config, proofs)
    return exported.content, exported.report


def make_bundle(
    onnx_model: bytes,
    pipeline_onnx: bytes,
    parity_report: dict[str, Any],
    pipeline_report: dict[str, Any],
    schema: dict[str, Any],
    selected: PrecomputedFile | None,
    tokenizers: dict[str, str],
    imputer: dict[str, Any],
    risk_tables: dict[str, Any],
    scaler: dict[str, Any],
    metrics: dict[str, Any],
    test: RawTable,
    predictions: TableFile,
    data: DataConfig,
) -> BundleParts:
    """The folder that is deployed: models, fitted parts, a sample with answers."""
    roles = select_columns(DataSchema(**schema), selected)
    rules = CellRules.of(data)
    rows = raw_sample(test, roles.kinds, rules, SAMPLE_ROWS)
    answered = predictions.read(probability_columns(roles.classes)).slice(0, len(rows))
    answers = np.stack([column.to_numpy() for column in answered.columns], axis=1)
    report = {"model.onnx": parity_report, "pipeline.onnx": pipeline_report}
    return BundleParts(
        model=onnx_model,
        pipeline=pipeline_onnx or str(pipeline_report["refused"]),
        tokenizers=tokenizers,
        imputer=imputer,
        risk_tables=risk_tables,
        scaler=scaler,
        impute_dict=Imputer.from_json(imputer).to_map(),
        risk_table_map=RiskTables.from_json(risk_tables).to_map(),
        # With the columns that were not selected: callers may send them.
        schema=DataSchema(**schema),
        rules=rules,
        metrics=metrics,
        export_report=report,
        parity=report,
        sample=Sample.of(rows, roles.classes, answers),
    )


def write_compatibility(
    model: Any,
    tokenizers: dict[str, str],
    imputer: dict[str, Any],
    risk_tables: dict[str, Any],
    data: DataConfig,
    text: TextConfig,
    tabular: TabularConfig,
    architecture: ModelConfig,
    training: TrainingConfig,
) -> tuple[dict[str, Any], ...]:
    """The specification's files about the model: weights, artifacts and maps."""
    from tabweave.export.compatibility import model_artifacts, model_weights

    names = ("data", "text", "tabular", "model", "training")
    groups = zip(names, (data, text, tabular, architecture, training), strict=True)
    config = {name: group.model_dump(mode="json") for name, group in groups}
    risks = RiskTables.from_json(risk_tables)
    means, risk_map = Imputer.from_json(imputer).to_map(), risks.to_map()
    artifacts = model_artifacts(
        model, config=config, tokenizers=tokenizers, risk_tables=risks
    )
    return model_weights(model), artifacts, means, means, risk_map, risk_map


def write_results(predictions: TableFile, schema: dict[str, Any]) -> dict[str, Any]:
    """The specification's predictions of test: labels and probabilities."""
    from tabweave.export.compatibility import predict_results

    return predict_results(predictions.read(), DataSchema(**schema).classes)
