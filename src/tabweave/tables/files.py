"""Tables on disk: a user's CSV, TSV and Parquet, and our typed Parquet and mapped Arrow.

A user's file is read in blocks, by column name, and nothing is guessed: every cell of a
CSV stays the text that was written. Our own files are handed around as small handles
that pickle as a path, so that a second process maps the same pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from tabweave.errors import ArtifactError, SchemaError, shorten
from tabweave.schema import InvalidUtf8, Quoting
from tabweave.storage.artifacts import replacing
from tabweave.storage.file_state import FileState, while_unchanged
from tabweave.tables.delimited import (
    NOT_UTF8,
    STRING,
    read_cells,
    read_header,
    write_cells,
)
from tabweave.tables.parquet import WRITTEN, open_parquet, parquet_batches, read_parquet
from tabweave.tables.quotes import Dialect
from tabweave.tables.utf8 import first_invalid, is_utf8, repaired

TableFormat = Literal["tsv", "csv", "parquet"]
FORMATS: tuple[str, ...] = get_args(TableFormat)
DELIMITERS = {"csv": ",", "tsv": "\t"}
ROWS_PER_BATCH = 65_536
AGAIN = " Re-run the stage that writes it."


def format_of(path: Path) -> TableFormat | None:
    """The format that a file name's ending says, or None."""
    ending = Path(path.name.strip().lower()).suffix
    return next((f for f in get_args(TableFormat) if f".{f}" == ending), None)


