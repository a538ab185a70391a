"""The proof that pipeline.onnx says of raw rows what training and evaluation say."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import ExportError, shorten
from tabweave.export.config import LABEL, OUTPUT, TABLE, ExportConfig
from tabweave.export.gates.token_gate import (
    CODE_POINTS,
    TokenReport,
    proof_key,
    prove_tokens,
)
from tabweave.export.graph.preprocessing import check_tokenizers
from tabweave.export.graph.preprocessing_session import PreprocessingSession
from tabweave.export.onnx_model import check_onnx_content, open_session
from tabweave.export.pipeline_model import pipeline_model, text_names
from tabweave.preparation.reference import Preparation
from tabweave.scoring.contract import METADATA_KEY
from tabweave.storage.artifacts import read_json, write_json

logger = logging.getLogger(__name__)

PROVEN_EARLIER = f"{CODE_POINTS}, proven earlier"
MIXED_ROWS = 32
"""Rows of a batch in the comparison, in the order of the file."""
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PipelineExport:
    """pipeline.onnx and the proof, or why there is none.

    Attributes:
        content: The file; empty where it must not be used.
        report: Figures, and under ``refused`` a sentence or None.
    """

    content: bytes
    report: dict[str, Any]


def export_pipeline(
    core: bytes,
    preparation: Preparation,
    val: tuple[pa.Table, Probabilities],
    config: ExportConfig,
    proofs: Path,
) -> PipelineExport:
    """Builds pipeline.onnx and compares it with training, token by token and row by row.

    Args:
        core: model.onnx.
        preparation: The fitted parts.
        val: The typed table of val, and the probabilities that PyTorch gives its rows,
            in fp32.
        config: Limits.
        proofs: Folder that remembers for which vocabularies all code points were compared.

    Raises:
        ExportError: The parts do not fit together, or the checker refuses the file.
    """
    try:
        check_tokenizers(preparation)
    except ExportError as error:
        return _refused(str(error), {})
    content, preprocessing = pipeline_model(core, preparation)
    check_onnx_content(content)
    report: dict[str, Any] = {"bytes": len(content)}
    tokens = _compare_tokens(preprocessing, preparation, val[0], proofs)
    report["tokens"] = {name: found.to_json() for name, found in tokens.items()}
    for name, found in tokens.items():
        if found.first is not None:
            first = found.first
            return _refused(
                f"The tokens of {found.mismatches} of {found.texts} texts ({name}) differ "
                f"from those of training, the first in field {first.field!r}.",
                report,
                f" Text {first.text} gives {first.got}, not {first.expected}.",
            )
    differences = compare_probabilities(content, *val, config.pipeline_single_rows)
    report |= {"tolerance": config.parity_tolerance, "probabilities": differences}
    worst = max(differences.values(), key=lambda value: (np.isnan(value), value))
    if not worst <= config.parity_tolerance:
        return _refused(
            f"Its probabilities differ from PyTorch by up to {worst:.2e} on val "
            f"({differences}); allowed is {config.parity_tolerance:.0e}.",
            report,
        )
    return PipelineExport(content, report | {"refused": None})


def _refused(reason: str, report: dict[str, Any], example: str = "") -> PipelineExport:
    """No file; the log says more than the reason, which goes into the bundle."""
    logger.warning("pipeline.onnx is not written. %s%s", reason, example)
    return PipelineExport(b"", report | {"refused": reason})


def _compare_tokens(
    preprocessing: bytes, preparation: Preparation, table: pa.Table, proofs: Path
) -> dict[str, TokenReport]:
    """Comparisons by name; that of all code points is made once per vocabulary."""
    if not preparation.fields:
        return {}
    names = _names_inside(preprocessing)
    session = PreprocessingSession(preprocessing, preparation, names, TABLE)
    known = [
        proofs / f"{proof_key(preparation, one)}.json" for one in preparation.fields
    ]
    proven = all(path.is_file() for path in known)
    columns = [name for name, kind in preparation.columns() if kind == "text"]
    found = prove_tokens(
        session, preparation, table.select(columns), with_code_points=not proven
    )
    points = found.get(CODE_POINTS)
    if points is None:
        texts = sum(read_json(path)["texts"] for path in known)
        return {**found, PROVEN_EARLIER: TokenReport(texts, 0, None)}
    if not points.mismatches:
        texts = points.texts // len(known)
        for path, one in zip(known, preparation.fields, strict=True):
            write_json(path, {"field": one.name, "texts": texts})
    return found


def _names_inside(preprocessing: bytes) -> list[tuple[str, str]]:
    """Names of ids and mask of every field: the outputs of three dimensions, in order."""
    from onnx import ModelProto

    outputs = ModelProto.FromString(preprocessing).graph.output
    return text_names(
        [o.name for o in outputs if len(o.type.tensor_type.shape.dim) == 3]
    )


def pipeline_feed(table: pa.Table, session: Any) -> dict[str, Any]:
    """The inputs of a pipeline from a typed table, as its metadata names them."""
    feed: dict[str, Any] = {}
    for one in _metadata(session)["inputs"]:
        column = table.column(one["column"])
        if one["kind"] == "numeric":
            feed[one["name"]] = column.to_numpy().astype(np.float32)
        else:
            texts = pc.fill_null(column, "").to_pylist()
            feed[one["name"]] = np.array(texts, object)
    return feed


def taken(feed: Mapping[str, Any], rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Some rows of the inputs of a pipeline."""
    return {name: values[rows] for name, values in feed.items()}


def _metadata(session: Any) -> Any:
    return json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])


def compare_probabilities(
    content: bytes, table: pa.Table, expected: Probabilities, single: int
) -> dict[str, float]:
    """Largest differences from PyTorch: all rows in mixed batches, some one by one.

    Args:
        content: pipeline.onnx.
        table: The typed table of a split.
        expected: Shape [rows, classes]: what PyTorch gives these rows.
        single: Rows that are also asked one by one, evenly spread over the split.
    """
    session = open_session(content)
    feed = pipeline_feed(table, session)
    classes = np.array(_metadata(session)["classes"], object)

    def largest(parts: list[npt.NDArray[np.int64]]) -> float:
        worst = 0.0
        for part in parts:
            found, label = session.run([OUTPUT, LABEL], taken(feed, part))
            if (classes[found.argmax(axis=1)] != label).any():
                raise ExportError(
                    "pipeline.onnx gives a label that is not its most probable class, in "
                    f"rows {shorten(part.tolist())}."
                )
            worst = float(np.max([worst, np.abs(found - expected[part]).max()]))
        return worst

    every = np.arange(len(expected))
    spread = np.linspace(0, len(expected) - 1, min(single, len(expected)))
    return {
        "all rows in mixed batches": largest(
            np.split(every, range(MIXED_ROWS, len(every), MIXED_ROWS))
        ),
        f"{len(spread)} rows one by one": largest(
            np.split(spread.astype(np.int64), len(spread))
        ),
    }
