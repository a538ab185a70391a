"""Catalog entries of the split: the one raw file, and the folder that it becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from kedro.io.core import DatasetError
from kedro_datasets._typing import TablePreview

from tabweave.datasets.base import FileDataset
from tabweave.datasets.tables import first_rows
from tabweave.errors import ConfigError, MissingDataError
from tabweave.schema import SPLITS
from tabweave.splitting import Division, write_division
from tabweave.tables import RawTable, find_split_file

UNNAMED = "<split.source>"


class SourceTableDataset(FileDataset[pa.Table, RawTable]):
    """The user's one file that is to be split, never changed.

    Args:
        path: The file; None where the user has named none yet.
        metadata: For kedro-viz.
    """

    def __init__(
        self, *, path: str | None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(path=path or UNNAMED, metadata=metadata)
        self._named = path is not None

    def load(self) -> RawTable:
        """A handle that reads by column.

        Raises:
            ConfigError: No file is named.
            MissingDataError: The file is not there.
        """
        if not self._named:
            raise ConfigError(
                "split.source is not set. Name the file to split: kedro run "
                "--pipelines=split --params=split.source=<file>."
            )
        if not self.path.is_file():
            raise MissingDataError(
                f"split.source names {self.path}, but there is no such file. Relative "
                "paths count from the project root."
            )
        return RawTable(self.path, "source")

    def save(self, data: pa.Table) -> None:
        """Refuses: a user's files are read only."""
        raise DatasetError(f"{self.path} is the user's file; it is never written.")

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows of the file."""
        return first_rows(self.load(), nrows)


class SplitFolderDataset(FileDataset[Division, dict[str, RawTable]]):
    """The train, val and test files of a split, in one folder that is replaced whole."""

    def load(self) -> dict[str, RawTable]:
        """Split -> a handle of its file."""
        return {s: RawTable(find_split_file(self.path, s), s) for s in SPLITS}

    def save(self, data: Division) -> None:
        """Writes all three files, or refuses a folder with files of the user."""
        write_division(Path(self.path), data)

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows of train."""
        return first_rows(self.load()["train"], nrows)
