"""What goes into a bundle: files that were accepted; of a user's rows a sample at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tabweave.batching.batches import Rows
from tabweave.bundle import Sample, raw_sample
from tabweave.bundle.contents import INT8_PIPELINE, PIPELINE
from tabweave.bundle.sample import Cell
from tabweave.errors import ArtifactError
from tabweave.export.config import SampleRows
from tabweave.export.int8.int8_models import raw_probabilities
from tabweave.export.onnx_model import reference_probabilities
from tabweave.export.synthetic_rows import prepared_rows, synthetic_rows
from tabweave.models.classifier import Classifier
from tabweave.preparation.reference import Preparation
from tabweave.storage.artifacts import scratch_folder
from tabweave.tables.cells import CellRules
from tabweave.tables.files import ArrowFile
from tabweave.tables.parted_tables import Source

Models: TypeAlias = tuple[Classifier, bytes]
"""The trained model, and pipeline.int8.onnx or nothing."""


def make_sample(
    kind: SampleRows,
    models: Models,
    preparation: Preparation,
    val: tuple[Source, ArrowFile, ArrowFile, CellRules],
) -> Sample | None:
    """Raw rows and what PyTorch, and pipeline.int8.onnx if there is one, says of them.

    Args:
        kind: Made-up rows, the first ones of val, or none.
        models: What is asked about them.
        preparation: The fitted parts.
        val: The raw file, tokens and features of val, and how cells are read.
    """
    if kind == "none":
        return None
    raw, tokens, features, rules = val
    if kind == "val":
        rows = raw_sample(raw, preparation.schema.kinds, rules)
        read = Rows(tokens, features, [one.name for one in preparation.fields])
        return _answered(rows, read, models, preparation)
    rows = synthetic_rows(preparation, rules)
    with scratch_folder() as folder:
        read = prepared_rows(preparation, rows, folder)
        return _answered(rows, read, models, preparation)


def _answered(
    rows: Sequence[Mapping[str, Cell]],
    read: Rows,
    models: Models,
    preparation: Preparation,
) -> Sample:
    model, int8 = models
    fp32 = reference_probabilities(model, read, range(len(rows)))
    of_int8 = raw_probabilities(int8, rows) if int8 else None
    return Sample.of(rows, preparation.schema.classes, fp32, of_int8)


def without_rows(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Reports of an export without the text of val that a comparison found first."""
    pipeline = dict(reports[PIPELINE])
    if "val" in pipeline.get("tokens", {}):
        val = {"val": {**pipeline["tokens"]["val"], "first": None}}
        pipeline["tokens"] = {**pipeline["tokens"], **val}
    return {**reports, PIPELINE: pipeline}


def check_written(
    pipeline: bytes,
    pipeline_report: Mapping[str, Any],
    quantized: Mapping[str, bytes],
    int8_report: Mapping[str, Any],
) -> None:
    """Compares the files of the export with what their reports say of them.

    Args:
        pipeline: pipeline.onnx, or nothing where it was refused.
        pipeline_report: What was found about it.
        quantized: Name -> content of the 8-bit files, or nothing.
        int8_report: What was found about those.

    Raises:
        ArtifactError: A file is gone although its report says that it was accepted.
    """
    wanted = [(PIPELINE, pipeline, pipeline_report)]
    wanted += [
        (name, content, int8_report)
        for name, content in quantized.items()
        if pipeline or name != INT8_PIPELINE
    ]
    for name, content, report in wanted:
        if not content and report["refused"] is None:
            raise ArtifactError(
                f"{name} does not exist, though it was written.", stages=("export",)
            )
