"""model.int8.onnx and pipeline.int8.onnx: made, judged on val, and kept or refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from tabweave.batching.batches import Rows
from tabweave.bundle.contents import INT8_MODEL, INT8_PIPELINE
from tabweave.errors import ExportError
from tabweave.export.config import OUTPUT, ExportConfig
from tabweave.export.gates.pipeline_gate import pipeline_feed, taken
from tabweave.export.int8.quantization import (
    Floats,
    Integers,
    Predict,
    int8_gate,
    quantize,
)
from tabweave.export.onnx_model import check_onnx_content, open_session, token_feed
from tabweave.export.pipeline_model import CORE
from tabweave.models.config import ModelSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Int8Export:
    """The models of 8-bit integers, or why there are none.

    Attributes:
        files: File name -> content; empty where they must not be used.
        report: Under ``refused`` a sentence or None, and the figures of every file.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


def export_int8(
    contents: tuple[bytes, bytes],
    spec: ModelSpec,
    val: tuple[pa.Table, Rows, Floats],
    config: ExportConfig,
) -> Int8Export:
    """Quantises both models and asks them about all rows of val.

    Args:
        contents: model.onnx, and pipeline.onnx or nothing.
        spec: Description of the model.
        val: The typed table of val, the same rows as the model reads them, and the
            probabilities that PyTorch gives them, in fp32.
        config: What int8 may cost.

    Raises:
        ExportError: The checker refuses a file.
    """
    core, pipeline = contents
    table, rows, fp32 = val
    try:
        files = {INT8_MODEL: quantize(core)}
        if pipeline:
            files[INT8_PIPELINE] = quantize(pipeline, CORE)
    except ExportError as error:
        return _refused(str(error), {})
    for content in files.values():
        check_onnx_content(content)
    asked = {INT8_MODEL: token_predict(files[INT8_MODEL], rows, spec, config)}
    if pipeline:
        asked[INT8_PIPELINE] = raw_predict(files[INT8_PIPELINE], table)
    report: dict[str, Any] = {"limits": config.int8_limits.model_dump()}
    reasons = []
    for name, content in files.items():
        verdict = int8_gate(fp32, asked[name], rows.labels, config.int8_limits)
        report[name] = {"bytes": len(content), **verdict.to_json()}
        reasons += [f"{name}: {reason}" for reason in verdict.reasons]
    if reasons:
        return _refused(f"{'; '.join(reasons)}.", report)
    return Int8Export(files, {"refused": None, **report})


def _refused(reason: str, report: dict[str, Any]) -> Int8Export:
    logger.warning("No int8 model is written. %s", reason)
    return Int8Export(report={"refused": reason, **report})


def token_predict(
    content: bytes, rows: Rows, spec: ModelSpec, config: ExportConfig
) -> Predict:
    """Asks a model about rows as token ids and features."""
    session = open_session(content)

    def predict(index: Integers) -> Any:
        return session.run([OUTPUT], token_feed(rows, index, spec, config))[0]

    return predict


def raw_predict(content: bytes, table: pa.Table) -> Predict:
    """Asks a pipeline about rows of a typed table."""
    session = open_session(content)
    feed = pipeline_feed(table, session)

    def predict(index: Integers) -> Any:
        return session.run([OUTPUT], taken(feed, index))[0]

    return predict


def raw_probabilities(content: bytes, rows: Sequence[Mapping[str, Any]]) -> Floats:
    """What a pipeline says of plain rows, None a missing number: [rows, classes]."""
    table = pa.Table.from_pylist([dict(row) for row in rows])
    return np.asarray(raw_predict(content, table)(np.arange(len(rows))))
