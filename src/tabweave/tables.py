"""Tables on disk: a user's CSV, TSV and Parquet, and our typed Parquet and mapped Arrow.

A user's file is read in blocks, by column name, and nothing is guessed: every cell of a
CSV stays the text that was written. Our own files are handed around as small handles
that pickle as a path, so that a second process maps the same pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tabweave.artifacts import replacing
from tabweave.delimited import NOT_UTF8, read_cells, read_header
from tabweave.errors import (
    ArtifactError,
    MissingDataError,
    SchemaError,
    shorten,
    some_of,
)
from tabweave.schema import InvalidUtf8
from tabweave.utf8 import first_invalid, is_utf8, repaired

TableFormat = Literal["tsv", "csv", "parquet"]
FORMATS: tuple[str, ...] = get_args(TableFormat)
DELIMITERS = {"csv": ",", "tsv": "\t"}
ROWS_PER_BATCH = 65_536


def format_of(path: Path) -> TableFormat | None:
    """The format that a file name's ending says, or None."""
    ending = Path(path.name.strip().lower()).suffix
    return next((f for f in get_args(TableFormat) if f".{f}" == ending), None)


def find_first_data_file(folder: Path) -> Path:
    """The first file of a supported format in sorted order; markers are passed over.

    Raises:
        MissingDataError: The folder holds no such file.
    """
    folder = Path(folder)
    names = _file_names(folder)
    for name in names:
        if format_of(Path(name)) and not name.startswith((".", "_")):
            return folder / name
    raise MissingDataError(
        f"No supported data file (.tsv, .csv, .parquet) found in {folder}. It holds "
        f"{some_of(names) or 'nothing'}."
    )


def _file_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def find_split_file(data_dir: Path, split: str, filename: str | None = None) -> Path:
    """Finds the file of a split.

    A named file wins; then the first supported file of ``<data_dir>/<split>/``; then
    exactly one ``<data_dir>/<split>.{tsv,csv,parquet}``.

    Raises:
        MissingDataError: There is no such file; the message says where it was sought.
        SchemaError: Several files claim to be the split.
    """
    data_dir = Path(data_dir)
    if filename is not None:
        return _named_file(data_dir, split, filename)
    folder = data_dir / split
    beside = [data_dir / f"{split}.{ending}" for ending in FORMATS]
    there = [path for path in beside if path.is_file()]
    try:
        return find_first_data_file(folder)
    except MissingDataError:
        if folder.is_dir() and not there:
            raise
    if len(there) > 1:
        raise SchemaError(
            f"Several files claim to be the {split} split: {[p.name for p in there]} in "
            f"{data_dir}. Keep one, or set data.{split}_filename."
        )
    if there:
        return there[0]
    raise MissingDataError(
        f"No supported data file (.tsv, .csv, .parquet) found in {folder}, and "
        f"no {split}.tsv, {split}.csv or {split}.parquet in {data_dir}. Name the "
        "folder of your files (data_dir, or the option --data of the command)."
    )


def _named_file(data_dir: Path, split: str, filename: str) -> Path:
    tried = [data_dir / split / filename, data_dir / filename]
    found = next((path for path in tried if path.is_file()), None)
    if found is None:
        raise MissingDataError(
            f"data.{split}_filename names {filename!r}, but neither {tried[0]} nor "
            f"{tried[1]} exists."
        )
    if format_of(found) is None:
        raise SchemaError(
            f"data.{split}_filename names {filename!r}, whose format is not known. "
            "Supported endings: .tsv, .csv, .parquet."
        )
    return found


@dataclass(frozen=True)
class RawTable:
    """A user's file: knows its format, reads by column name, changes no cell.

    Attributes:
        path: The file.
        split: The split that it holds.
        invalid_utf8: Whether bytes that are not UTF-8 are refused or replaced by U+FFFD.
    """

    path: Path
    split: str
    invalid_utf8: InvalidUtf8 = "refuse"

    @property
    def format(self) -> TableFormat:
        """The format of the file, by its ending."""
        found = format_of(self.path)
        if found is None:
            raise SchemaError(
                f"{self.path}: unknown format; use .tsv, .csv or .parquet."
            )
        return found

    def columns(self) -> list[str]:
        """The column names as written, in the order of the file.

        Raises:
            SchemaError: The file is empty, or is not a table.
        """
        if self.format == "parquet":
            return list(self._open_parquet().schema_arrow.names)
        return read_header(self.path, DELIMITERS[self.format])

    def batches(
        self,
        columns: Sequence[str] | None = None,
        repairs: Counter[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of the named columns, in file order; CSV cells are strings.

        Args:
            columns: Names in the header; all when none are given.
            repairs: Where the number of replaced byte sequences per column is added.

        Raises:
            SchemaError: A row does not fit the header, or a cell is not UTF-8.
        """
        names = list(columns) if columns is not None else self.columns()
        repairs = Counter() if repairs is None else repairs
        if self.format == "parquet":
            return self._checked(self._parquet_batches(names), repairs)
        delimiter = DELIMITERS[self.format]
        if self.invalid_utf8 == "refuse":
            return read_cells(self.path, delimiter, names)
        cells = read_cells(self.path, delimiter, names, pa.binary())
        return (_repaired_cells(batch, repairs) for batch in cells)

    def unchecked(
        self, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Like `batches`, but the cells of a text column may not be UTF-8.

        For those who look for such cells themselves: a reader of Arrow text would stop
        at the first one, or worse, go on.
        """
        names = list(columns) if columns is not None else self.columns()
        if self.format == "parquet":
            return self._parquet_batches(names)
        cells = read_cells(self.path, DELIMITERS[self.format], names, pa.binary())
        return (_unchecked_text(batch) for batch in cells)

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

    def _parquet_batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with self._open_parquet() as file:
            try:
                yield from file.iter_batches(ROWS_PER_BATCH, columns=names)
            except (pa.ArrowInvalid, OSError) as error:
                raise SchemaError(f"{self.path}: is damaged ({error}).") from error

    def _open_parquet(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowInvalid, OSError) as error:
            raise SchemaError(
                f"{self.path}: is not a Parquet file ({error})."
            ) from error


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
        return int(pq.read_metadata(self.path).num_rows)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, from the footer."""
        return list(pq.read_schema(self.path).names)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The named columns as one table; all when none are named."""
        return pq.read_table(
            self.path, columns=None if columns is None else list(columns)
        )

    def batches(
        self, columns: Sequence[str], rows: int = ROWS_PER_BATCH
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of the named columns, in row order."""
        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(rows, columns=list(columns))


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
        pq.write_table(table, part, compression="zstd", row_group_size=ROWS_PER_BATCH)


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
    path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema
) -> None:
    """Writes batches in the format that the ending of `path` says, in one step."""
    kind = format_of(path)
    with replacing(path) as part:
        if kind == "parquet":
            with pq.ParquetWriter(part, schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch)
            return
        if kind is None:
            raise SchemaError(f"{path}: unknown format; use .tsv, .csv or .parquet.")
        options = pa_csv.WriteOptions(delimiter=DELIMITERS[kind])
        with pa_csv.CSVWriter(str(part), schema, write_options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
