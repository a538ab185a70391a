"""Nodes of the export stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tabweave.bundle import BundleParts, Sample, raw_sample
from tabweave.cells import CellRules
from tabweave.export.config import ExportConfig
from tabweave.schema import DataConfig, DataSchema
from tabweave.tables import ArrowFile, RawTable, TableFile
from tabweave.tabular import (
    Imputer,
    PrecomputedFile,
    RiskTables,
    Scaler,
    select_columns,
)
from tabweave.text import TextConfig, resolve_fields


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
        return b"", {"refused": "export.pipeline is false."}
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
    model: Any,
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
    impute_dict: dict[str, Any],
    risk_table_map: dict[str, Any],
    metrics: dict[str, Any],
    test: RawTable,
    test_tokens: ArrowFile,
    test_features: ArrowFile,
    data: DataConfig,
) -> BundleParts:
    """The folder that is deployed: models, fitted parts, a sample with answers."""
    from tabweave.batches import Rows
    from tabweave.export.onnx_model import reference_probabilities

    every, rules = DataSchema(**schema), CellRules.of(data)
    rows = raw_sample(test, select_columns(every, selected).kinds, rules)
    tested = Rows(test_tokens, test_features, [f.name for f in model.spec.text])
    answers = reference_probabilities(model, tested, range(len(rows)))
    return BundleParts(
        model=onnx_model,
        pipeline=pipeline_onnx or str(pipeline_report["refused"]),
        tokenizers=tokenizers,
        imputer=imputer,
        risk_tables=risk_tables,
        scaler=scaler,
        impute_dict=impute_dict,
        risk_table_map=risk_table_map,
        schema=every,  # callers may send the columns that were not selected, too
        rules=rules,
        metrics=metrics,
        export_report={"model.onnx": parity_report, "pipeline.onnx": pipeline_report},
        sample=Sample.of(rows, every.classes, answers),
    )
