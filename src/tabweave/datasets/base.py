"""What all our catalog entries share: one path, written whole, described in short."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Generic, TypeVar

from kedro.io import AbstractDataset

In = TypeVar("In")
Out = TypeVar("Out")


class FileDataset(AbstractDataset[In, Out], Generic[In, Out]):
    """A file or folder at a path.

    Args:
        path: Where it lies; Kedro resolves it against the project root.
        metadata: For kedro-viz: layer and preview.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self.metadata = metadata

    @property
    def path(self) -> Path:
        """Where the artifact lies."""
        return self._path

    @abstractmethod
    def load(self) -> Out:
        """Reads the artifact."""

    @abstractmethod
    def save(self, data: In) -> None:
        """Writes the artifact whole, or leaves the old one."""

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}

    def _exists(self) -> bool:
        return self._path.exists()
