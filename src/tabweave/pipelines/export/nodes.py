"""Nodes of the export stage."""

from __future__ import annotations

from typing import Any

from tabweave.export.config import ExportConfig
from tabweave.tables import ArrowFile


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
