"""Catalog entries of scoring: a bundle and a file from anywhere, and the scored file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from kedro.io import AbstractDataset
from kedro.io.core import DatasetError
from kedro_datasets._typing import TablePreview

from tabweave.datasets.base import FileDataset
from tabweave.datasets.tables import UsersFileDataset, first_rows
from tabweave.schema import Quoting
from tabweave.scoring import ScoringReport
from tabweave.tables.files import RawTable
from tabweave.tables.lookup import find_table
from tabweave.tables.parted_tables import Source, open_as_named, open_table


class DeployedBundleDataset(FileDataset[Any, Path]):
    """A bundle, the project's own or any other; it is verified when it is opened."""

    def load(self) -> Path:
        """Its folder."""
        return self.path

    def save(self, data: Any) -> None:
        """Refuses: the export stage writes bundles."""
        raise DatasetError(f"{self.path} is written by the export stage.")


class ScoringInputDataset(UsersFileDataset):
    """The user's file, or files, to be scored."""

    PARAMETER = "score.input"
    USE = "score: --params=score.input=<file>,score.output=<file>"
    HOLDS = "input"
    # Of a folder or pattern the output is a folder, also where there is one file.
    opened = staticmethod(open_as_named)


@dataclass(frozen=True)
class ScoringOutput:
    """Where scored rows go, and the rows that cannot be scored; None refuses those."""

    path: Path
    rejects: str | None


class ScoringOutputDataset(AbstractDataset[Any, ScoringOutput]):
    """Where the user wants the answers: two names, no content.

    Args:
        path: The file; a folder where the input is no single file.
        rejects: ``{path: <file>}`` for the rows that cannot be scored; the path None
            refuses an input with such a row.
        metadata: For kedro-viz.
    """

    def __init__(
        self,
        *,
        path: str,
        rejects: dict[str, str | None] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._output = ScoringOutput(Path(path), (rejects or {}).get("path"))
        self.metadata = metadata

    def load(self) -> ScoringOutput:
        """The names."""
        return self._output

    def save(self, data: Any) -> None:
        """Refuses: a name is not written."""
        raise DatasetError(f"{self._output.path} is written by scoring itself.")

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._output.path)}


class ScoredFileDataset(FileDataset[ScoringReport, Source]):
    """The rows of a file with predictions, in the format of the file.

    Args:
        path: The file; a folder where the input is no single file.
        quoting: As ``score.quoting``: how the file is read again.
        metadata: For kedro-viz.
    """

    locks_itself: ClassVar[bool] = True
    """That scoring holds its files, whoever calls it."""

    def __init__(
        self,
        *,
        path: str,
        quoting: Quoting | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(path=path, metadata=metadata)
        self._quoting = quoting

    def load(self) -> Source:
        """A handle that reads by column; of a folder, all tables in it.

        They need not be parts of one table by their names: a pattern may have named them.
        """
        if self.path.is_dir():
            found = find_table(self.path / "**" / "*", "score.output")
            return open_table(found, "scored", quoting=self._quoting)
        return RawTable(self.path, "scored", quoting=self._quoting)

    def save(self, data: ScoringReport) -> None:
        """Does nothing: scoring has written the file, as all rows fit no memory."""

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows of the file."""
        return first_rows(self.load(), nrows)
