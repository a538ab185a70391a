"""One scoring under way: windows of the input become parts, parts become the output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import ArtifactError
from tabweave.scoring.config import ScoreConfig
from tabweave.scoring.input_file import InputFile, ReadBatch
from tabweave.scoring.parts import Parts
from tabweave.scoring.scorer import UNANSWERED, Scorer
from tabweave.tables.cells import FoundFaults, Mask
from tabweave.tables.files import DELIMITERS

REJECT_COLUMNS = ("reject_row", "reject_reason")


@dataclass(frozen=True)
class Work:
    """The input, the model and the parts that are done.

    Attributes:
        file: The input.
        scorer: The model.
        parts: Predictions that are on the disk.
        config: Sizes of the windows.
        unanswered: Rows that `score` has found no finite answer to.
    """

    file: InputFile
    scorer: Scorer
    parts: Parts
    config: ScoreConfig
    unanswered: FoundFaults = field(default_factory=FoundFaults, repr=False)

    def score(self, rows: int, *, progress: bool) -> int:
        """Scores every window that is not there yet; gives the rows that were there."""
        resumed = 0
        self.unanswered.clear()
        with progress_bar(rows, "row", shown=progress) as bar:
            for batch in self.file.batches():
                for start, count in self._windows(batch):
                    first_row = batch.first_row + start
                    if first_row in self.parts:
                        resumed += count
                        found = self.parts.read(first_row, count)
                    else:
                        found = self._predict(batch, start, count)
                        self.file.raw.check_unchanged()
                        self.parts.write(first_row, found)
                    self._note_unanswered(found, batch, start)
                    bar.update(count)
        return resumed

    def _note_unanswered(self, found: pa.Table, batch: ReadBatch, start: int) -> None:
        rows = len(found)
        columns = {name: v.slice(start, rows) for name, v in batch.typed.items()}
        fault, shown = self.scorer.unanswered(columns, _without_answer(found))
        self.unanswered.add(fault, shown, batch.first_row + start)

    def _windows(self, batch: ReadBatch) -> Iterator[tuple[int, int]]:
        text = [name for name, kind in self.scorer.reads.items() if kind == "text"]
        return windows_of(
            batch.text_bytes(text), self.config.window_rows, self.config.window_bytes
        )

    def _predict(self, batch: ReadBatch, start: int, count: int) -> pa.Table:
        """Predictions of a window; rejected rows have none."""
        keep = np.flatnonzero(~batch.rejected[start : start + count])
        columns = {
            name: values.slice(start, count).take(pa.array(keep))
            for name, values in batch.typed.items()
        }
        found = self.scorer.predictions(self.scorer.predict(columns))
        places = np.full(count, -1)
        places[keep] = np.arange(len(keep))
        return found.take(pa.array(places, mask=places < 0)).combine_chunks()

    def output_schema(self) -> pa.Schema:
        """Columns of the output: those of the input, then the predictions."""
        schema = self.file.schema()
        none = np.empty((0, len(self.scorer.schema.classes)), np.float32)
        added = self.scorer.predictions(none).schema
        return pa.schema([*schema, *added], metadata=schema.metadata)

    def scored(self) -> Iterator[pa.RecordBatch]:
        """The rows of the input with their predictions; rejected ones are left out.

        Raises:
            ArtifactError: The input is not what it was; raised after the last batch, so
                that no output is written.
        """
        schema = self.output_schema()
        for batch in self.file.batches():
            if batch.cells.num_rows == 0:
                continue
            found, left = self._found(batch)
            columns = [column.combine_chunks() for column in found.columns]
            whole = pa.RecordBatch.from_arrays(
                [*batch.cells.columns, *columns], schema=schema
            )
            yield whole.filter(pa.array(~left)) if left.any() else whole

    def _found(self, batch: ReadBatch) -> tuple[pa.Table, Mask]:
        """The predictions of a batch, and which of its rows have none."""
        tables = [
            self.parts.read(batch.first_row + start, count)
            for start, count in self._windows(batch)
        ]
        found = pa.concat_tables(tables)
        missing = pc.is_null(found.column(0)).to_numpy()
        if not np.array_equal(missing, batch.rejected):
            raise ArtifactError(
                f"{self.file.raw.path} has other rows that cannot be scored than when "
                "its parts were made. The output was not written; score it again."
            )
        return found, missing | _without_answer(found)

    def rejects_schema(self) -> pa.Schema:
        """Columns of the rejects: row number, reasons, then those of the input."""
        schema = self.file.schema()
        kinds = (pa.int64(), pa.string())
        own = [pa.field(*pair) for pair in zip(REJECT_COLUMNS, kinds, strict=True)]
        return pa.schema([*own, *schema], metadata=schema.metadata)

    def _writable(self, reason: str) -> str:
        """A sentence of ours as it can stand in a cell without quotes."""
        raw = self.file.raw
        if raw.quoting != "none" or raw.format == "parquet":
            return reason
        return " ".join(reason.replace(DELIMITERS[raw.format], ";").splitlines())

    def rejects(self) -> Iterator[pa.RecordBatch]:
        """The rows that cannot be scored."""
        schema = self.rejects_schema()
        for batch in self.file.batches():
            if batch.cells.num_rows == 0:
                continue
            _, left = self._found(batch)
            rows = np.flatnonzero(left)
            if len(rows):
                cells = batch.cells.take(pa.array(rows))
                reasons = [
                    self._writable(batch.reasons(row) or UNANSWERED)
                    for row in rows.tolist()
                ]
                numbers = pa.array(rows + batch.first_row + 1)
                columns = [numbers, pa.array(reasons, pa.string()), *cells.columns]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _without_answer(found: pa.Table) -> Mask:
    """Which rows the model was asked about and had no finite answer to."""
    return np.asarray(pc.fill_null(pc.is_nan(found.column(0)), False))


def progress_bar(total: int, unit: str, *, shown: bool) -> Any:
    """A bar on stderr that counts rows or files."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc="  scoring",
        unit=unit,
        unit_scale=True,
        disable=not shown,
        mininterval=0.2 if sys.stderr.isatty() else 15,
        dynamic_ncols=True,
        file=sys.stderr,
    )


def windows_of(
    lengths: npt.NDArray[np.int64], rows: int, size: int
) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each window; together they hold every row once.

    Args:
        lengths: Shape [rows]: bytes of text in each row.
        rows: Most rows of a window.
        size: Most bytes of a window; a longer row has one of its own.

    Example:
        >>> list(windows_of(np.array([3, 3, 3, 9, 1]), 10, 6))
        [(0, 2), (2, 1), (3, 1), (4, 1)]
    """
    ends = np.cumsum(lengths)
    start, before = 0, 0
    while start < len(lengths):
        fits = int(np.searchsorted(ends, before + size, side="right")) - start
        count = min(max(1, fits), rows, len(lengths) - start)
        yield start, count
        start += count
        before = int(ends[start - 1])
