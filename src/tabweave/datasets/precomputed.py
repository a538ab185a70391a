"""Catalog entries for what an upstream step has computed: read only, and only if asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io.core import DatasetError

from tabweave.datasets.base import FileDataset
from tabweave.errors import MissingDataError
from tabweave.tabular.precomputed_files import (
    PrecomputedFile,
    find_precomputed,
    read_precomputed,
)


class PrecomputedDataset(FileDataset[Any, PrecomputedFile | None]):
    """A file of the folder ``model_artifacts_input``, as JSON or restricted pickle.

    Args:
        path: The folder.
        name: impute_dict, risk_table_map or selected_features.
        used: Whether the file is read at all; else it need not be there, loads as None
            and is no input of what the stage writes.
        metadata: For kedro-viz.
    """

    def __init__(
        self,
        *,
        path: str,
        name: str,
        used: bool | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(path=path, metadata=metadata)
        self._name, self._used = name, bool(used)

    @property
    def path(self) -> Path:
        """The file that is there now."""
        if not self._used:
            raise MissingDataError(f"{self._name} of {self._path} is not used.")
        return find_precomputed(self._path, self._name)

    def load(self) -> PrecomputedFile | None:
        """The file and its plain value, or None when it is not used."""
        return read_precomputed(self._path, self._name) if self._used else None

    def save(self, data: Any) -> None:
        """Refuses: an upstream step writes these files."""
        raise DatasetError(
            f"{self._path} belongs to an upstream step; it is read only."
        )

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "name": self._name, "used": self._used}

    def _exists(self) -> bool:
        try:
            return not self._used or self.path.is_file()
        except MissingDataError:
            return False
