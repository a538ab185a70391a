"""A bundle that answers: rows in, one prediction per row out, in their order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tabweave.bundle import Bundle, open_bundle
from tabweave.bundle.contents import SAMPLE, SAMPLE_ANSWERS, SAMPLE_ROWS
from tabweave.errors import ArtifactError, Problems, SchemaError, shorten
from tabweave.schema import PREDICTED, prediction_columns, probability_columns
from tabweave.scoring.columns import check_columns, raw_columns, returned_column
from tabweave.scoring.runtime import BatchSize, PipelineRuntime, Probabilities
from tabweave.scoring.typed_cells import typed_columns
from tabweave.tables.cells import Fault, FoundFaults, Mask

logger = logging.getLogger(__name__)

UNANSWERED = (
    "the model has no finite answer; numbers of the row are too large for it, or the "
    "model itself is not usable"
)
SAMPLE_TOLERANCE = 1e-5
INT8_SAMPLE_TOLERANCE = 0.02
"""Integer kernels that saturate, as some processors have, give other answers. Rounding at
a border, which differs between machines, moves them less than this.
"""


class Scorer:
    """Scores rows with pipeline.onnx or pipeline.int8.onnx of a bundle.

    The answer of a row does not depend on the rows it comes with.

    Example:
        scorer = Scorer.open(Path("data/07_model_output/bundle"))
        scorer.score([{"dialogue": "Where is it?", "price": 12.5, "marketplace": "US"}])
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        size: BatchSize | None = None,
        int8: bool = False,
    ) -> None:
        self.schema, self.rules = bundle.schema, bundle.rules
        self.identity, self.folder = bundle.identity, bundle.folder
        self._size, self._threads = size or BatchSize(), threads
        self._runtime = PipelineRuntime(bundle, threads, int8=int8)
        self._int8 = int8
        self._sample = {p: v for p, v in bundle.values.items() if p in SAMPLE}
        self.reads: Mapping[str, str] = self._runtime.contract.kinds
        """Column that the model reads -> text, categorical or numeric."""

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        threads: int | None = None,
        size: BatchSize | None = None,
        int8: bool = False,
    ) -> Scorer:
        """Verifies a bundle and loads its pipeline.

        Args:
            folder: The bundle.
            threads: Compute threads; None takes one per core that may be used.
            size: How much the model sees at once.
            int8: Whether pipeline.int8.onnx answers. Call `check_sample` once: on some
                processors its answers are wrong without any error.

        Raises:
            ArtifactError: The bundle is not complete and unchanged, or does not hold
                the pipeline.
        """
        bundle = open_bundle(Path(folder))
        return cls(bundle, threads=threads, size=size, int8=int8)

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle holds where the bundle lies and which one it is, and reopens it."""
        options = self._threads, self._size, self._int8
        return _reopened, (self.folder.absolute(), self.identity, *options)

    @property
    def added(self) -> list[str]:
        """Names of the columns that a prediction has."""
        return prediction_columns(self.schema.classes)

    def score(self, rows: Any, *, strict: bool = False) -> pa.Table:
        """Predictions of rows: ``prob_<class>`` columns and ``predicted``, id first.

        Cells are read as the load stage reads them: missing is null or an empty text.
        Columns that the model does not read may be there and hold anything; of these,
        the id comes back as it was given.

        Args:
            rows: A list of dicts, a pandas DataFrame or an Arrow table.
            strict: Whether a column that the training data did not have is an error.

        Raises:
            SchemaError: A column is missing or of a wrong type, unknown where `strict`,
                a cell does not fit, or the model has no answer to a row; the message
                lists all, with rows counted from 1.
        """
        columns = raw_columns(rows, {self.schema.id, *self.reads})
        if columns.rows == 0 and not columns.names:
            return self.predictions(np.empty((0, len(self.schema.classes)), np.float32))
        check_columns(columns, self.reads, self.schema, strict=strict)
        typed, faults = typed_columns(columns.values, self.reads, self.rules)
        _raise(faults)
        probabilities = self.predict(typed)
        faults.add(*self.unanswered(typed, np.isnan(probabilities[:, 0])))
        _raise(faults)
        found = self.predictions(probabilities)
        name = self.schema.id
        if name in columns.values:
            found = found.add_column(0, name, returned_column(columns.values[name]))
        return found

    def predict(self, columns: Mapping[str, pa.Array]) -> Probabilities:
        """Probabilities of typed columns, shape [rows, classes]."""
        return self._runtime.predict(columns, self._size)

    def unanswered(
        self, columns: Mapping[str, pa.Array], rows: Mask
    ) -> tuple[Fault, pa.Array]:
        """Rows without a finite answer as a fault, and what a message shows of each.

        Args:
            columns: Typed columns.
            rows: Shape [rows]: which of them have no answer.
        """
        numbers = [columns[n] for n, kind in self.reads.items() if kind == "numeric"]
        names = [n for n, kind in self.reads.items() if kind == "numeric"]
        shown = pa.StructArray.from_arrays(numbers, names) if names else None
        return Fault(UNANSWERED, rows), pa.nulls(len(rows)) if shown is None else shown

    def predictions(self, probabilities: Probabilities) -> pa.Table:
        """Probabilities as the columns that predictions have; null where there is none."""
        classes = self.schema.classes
        columns = {
            name: pa.array(np.ascontiguousarray(probabilities[:, index]))
            for index, name in enumerate(probability_columns(classes))
        }
        most = np.argmax(probabilities, axis=1)  # of equal ones the first
        names = pa.array(classes, pa.string())
        predicted = names.take(pa.array(most, mask=np.isnan(probabilities[:, 0])))
        return pa.table({**columns, PREDICTED: predicted})

    def check_sample(self, tolerance: float | None = None) -> float | None:
        """Scores the sample rows of the bundle; gives the largest difference.

        A bundle that was exported without a sample is not checked: a warning says so,
        and None comes back.

        Args:
            tolerance: Largest difference that is allowed; None is `SAMPLE_TOLERANCE`,
                of an int8 pipeline `INT8_SAMPLE_TOLERANCE`.

        Raises:
            ArtifactError: The bundle has no answers of this pipeline, or a probability
                differs by more than the tolerance: this machine does not give the
                answers that the model gave where it was exported.
        """
        if not self._sample:
            logger.warning(
                "%s has no sample (export.sample was none), so nothing says whether this "
                "machine answers as the one that exported it.",
                self.folder,
            )
            return None
        if tolerance is None:
            tolerance = INT8_SAMPLE_TOLERANCE if self._int8 else SAMPLE_TOLERANCE
        table = self.score(self._sample[SAMPLE_ROWS])
        columns = table.select(probability_columns(self.schema.classes)).columns
        found = np.stack([column.to_numpy() for column in columns], axis=1)
        expected = self._expected(found.shape)
        differences = np.abs(found - expected).max(axis=1)
        if not differences.max() <= tolerance:
            row = int(differences.argmax())
            advice = (
                ", or score without int8: this processor may saturate in 8-bit products"
                if self._int8
                else ""
            )
            raise ArtifactError(
                f"{self.folder}: sample row {row + 1} gives "
                f"{shorten(found[row].tolist())}, but the bundle expects "
                f"{shorten(expected[row].tolist())} (tolerance {tolerance}). Use the "
                f"version of onnxruntime in manifest.json{advice}."
            )
        return float(differences.max())

    def _expected(self, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """The answers of the sample, shape [rows, classes]."""
        key = "int8_probabilities" if self._int8 else "probabilities"
        answers = self._sample[SAMPLE_ANSWERS]
        values = answers.get(key) if isinstance(answers, dict) else None
        try:
            found = np.array(values, np.float64)
        except (TypeError, ValueError):
            found = np.empty(0)
        if found.shape == shape and len(found):
            return found
        fault = (
            "is missing"
            if values is None
            else f"is not {shape[1]} numbers for each row of the sample, one at least"
        )
        way_out = " Or score without int8." if self._int8 else ""
        raise ArtifactError(
            f"{self.folder}/{SAMPLE_ANSWERS}: {key!r} {fault}, so nothing says "
            f"whether this machine answers rightly.{way_out}",
            stages=("export",),
            params="export.int8=true" if self._int8 else "",
        )


def _raise(faults: FoundFaults) -> None:
    problems = Problems("The rows cannot be scored")
    for sentence in faults.sentences():
        problems.add(sentence)
    problems.raise_as(SchemaError)


def _reopened(
    folder: Path, identity: str, threads: int | None, size: BatchSize, int8: bool
) -> Scorer:
    """The scorer of a pickle."""
    scorer = Scorer.open(folder, threads=threads, size=size, int8=int8)
    if scorer.identity != identity:
        raise ArtifactError(
            f"{folder} is not the bundle that the Scorer was opened with: its manifest "
            "has changed since. Open the Scorer anew."
        )
    return scorer
