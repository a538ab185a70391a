"""Catalog entries of the split: the one raw file, and the folder that it becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro_datasets._typing import TablePreview

from tabweave.datasets.base import FileDataset
from tabweave.datasets.tables import UsersFileDataset, first_rows
from tabweave.schema import SPLITS, Quoting
from tabweave.splitting import Division, write_division
from tabweave.tables.lookup import find_split
from tabweave.tables.parted_tables import Source, open_table


class SourceTableDataset(UsersFileDataset):
    """The user's one table that is to be split."""

    PARAMETER = "split.source"
    USE = "split: --params=split.source=<file>"
    HOLDS = "source"


class SplitFolderDataset(FileDataset[Division, dict[str, Source]]):
    """The train, val and test files of a split, in one folder that is replaced whole.

    Args:
        path: The folder.
        quoting: As ``data.quoting``: how the files in it are read.
        metadata: For kedro-viz.
    """

    def __init__(
        self,
        *,
        path: str,
        quoting: Quoting | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(path=path, metadata=metadata)
        self._quoting = quoting

    def load(self) -> dict[str, Source]:
        """Split -> a handle of its file."""
        return {
            s: open_table(find_split(self.path, s), s, quoting=self._quoting)
            for s in SPLITS
        }

    def save(self, data: Division) -> None:
        """Writes all three files, or refuses a folder with files of the user."""
        write_division(Path(self.path), data)

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows of train."""
        return first_rows(self.load()["train"], nrows)
