"""A user's table in many files, read as if it were one: parts in order, rows in order.

One file is a `RawTable`, many are a `PartedTable`; both answer the same questions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import Problems, SchemaError, readable, shorten, some_of
from tabweave.schema import Quoting
from tabweave.tables.files import RawTable, TableFormat
from tabweave.tables.lookup import Found
from tabweave.tables.part_names import Keys, folder_keys
from tabweave.tables.part_schemas import merged_schema

SHOWN = 3

Batches: TypeAlias = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class TablePart:
    """One file of a table.

    Attributes:
        table: The file.
        name: Its path below the folder of the table.
        keys: Column and value that folders ``key=value`` say of all its rows.
    """

    table: RawTable
    name: str
    keys: Keys = ()

    def schema(self) -> pa.Schema:
        """The columns of the file, then those of its folders, which are text."""
        schema = self.table.schema()
        for key, _ in self.keys:
            if key not in schema.names:
                schema = schema.append(pa.field(key, pa.string()))
        return schema

    def read(
        self, schema: pa.Schema, batches_of: Callable[[list[str]], Batches]
    ) -> Batches:
        """The rows of the file, with the columns of its folders, in the types wanted.

        Args:
            schema: Columns, in order, and their types.
            batches_of: Reads columns of the file.

        Raises:
            SchemaError: A row does not fit, or a column of the file contradicts the
                folder that it lies in.
        """
        there, row = self.table.columns(), 0
        own = [name for name in schema.names if name in there]
        # Without any column of the file its rows could not be counted.
        for batch in batches_of(own or there[:1]):
            cells = dict(zip(batch.schema.names, batch.columns, strict=True))
            for key, value in self.keys:
                if key in cells:
                    self._check(key, value, cells[key], row)
                else:
                    text = pa.scalar(value, pa.string())
                    cells[key] = pa.repeat(text, batch.num_rows)
            yield self._cast(cells, schema)
            row += batch.num_rows

    def _check(self, key: str, value: str, cells: pa.Array, row: int) -> None:
        other = np.flatnonzero(contradictions(cells, value))
        if len(other):
            found = cells[int(other[0])].as_py()
            raise SchemaError(
                f"{self.table.path}: row {row + int(other[0]) + 1}, column {shorten(key)} "
                f"holds {shorten(found)}, but the folder says {readable(key)}="
                f"{readable(value)}. Move the row to "
                "the folder it belongs to, rename the folder, or drop the column."
            )

    def _cast(self, cells: Mapping[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
        columns = []
        for wanted in schema:
            column = cells[wanted.name]
            if column.type != wanted.type and pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            try:
                columns.append(column.cast(wanted.type))
            except pa.ArrowInvalid as error:
                raise SchemaError(
                    f"{self.table.path}: column {wanted.name!r} has type {column.type} "
                    f"here and cannot be {wanted.type} as in other files ({error})."
                ) from error
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def contradictions(cells: pa.Array, value: str) -> np.ndarray:
    """Shape [rows]: which cells are not what the folder of their file says."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    try:
        text = pc.fill_null(cells.cast(pa.string()), "")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return np.ones(len(cells), bool)
    return np.asarray(pc.not_equal(text, value))


@dataclass(frozen=True)
class PartedTable:
    """A user's table in several files: reads by column name, changes no cell.

    Attributes:
        path: The folder or pattern that was named or found.
        folder: The folder that the names of the parts count from.
        split: The split that it holds.
        parts: Its files, in the order of their rows; at least one.
        unread: Names of files beside them that are not read.
    """

    path: Path
    folder: Path
    split: str
    parts: tuple[TablePart, ...]
    unread: tuple[str, ...] = ()
    # Rows before each part that has been reached: what says where a row lies.
    starts: list[int] = field(default_factory=list, compare=False, repr=False)

    @property
    def format(self) -> TableFormat:
        """The format of all files."""
        return self.parts[0].table.format

    @property
    def quoting(self) -> Quoting | None:
        """As ``data.quoting``, for all files."""
        return self.parts[0].table.quoting

    def pinned(self) -> PartedTable:
        """The same files, which must stay as they are now in all readings to come."""
        return _with_tables(self, lambda table: table.pinned())

    @cached_property
    def _schema(self) -> pa.Schema:
        problems = Problems(f"{self.path}: the files are not parts of one table")
        known: list[tuple[TablePart, pa.Schema]] = []
        for part in self.parts:
            try:
                known.append((part, part.schema()))
            except SchemaError as error:
                problems.add(str(error))
        common = known[0][1] if known else pa.schema([])
        for part, schema in known[1:]:
            names = (known[0][0].name, str(part.table.path))
            common = merged_schema(common, schema, names, problems)
        problems.raise_as(SchemaError)
        return common

    def schema(self) -> pa.Schema:
        """Columns and types that hold the cells of all files.

        Raises:
            SchemaError: A file is no table, or has other columns or types than the
                first one; the message lists all of them.
        """
        return self._schema

    def columns(self) -> list[str]:
        """The column names of the first file, then the keys of its folders.

        Raises:
            SchemaError: As `schema`.
        """
        return list(self._schema.names)

    def place(self, row: int) -> str:
        """What a message calls a row that has been read: its file, and the row in it."""
        part = bisect_right(self.starts, row - 1) - 1
        return f"{self.parts[part].name} row {row - self.starts[part]}"

    def rows_per_part(self, rows: int) -> dict[str, int]:
        """Name of each file -> its rows, where all `rows` of them have been read."""
        ends = [*self.starts[1:], rows]
        return {
            part.name: end - start
            for part, start, end in zip(self.parts, self.starts, ends, strict=True)
        }

    def batches(
        self,
        columns: Sequence[str] | None = None,
        repairs: Counter[str] | None = None,
        doubts: list[str] | None = None,
    ) -> Batches:
        """Record batches of the named columns, part by part; all of one schema.

        Args:
            columns: Names in the header or keys of folders; all when none are given.
            repairs: Where the number of replaced byte sequences per column is added.
            doubts: Where sentences about quotes that may join rows are added.

        Raises:
            SchemaError: As `schema`; or a row does not fit. It comes behind the last
                batch and tells of every such file.
            ArtifactError: A file changed while it was read.
        """
        return self._read(
            columns,
            doubts,
            lambda part, found, own: part.table.batches(own, repairs, found),
        )

    def unchecked(
        self, columns: Sequence[str] | None = None, doubts: list[str] | None = None
    ) -> Batches:
        """Like `batches`, but the cells of a text column may not be UTF-8."""
        return self._read(
            columns, doubts, lambda part, found, own: part.table.unchecked(own, found)
        )

    def _read(
        self,
        columns: Sequence[str] | None,
        doubts: list[str] | None,
        batches_of: Callable[[TablePart, list[str], list[str]], Batches],
    ) -> Batches:
        names = self.columns() if columns is None else list(columns)
        schema, row = _selected(self._schema, names), 0
        faults: list[SchemaError] = []
        for number, part in enumerate(self.parts):
            if number == len(self.starts):
                self.starts.append(row)
            found: list[str] = []
            try:
                for batch in part.read(schema, partial(batches_of, part, found)):
                    row += batch.num_rows
                    yield batch
            except SchemaError as error:
                faults.append(error)  # what is wrong in the next ones is told with it
            if doubts is not None:
                doubts += [f"{part.name}: {doubt}" for doubt in found]
        if len(faults) == 1:
            raise faults[0]
        problems = Problems(f"{self.path}: {len(faults)} files cannot be read")
        for fault in faults:
            problems.add(str(fault))
        problems.raise_as(SchemaError)


