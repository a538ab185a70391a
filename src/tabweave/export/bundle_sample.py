"""What of the rows of a user a bundle may hold: a sample if it is wanted, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tabweave.artifacts import scratch_folder
from tabweave.batches import Rows
from tabweave.bundle import Sample, raw_sample
from tabweave.bundle.contents import PIPELINE
from tabweave.bundle.sample import Cell
from tabweave.cells import CellRules
from tabweave.export.config import SampleRows
from tabweave.export.int8_models import raw_probabilities
from tabweave.export.onnx_model import reference_probabilities
from tabweave.export.preparation import Preparation
from tabweave.export.synthetic_rows import prepared_rows, synthetic_rows
from tabweave.models.classifier import Classifier
from tabweave.parted_tables import Source
from tabweave.tables import ArrowFile

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
