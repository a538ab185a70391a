"""Nodes of the export stage that compare its files: int8 with fp32, all with PyTorch."""

from __future__ import annotations

from typing import Any

from tabweave.bundle.contents import INT8_MODEL, INT8_PIPELINE, MODEL, PIPELINE
from tabweave.export.config import ExportConfig
from tabweave.schema import typed
from tabweave.tables.files import ArrowFile, TableFile


@typed
def quantize_models(
    onnx_model: bytes,
    pipeline_onnx: bytes,
    model: Any,
    val_table: TableFile,
    val_tokens: ArrowFile,
    val_features: ArrowFile,
    config: ExportConfig,
) -> tuple[bytes, bytes, dict[str, Any]]:
    """Both models in 8-bit integers if that is wanted and costs little, and the figures."""
    if not config.int8:
        return b"", b"", {"refused": "export.int8 is false."}
    from tabweave.evaluation.predict import predict_probabilities
    from tabweave.export.int8.int8_models import export_int8

    table, rows = _rows_of(model, val_table, val_tokens, val_features)
    found = export_int8(
        (onnx_model, pipeline_onnx),
        model.spec,
        (table, rows, predict_probabilities(model, rows)),
        config,
    )
    files = found.files
    return files.get(INT8_MODEL, b""), files.get(INT8_PIPELINE, b""), found.report


@typed
def measure_export(
    model: Any,
    onnx_model: bytes,
    pipeline_onnx: bytes,
    int8_model: bytes,
    int8_pipeline: bytes,
    parity_report: dict[str, Any],
    pipeline_report: dict[str, Any],
    int8_report: dict[str, Any],
    val_table: TableFile,
    val_tokens: ArrowFile,
    val_features: ArrowFile,
    config: ExportConfig,
) -> dict[str, Any]:
    """How equal, how large and how fast the files are."""
    from tabweave.export.measures.report import export_report
    from tabweave.export.measures.speed import measure_models

    contents = {
        MODEL: onnx_model,
        PIPELINE: pipeline_onnx,
        INT8_MODEL: int8_model,
        INT8_PIPELINE: int8_pipeline,
    }
    val = _rows_of(model, val_table, val_tokens, val_features)
    measured = measure_models(model, contents, val, config)
    return export_report(measured, parity_report, pipeline_report, int8_report)


def draw_export(report: dict[str, Any]) -> Any:
    """The figure of the export."""
    from tabweave.export.measures.report import export_figure

    return export_figure(report)


def _rows_of(
    model: Any, table: TableFile, tokens: ArrowFile, features: ArrowFile
) -> tuple[Any, Any]:
    """Val as it was typed, and as the model reads it."""
    from tabweave.batching.batches import Rows

    rows = Rows(tokens, features, [field.name for field in model.spec.text])
    return table.read(), rows
