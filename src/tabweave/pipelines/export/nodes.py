"""Nodes of the export stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tabweave.bundle import BundleParts
from tabweave.bundle.contents import INT8_MODEL, INT8_PIPELINE, PIPELINE
from tabweave.export.config import ExportConfig
from tabweave.preparation.reference import Preparation
from tabweave.schema import DataConfig, DataSchema, typed
from tabweave.tables.cells import CellRules
from tabweave.tables.files import ArrowFile, TableFile
from tabweave.tables.parted_tables import Source
from tabweave.tabular import (
    Imputer,
    RiskTables,
    Scaler,
)
from tabweave.text import TextConfig, resolve_fields


@typed
def export_onnx(
    model: Any,
    val_tokens: ArrowFile,
    val_features: ArrowFile,
    config: ExportConfig,
) -> tuple[bytes, dict[str, Any]]:
    """model.onnx, checked and equal to PyTorch on rows of val, and the figures."""
    from tabweave.batching.batches import Rows
    from tabweave.export.onnx_model import export_model

    fields = [field.name for field in model.spec.text]
    exported = export_model(model, Rows(val_tokens, val_features, fields), config)
    return exported.model, exported.report


@typed
def gather_preparation(
    model: Any,
    selected: DataSchema,
    tokenizers: dict[str, str],
    imputer: Imputer,
    risk_tables: RiskTables,
    scaler: Scaler,
    text: TextConfig,
) -> Preparation:
    """All that turns a raw record into what the model reads."""
    by_name = {one.name: one for one in resolve_fields(text, selected)}
    return Preparation(
        schema=selected,
        fields=tuple(by_name[field.name] for field in model.spec.text),
        tokenizers=tokenizers,
        imputer=imputer,
        risk_tables=risk_tables,
        scaler=scaler,
        features=model.spec.features,
    )


@typed
def export_pipeline(
    onnx_model: bytes,
    model: Any,
    val_table: TableFile,
    val_tokens: ArrowFile,
    val_features: ArrowFile,
    preparation: Preparation,
    proofs: Path,
    config: ExportConfig,
) -> tuple[bytes, dict[str, Any]]:
    """pipeline.onnx, equal to training on all of val, or none and the reason."""
    if not config.pipeline:
        return b"", {"refused": "export.pipeline is false."}
    from tabweave.batching.batches import Rows
    from tabweave.evaluation.predict import predict_probabilities
    from tabweave.export.gates.pipeline_gate import export_pipeline as export

    table = val_table.read([name for name, _ in preparation.columns()])
    read = [field.name for field in model.spec.text]
    expected = predict_probabilities(model, Rows(val_tokens, val_features, read))
    exported = export(onnx_model, preparation, (table, expected), config, proofs)
    return exported.content, exported.report


@typed
def make_bundle(
    model: Any,
    onnx_model: bytes,
    pipeline_onnx: bytes,
    int8_model: bytes,
    int8_pipeline: bytes,
    export_report: dict[str, Any],
    schema: DataSchema,
    preparation: Preparation,
    metrics: dict[str, Any],
    val: Source,
    val_tokens: ArrowFile,
    val_features: ArrowFile,
    data: DataConfig,
    config: ExportConfig,
) -> BundleParts:
    """The folder that is deployed: models, fitted parts, a sample with answers."""
    from tabweave.export.bundle_sample import check_written, make_sample, without_rows

    quantized = {INT8_MODEL: int8_model, INT8_PIPELINE: int8_pipeline}
    reports = export_report["comparisons"]
    refused = reports[PIPELINE]["refused"]
    check_written(pipeline_onnx, reports[PIPELINE], quantized, reports["int8"])
    imputer, risk_tables = preparation.imputer, preparation.risk_tables
    rules = CellRules.of(data)
    rows = val, val_tokens, val_features, rules
    return BundleParts(
        model=onnx_model,
        pipeline=pipeline_onnx or str(refused),
        tokenizers=preparation.tokenizers,
        imputer=imputer.to_json(),
        risk_tables=risk_tables.to_json(),
        scaler=preparation.scaler.to_json(),
        impute_dict=imputer.to_map(),
        risk_table_map=risk_tables.to_map(),
        schema=schema,  # with the columns that were not selected
        rules=rules,
        metrics=metrics,
        quantized=quantized,
        export_report=without_rows(reports),
        sample=make_sample(config.sample, (model, int8_pipeline), preparation, rows),
    )