@dataclass(frozen=True)
class RawTable:
    """A user's file: knows its format, reads by column name, changes no cell.

    Attributes:
        path: The file.
        split: The split that it holds.
        invalid_utf8: Whether bytes that are not UTF-8 are refused or replaced by U+FFFD.
        quoting: As ``data.quoting``; of no use for Parquet.
        state: What the file must be whenever it is read; None compares before and after
            each reading.
        unread: Names of files beside it that look like tables and are not read.
    """

    path: Path
    split: str
    invalid_utf8: InvalidUtf8 = "refuse"
    quoting: Quoting | None = None
    state: FileState | None = field(default=None, compare=False, repr=False)
    unread: tuple[str, ...] = ()

    @property
    def format(self) -> TableFormat:
        """The format of the file, by its ending."""
        found = format_of(self.path)
        if found is None:
            raise SchemaError(
                f"{self.path}: unknown format; use .tsv, .csv or .parquet."
            )
        return found

    @property
    def _dialect(self) -> Dialect:
        return Dialect(DELIMITERS[self.format], self.quoting)

    def pinned(self) -> RawTable:
        """The same file, which must stay as it is now in all readings to come."""
        return replace(self, state=self.state or FileState.of(self.path))

    def check_unchanged(self) -> None:
        """Refuses a pinned file that is not what it was.

        Raises:
            ArtifactError: Something has written to the file, replaced or removed it.
        """
        if self.state is not None:
            self.state.check(self.path)

    def schema(self) -> pa.Schema:
        """Columns and types of the file; in a CSV every cell is a string.

        Raises:
            SchemaError: The file is empty, or is not a table.
        """
        if self.format == "parquet":
            with open_parquet(self.path, SchemaError) as file:
                return file.schema_arrow
        names = read_header(self.path, self._dialect)
        return pa.schema([(name, pa.string()) for name in names])

    def columns(self) -> list[str]:
        """The column names as written, in the order of the file.

        Raises:
            SchemaError: The file is empty, or is not a table.
        """
        return list(self.schema().names)

    def place(self, row: int) -> str:
        """What a message calls a row; row 1 is the first row below the header."""
        return f"row {row}"

    def batches(
        self,
        columns: Sequence[str] | None = None,
        repairs: Counter[str] | None = None,
        doubts: list[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of the named columns, in file order; CSV cells are strings.

        Args:
            columns: Names in the header; all when none are given.
            repairs: Where the number of replaced byte sequences per column is added.
            doubts: Where sentences about quotes that may join rows are added.

        Raises:
            SchemaError: A row does not fit the header, or a cell is not UTF-8.
            ArtifactError: The file changed while it was read.
        """
        repairs = Counter() if repairs is None else repairs
        if self.format == "parquet":
            return self._checked(self._read(columns), repairs)
        if self.invalid_utf8 == "refuse":
            return self._read(columns, pa.string(), doubts)
        cells = self._read(columns, pa.binary(), doubts)
        return (_repaired_cells(batch, repairs) for batch in cells)

    def unchecked(
        self, columns: Sequence[str] | None = None, doubts: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Like `batches`, but the cells of a text column may not be UTF-8.

        For those who look for such cells themselves: a reader of Arrow text would stop
        at the first one, or worse, go on.
        """
        cells = self._read(columns, pa.binary(), doubts)
        return cells if self.format == "parquet" else map(_unchecked_text, cells)

    def _read(
        self,
        columns: Sequence[str] | None,
        kind: pa.DataType = STRING,
        doubts: list[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The batches of either format, of a file that stays as it is."""
        state = self.state or FileState.of(self.path)
        names = list(columns) if columns is not None else self.columns()
        if self.format == "parquet":
            batches = parquet_batches(self.path, names, ROWS_PER_BATCH, SchemaError)
        else:
            batches = read_cells(self.path, self._dialect, names, kind, doubts)
        return while_unchanged(self.path, state, batches)

    def _checked(
        self, batches: Iterator[pa.RecordBatch], repairs: Counter[str]
    ) -> Iterator[pa.RecordBatch]:
        """The batches of a Parquet file, whose reader takes any bytes for a string."""
        row = 0
        for batch in batches:
            yield self._with_text(batch, row, repairs)
            row += batch.num_rows

    def _with_text(
        self, batch: pa.RecordBatch, row: int, repairs: Counter[str]
    ) -> pa.RecordBatch:
        """The batch, whose first row is row + 1, with text that is UTF-8."""
        good = batch
        for place, name in enumerate(batch.schema.names):
            values = batch.column(place)
            found = first_invalid(values) if _holds_bad_text(values) else None
            if found is None:
                continue
            if self.invalid_utf8 == "refuse":
                where = f"row {row + found + 1}, column {shorten(name)}"
                raise SchemaError(f"{self.path}: {where}: {NOT_UTF8}")
            good = good.set_column(place, name, _repaired(name, values, repairs))
        return good


def _text_type(kind: pa.DataType) -> pa.DataType | None:
    """The type of the cells when they are text, else None."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return kind if is_text else None


def _holds_bad_text(values: pa.Array) -> bool:
    if _text_type(values.type) is None:
        return False
    written = values.dictionary if pa.types.is_dictionary(values.type) else values
    return not is_utf8(written)


def _unchecked_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch of bytes as text, the same memory under another type."""
    columns = [values.view(pa.string()) for values in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _repaired(name: str, values: pa.Array, repairs: Counter[str]) -> pa.Array:
    cells, replaced = repaired(values, _text_type(values.type) or pa.string())
    if replaced:
        repairs[name] += replaced
    return cells


def _repaired_cells(batch: pa.RecordBatch, repairs: Counter[str]) -> pa.RecordBatch:
    """A batch of bytes as text."""
    names = batch.schema.names
    columns = [
        _repaired(name, values, repairs)
        for name, values in zip(names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names)


@dataclass(frozen=True)
class TableFile:
    """A typed table of ours, as Parquet; read by column, whole or in batches."""

    path: Path

    @property
    def num_rows(self) -> int:
        """Rows of the table, from the footer."""
        with open_parquet(self.path, ArtifactError, AGAIN) as file:
            return int(file.metadata.num_rows)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, from the footer."""
        with open_parquet(self.path, ArtifactError, AGAIN) as file:
            return list(file.schema_arrow.names)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The named columns as one table; all when none are named."""
        return read_parquet(self.path, columns, ArtifactError, AGAIN)

    def batches(
        self, columns: Sequence[str], rows: int = ROWS_PER_BATCH
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of the named columns, in row order."""
        return parquet_batches(self.path, columns, rows, ArtifactError, AGAIN)


@dataclass(frozen=True)
class ArrowFile:
    """A table of ours as one Arrow IPC file, mapped into memory when it is used."""

    path: Path

    def open(self) -> pa.Table:
        """The mapped table: pages are read when they are touched, and shared."""
        try:
            return pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(
                f"{self.path} is missing or is not an Arrow file ({error}). Re-run the "
                "stage that writes it."
            ) from error


def write_parquet(path: Path, table: pa.Table) -> None:
    """Writes a table as Parquet in one step."""
    with replacing(path) as part:
        pq.write_table(table, part, row_group_size=ROWS_PER_BATCH, **WRITTEN)


def write_arrow(path: Path, table: pa.Table) -> None:
    """Writes a table as an Arrow IPC file with one record batch, in one step.

    One record batch keeps every column one buffer, which is what is mapped later.
    """
    with (
        replacing(path) as part,
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)


def write_rows(
    path: Path,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    quoting: Quoting | None = None,
) -> None:
    """Writes batches in the format that the ending of `path` says, in one step.

    Raises:
        SchemaError: The format is unknown, or a cell cannot be written with this
            quoting.
    """
    kind = format_of(path)
    if kind is None:
        raise SchemaError(f"{path}: unknown format; use .tsv, .csv or .parquet.")
    with replacing(path) as part:
        if kind == "parquet":
            with pq.ParquetWriter(part, schema, **WRITTEN) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        else:
            with open(part, "wb") as file:
                write_cells(file, Dialect(DELIMITERS[kind], quoting), schema, batches)