Source: TypeAlias = RawTable | PartedTable


def open_table(found: Found, split: str, **options: Any) -> Source:
    """A handle that reads what was found; a `RawTable` where that is one file.

    Args:
        found: The files.
        split: The split that they hold.
        options: Of each `RawTable`, such as ``invalid_utf8``.
    """
    table = _parted(found, split, options)
    if len(table.parts) == 1 and not table.parts[0].keys:
        return replace(table.parts[0].table, unread=found.unread)
    return table


def open_as_named(found: Found, split: str, **options: Any) -> Source:
    """As `open_table`, but the path of the handle is what was named, also of one part."""
    table = _parted(found, split, options)
    return table.parts[0].table if found.is_file else table


def _parted(found: Found, split: str, options: Mapping[str, Any]) -> PartedTable:
    parts = tuple(
        TablePart(RawTable(file, split, **options), name.as_posix(), folder_keys(name))
        for file, name in zip(found.files, found.names, strict=True)
    )
    return PartedTable(found.path, found.folder, split, parts, found.unread)


def with_options(source: Source, **options: Any) -> Source:
    """The same table, read with other options of `RawTable`."""
    if isinstance(source, RawTable):
        return replace(source, **options)
    return _with_tables(source, lambda table: replace(table, **options))


def _with_tables(
    source: PartedTable, changed: Callable[[RawTable], RawTable]
) -> PartedTable:
    parts = tuple(replace(part, table=changed(part.table)) for part in source.parts)
    return replace(source, parts=parts, starts=[])


def parts_of(source: Source) -> tuple[TablePart, ...]:
    """The files of a table, in the order of its rows."""
    if isinstance(source, RawTable):
        return (TablePart(source, source.path.name),)
    return source.parts


def sampled_batches(
    source: Source, columns: Sequence[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """The first rows of a table; where it has many files, the first rows of each.

    A folder ``key=value`` holds one value: the first files alone would show no other.
    """
    if isinstance(source, RawTable):
        yield from _first(source.batches(columns), rows)
        return
    schema, left = _selected(source.schema(), columns), rows
    for number, part in enumerate(source.parts):
        share = -(-left // (len(source.parts) - number))
        for batch in _first(part.read(schema, part.table.batches), share):
            left -= batch.num_rows
            yield batch


def _first(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if rows <= 0:
            return
        yield batch.slice(0, rows)
        rows -= batch.num_rows


def named_rows(source: Source, rows: Iterable[int]) -> str:
    """Where the first few rows lie; row 1 is the first row below the header."""
    every = [int(row) for row in rows]
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    if isinstance(source, RawTable) and len(every) > 1:
        return f"rows {', '.join(map(str, every[:SHOWN]))}{more}"
    return f"{', '.join(map(source.place, every[:SHOWN]))}{more}"


def unread_sentence(source: Source, parameter: str) -> str:
    """What a user must know of files that are not read; "" where there are none.

    Args:
        source: The table.
        parameter: What names its files.
    """
    if not source.unread:
        return ""
    example = f"*.{source.format}"
    return (
        f"not read beside {source.path}: {some_of(source.unread)}. To read several files "
        f"as one table, name them by a pattern, such as {parameter}={example!r}; else "
        "move away what is not meant"
    )


def _selected(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names], metadata=schema.metadata)
