"""A bundle that answers: rows in, one prediction per row out, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tabweave.bundle import Bundle, open_bundle
from tabweave.errors import ArtifactError, Problems, SchemaError, shorten
from tabweave.schema import PREDICTED, prediction_columns, probability_columns
from tabweave.scoring.columns import check_columns, raw_columns
from tabweave.scoring.runtime import BatchSize, PipelineRuntime, Probabilities
from tabweave.scoring.typed_cells import typed_columns

SAMPLE_TOLERANCE = 1e-5
INT8_SAMPLE_TOLERANCE = 0.02
"""Integer kernels of processors without VNNI instructions saturate and give other
answers. Rounding at a border, which differs between machines, moves them less than this.
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
        self._size = size or BatchSize()
        self._runtime = PipelineRuntime(bundle, threads, int8=int8)
        self._sample, self._int8 = bundle.values, int8
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

    @property
    def added(self) -> list[str]:
        """Names of the columns that a prediction has."""
        return prediction_columns(self.schema.classes)

    def score(self, rows: Any) -> pa.Table:
        """Predictions of rows: ``prob_<class>`` columns and ``predicted``, id first.

        Cells are read as the load stage reads them: missing is null or an empty text.
        Columns of the training data that the model does not read may be there; of
        these, the id comes back.

        Args:
            rows: A list of dicts, a pandas DataFrame or an Arrow table.

        Raises:
            SchemaError: A column is missing, unknown or of a wrong type, or a cell does
                not fit; the message lists all, with rows counted from 1.
        """
        columns = raw_columns(rows)
        if columns.rows == 0 and not columns.values:
            return self.predictions(np.empty((0, len(self.schema.classes)), np.float32))
        check_columns(columns, self.reads, self.schema)
        own = {self.schema.id: "text"} if self.schema.id in columns.values else {}
        wanted = {**own, **self.reads}
        typed, faults = typed_columns(columns.values, wanted, self.rules)
        problems = Problems("The rows cannot be scored")
        for sentence in faults.sentences():
            problems.add(sentence)
        problems.raise_as(SchemaError)
        found = self.predictions(self.predict(typed))
        for name in own:
            found = found.add_column(0, name, typed[name])
        return found

    def predict(self, columns: Mapping[str, pa.Array]) -> Probabilities:
        """Probabilities of typed columns, shape [rows, classes]."""
        return self._runtime.predict(columns, self._size)

    def predictions(self, probabilities: Probabilities) -> pa.Table:
        """Probabilities as the columns that predictions have."""
        classes = self.schema.classes
        columns = {
            name: pa.array(np.ascontiguousarray(probabilities[:, index]))
            for index, name in enumerate(probability_columns(classes))
        }
        most = np.argmax(probabilities, axis=1)  # of equal ones the first
        names = pa.array(classes, pa.string())
        return pa.table({**columns, PREDICTED: names.take(pa.array(most))})

    def check_sample(self, tolerance: float | None = None) -> float:
        """Scores the sample rows of the bundle; gives the largest difference.

        Args:
            tolerance: Largest difference that is allowed; None is `SAMPLE_TOLERANCE`,
                of an int8 pipeline `INT8_SAMPLE_TOLERANCE`.

        Raises:
            ArtifactError: The bundle has no answers of this pipeline, or a probability
                differs by more than the tolerance: this machine does not give the
                answers that the model gave where it was exported.
        """
        if tolerance is None:
            tolerance = INT8_SAMPLE_TOLERANCE if self._int8 else SAMPLE_TOLERANCE
        table = self.score(self._sample["sample/rows.json"])
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
        answers = self._sample["sample/expected.json"]
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
            f"{self.folder}/sample/expected.json: {key!r} {fault}, so nothing says "
            f"whether this machine answers rightly.{way_out}",
            stages=("export",),
            params="export.int8=true" if self._int8 else "",
        )
