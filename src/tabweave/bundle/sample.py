"""A few raw rows and the answers that a deployed model must give for them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from tabweave.errors import ArtifactError
from tabweave.tables.cells import CellRules, byte_lengths, typed_numbers, typed_text
from tabweave.tables.parted_tables import Source

Cell: TypeAlias = str | float | None
SAMPLE_BYTES = 2**20


@dataclass(frozen=True)
class Sample:
    """Raw rows, and what the model says of each.

    Attributes:
        rows: Column -> value of each row; None is a missing number.
        classes: The classes, in the order of the probabilities.
        probabilities: Shape [rows, classes].
        labels: The most probable class of each row.
        int8: Probabilities of pipeline.int8.onnx, of the same shape; None where the
            bundle has no such file.
    """

    rows: Sequence[Mapping[str, Cell]]
    classes: Sequence[str]
    probabilities: Sequence[Sequence[float]]
    labels: Sequence[str]
    int8: Sequence[Sequence[float]] | None = None

    def __post_init__(self) -> None:
        if not self.rows:
            raise ArtifactError("A sample needs at least one row.")
        counts = {len(self.rows), len(self.probabilities), len(self.labels)}
        if len(counts) > 1 or {len(p) for p in self.probabilities} != {
            len(self.classes)
        }:
            raise ArtifactError(
                f"A sample of {len(self.rows)} rows and {len(self.classes)} classes has "
                f"{len(self.labels)} labels and probabilities of shape "
                f"{np.shape(self.probabilities)}."
            )
        if self.int8 is not None and np.shape(self.int8) != np.shape(
            self.probabilities
        ):
            raise ArtifactError(
                f"A sample has probabilities of shape {np.shape(self.probabilities)}, "
                f"but those of int8 are of shape {np.shape(self.int8)}."
            )

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, Cell]],
        classes: Sequence[str],
        probabilities: npt.NDArray[np.floating],
        int8: npt.NDArray[np.floating] | None = None,
    ) -> Sample:
        """A sample whose labels are the most probable classes; of equal ones the first.

        Args:
            rows: Raw rows.
            classes: The classes, in the order of the probabilities.
            probabilities: Shape [rows, classes].
            int8: The same of pipeline.int8.onnx, if there is one.
        """
        labels = [classes[n] for n in np.argmax(probabilities, axis=1)]
        plain = None if int8 is None else _plain_rows(int8)
        return cls(rows, classes, _plain_rows(probabilities), labels, plain)

    def expected(self) -> dict[str, Any]:
        """The answers as plain values."""
        found = {
            "classes": list(self.classes),
            "probabilities": [list(row) for row in self.probabilities],
            "label": list(self.labels),
        }
        if self.int8 is not None:
            found["int8_probabilities"] = [list(row) for row in self.int8]
        return found

    def as_csv(self) -> bytes:
        """The rows as CSV; a missing number is an empty cell."""
        columns = {
            name: pa.array(
                ["" if (v := row[name]) is None else str(v) for row in self.rows]
            )
            for name in self.rows[0]
        }
        sink = io.BytesIO()
        pa_csv.write_csv(pa.table(columns), sink)
        return sink.getvalue()


def _plain_rows(values: npt.NDArray[np.floating]) -> list[list[float]]:
    return [[float(value) for value in row] for row in values]


def raw_sample(
    raw: Source, columns: Mapping[str, str], rules: CellRules, rows: int = 16
) -> list[dict[str, Cell]]:
    """The first rows of a file as the plain values that a caller would send.

    There are fewer where the texts are long: a sample is for trying.

    Args:
        raw: The file.
        columns: Column -> text, categorical or numeric; others are text as well.
        rules: How cells are read.
        rows: Most rows.
    """
    for batch in raw.batches(list(columns)):
        first = _short_rows(batch.slice(0, rows))
        if not len(first):
            continue
        values = {
            name: _plain(name, first.column(name), kind, rules)
            for name, kind in columns.items()
        }
        return [
            {name: values[name][row] for name in columns} for row in range(len(first))
        ]
    return []


def _short_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The first rows with `SAMPLE_BYTES` of text together, one at least."""
    sizes = np.zeros(len(batch), np.int64)
    for column in batch.columns:
        lengths = byte_lengths(column)
        if lengths is not None:
            sizes += pc.fill_null(lengths, 0).to_numpy().astype(np.int64)
    fits = int(np.searchsorted(np.cumsum(sizes), SAMPLE_BYTES, side="right"))
    return batch.slice(0, max(1, fits))


def _plain(name: str, values: pa.Array, kind: str, rules: CellRules) -> list[Cell]:
    if kind != "numeric":
        return typed_text(name, values, rules).values.to_pylist()
    typed = typed_numbers(name, values, rules).values
    # The shortest decimal number that is this float32 again.
    return [
        None if number is None or math.isnan(number) else float(str(np.float32(number)))
        for number in pc.cast(typed, pa.float32()).to_pylist()
    ]
