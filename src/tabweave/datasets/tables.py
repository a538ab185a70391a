"""Catalog entries for tables: a user's file, typed Parquet, mapped Arrow, scored rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from kedro.io.core import DatasetError
from kedro_datasets._typing import TablePreview

from tabweave.datasets.base import FileDataset
from tabweave.errors import ConfigError
from tabweave.schema import InvalidUtf8, Quoting
from tabweave.storage.artifacts import Provenance
from tabweave.tables.files import (
    FORMATS,
    ArrowFile,
    RawTable,
    TableFile,
    write_arrow,
    write_parquet,
    write_rows,
)
from tabweave.tables.lookup import Found, find_split, find_table
from tabweave.tables.parted_tables import Source, open_table

PREVIEW_CHARACTERS = 120


def _preview(table: pa.Table) -> TablePreview:
    """The first rows as kedro-viz wants them, long cells cut."""
    rows = [
        [_short(column[row].as_py()) for column in table.columns]
        for row in range(table.num_rows)
    ]
    return TablePreview(
        {"index": list(range(len(rows))), "columns": table.column_names, "data": rows}
    )


class UsersFileDataset(FileDataset[pa.Table, Source]):
    """A user's table that a parameter names; it is never changed.

    Args:
        path: A file, a folder of parts or a pattern; None where the user has named none
            yet.
        quoting: As ``data.quoting``.
        metadata: For kedro-viz.
    """

    PARAMETER: ClassVar[str]
    """The parameter that names it."""
    USE: ClassVar[str]
    """What it is named for, and the option that does so."""
    HOLDS: ClassVar[str]
    """What a message calls its rows."""
    opened: ClassVar[Callable[..., Source]] = staticmethod(open_table)
    """Makes the handle of what was found."""

    def __init__(
        self,
        *,
        path: str | None,
        quoting: Quoting | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(path=path or f"<{self.PARAMETER}>", metadata=metadata)
        self._named, self._quoting = path is not None, quoting

    @property
    def found(self) -> Found | None:
        """The files that are there now; None where none are named.

        Raises:
            MissingDataError: There is nothing of that name.
        """
        return find_table(self.path, self.PARAMETER) if self._named else None

    def load(self) -> Source:
        """A handle that reads by column.

        Raises:
            ConfigError: No file is named.
            MissingDataError: The file is not there.
        """
        found = self.found
        if found is None:
            raise ConfigError(
                f"{self.PARAMETER} is not set. Name the file to {self.USE}."
            )
        return self.opened(found, self.HOLDS, quoting=self._quoting).pinned()

    def save(self, data: pa.Table) -> None:
        """Refuses: a user's files are read only."""
        raise DatasetError(f"{self.path} is the user's file; it is never written.")

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows of the file."""
        return first_rows(self.load(), nrows)


def first_rows(raw: Source, nrows: int) -> TablePreview:
    """The first rows of a user's file as kedro-viz wants them."""
    for batch in raw.batches():
        return _preview(pa.Table.from_batches([batch.slice(0, nrows)]))
    return TablePreview({"index": [], "columns": raw.columns(), "data": []})


