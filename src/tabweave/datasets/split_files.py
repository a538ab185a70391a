"""Catalog entries of the split: the one raw file, and the folder that it becomes."""

from __future__ import annotations

from pathlib import Path

from kedro_datasets._typing import TablePreview

from tabweave.datasets.base import FileDataset
from tabweave.datasets.tables import UsersFileDataset, first_rows
from tabweave.schema import SPLITS
from tabweave.splitting import Division, write_division
from tabweave.tables import RawTable, find_split_file


class SourceTableDataset(UsersFileDataset):
    """The user's one file that is to be split."""

    PARAMETER = "split.source"
    USE = "split: --params=split.source=<file>"
    HOLDS = "source"


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