def _short(value: Any) -> Any:
    if value is None or isinstance(value, int | bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = str(value)
    return text if len(text) <= PREVIEW_CHARACTERS else f"{text[:PREVIEW_CHARACTERS]}…"


class RawTableDataset(FileDataset[pa.Table, Source]):
    """The user's table of one split, found by the lookup rule, never changed.

    Args:
        path: The data folder.
        split: train, val or test.
        filename: A file, folder or pattern that wins over the rule.
        invalid_utf8: As ``data.invalid_utf8``; None is its default.
        quoting: As ``data.quoting``.
        metadata: For kedro-viz.
    """

    def __init__(  # noqa: PLR0913 (an entry of the catalog: all are keywords)
        self,
        *,
        path: str,
        split: str,
        filename: str | None = None,
        invalid_utf8: InvalidUtf8 | None = None,
        quoting: Quoting | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(path=path, metadata=metadata)
        self._split, self._filename = split, filename
        self._invalid_utf8: InvalidUtf8 = invalid_utf8 or "refuse"
        self._quoting = quoting

    @property
    def found(self) -> Found:
        """The files that the rule finds now."""
        return find_split(self._path, self._split, self._filename)

    @property
    def path(self) -> Path:
        """The file, folder or pattern that the rule finds now."""
        return self.found.path

    def load(self) -> Source:
        """A handle that reads by column."""
        utf8, quoting = self._invalid_utf8, self._quoting
        table = open_table(self.found, self._split, invalid_utf8=utf8, quoting=quoting)
        return table.pinned()

    def save(self, data: pa.Table) -> None:
        """Refuses: a user's files are read only."""
        raise DatasetError(
            f"{self._path} holds the user's files; they are never written."
        )

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows of the file."""
        return first_rows(self.load(), nrows)

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "split": self._split}

    def _exists(self) -> bool:
        try:
            return bool(self.found.files)
        except ValueError:
            return False


class DemoTableDataset(FileDataset[pa.Table, RawTable]):
    """A fabricated file of one split: the only raw files that we write ourselves."""

    def load(self) -> RawTable:
        """A handle that reads by column."""
        return RawTable(self.path, self.path.parent.name)

    def save(self, data: pa.Table) -> None:
        """Writes the rows in the format that the ending of the path says."""
        write_rows(self.path, iter(data.to_batches()), data.schema)


class TypedTableDataset(FileDataset[pa.Table, TableFile]):
    """A typed table as Parquet; loads as a handle that reads by column."""

    def load(self) -> TableFile:
        """A handle that reads by column."""
        return TableFile(self.path)

    def save(self, data: pa.Table) -> None:
        """Writes the table in one step."""
        write_parquet(self.path, data)

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows."""
        table = TableFile(self.path)
        for batch in table.batches(table.column_names, nrows):
            return _preview(pa.Table.from_batches([batch]))
        return TablePreview({"index": [], "columns": table.column_names, "data": []})


class MappedTableDataset(FileDataset[pa.Table, ArrowFile]):
    """A table as one Arrow IPC file; loads as a handle that maps the file."""

    def load(self) -> ArrowFile:
        """A handle that maps the file."""
        return ArrowFile(self.path)

    def save(self, data: pa.Table) -> None:
        """Writes the table in one step."""
        write_arrow(self.path, data)

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows."""
        return _preview(ArrowFile(self.path).open().slice(0, nrows))


@dataclass(frozen=True)
class ScoredRows:
    """A user's rows with predictions, which are drawn as they are written."""

    batches: Iterator[pa.RecordBatch]
    schema: pa.Schema
    format: str
    quoting: Quoting | None


class ScoredRowsDataset(FileDataset[ScoredRows, RawTable]):
    """A user's rows with predictions added, in the format of the user's file.

    Args:
        path: Folder; the file in it is named after the split and the user's format.
        split: val or test.
        quoting: As ``data.quoting``: how the file in it is read.
        metadata: For kedro-viz.
    """

    def __init__(
        self,
        *,
        path: str,
        split: str,
        quoting: Quoting | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(path=path, metadata=metadata)
        self._split, self._quoting = split, quoting

    @property
    def path(self) -> Path:
        """The file that is there; by default the CSV."""
        named = [self._path / f"{self._split}.{ending}" for ending in FORMATS]
        default = self._path / f"{self._split}.csv"
        return next((path for path in named if path.is_file()), default)

    def load(self) -> RawTable:
        """A handle that reads by column."""
        return RawTable(self.path, self._split, quoting=self._quoting)

    def save(self, data: ScoredRows) -> None:
        """Writes the rows in the format that they came in."""
        target = self._path / f"{self._split}.{data.format}"
        write_rows(target, data.batches, data.schema, data.quoting)
        for ending in set(FORMATS) - {data.format}:
            other = self._path / f"{self._split}.{ending}"
            Provenance.path_for(other).unlink(missing_ok=True)
            other.unlink(missing_ok=True)

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows of the file."""
        return first_rows(self.load(), nrows)

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "split": self._split}
