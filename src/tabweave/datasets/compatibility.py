"""Catalog entries of the specification's .pth and .pkl files: written for other tools.

They hold tensors and plain values, and are read back without running code. JSON and
safetensors are the formats of record.
"""

from __future__ import annotations

import json
import pickle
from typing import Any, BinaryIO

from tabweave.datasets.base import FileDataset
from tabweave.errors import ArtifactError, ExportError
from tabweave.storage.artifacts import dump_json, write_bytes
from tabweave.storage.restricted_pickle import read_pickle

PROTOCOL = 4
"""Of the pickles: read by every Python 3."""


class PthDataset(FileDataset[dict[str, Any], dict[str, Any]]):
    """Tensors and plain values in torch's own format."""

    def load(self) -> dict[str, Any]:
        """The content; a file that asks for anything but plain values is refused.

        Raises:
            ArtifactError: The file is missing, damaged, or no such file.
        """
        from tabweave.training.checkpoints.archive import load_archive

        if not self.path.is_file():
            raise ArtifactError(f"{self.path} does not exist.", stages=("export",))
        try:
            found: dict[str, Any] = load_archive(self.path)
        except ArtifactError as error:
            raise ArtifactError(
                f"{self.path} cannot be read as tensors and plain values: "
                f"{error.__cause__}.",
                stages=("export",),
            ) from error
        return found

    def save(self, data: dict[str, Any]) -> None:
        """Writes it in one step; equal content gives equal bytes.

        Raises:
            ExportError: There is something that `load` would refuse.
            WriteError: The disk is full.
        """
        from tabweave.export.compatibility import plain

        content = plain(data, self.path.name)
        write_bytes(self.path, lambda file: _save(content, file))


def _save(content: Any, file: BinaryIO) -> None:
    import torch

    try:
        # To an open file: given a path, torch writes the name of the file into it.
        torch.save(content, file)
    except RuntimeError as error:
        # torch hides why the disk refused behind a check of its own file format.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


class PickleDataset(FileDataset[Any, Any]):
    """Plain values as a pickle: what JSON can hold, and the same values."""

    def load(self) -> Any:
        """The values, read by the restricted reader.

        Raises:
            ArtifactError: The file is missing, or holds more than plain values.
        """
        if not self.path.is_file():
            raise ArtifactError(f"{self.path} does not exist.", stages=("export",))
        return read_pickle(self.path)

    def save(self, data: Any) -> None:
        """Writes the values in one step.

        They take the way through JSON: the file says what its .json twin says, and its
        bytes do not depend on which texts happen to be one object in memory.

        Raises:
            ExportError: JSON cannot say the values as they are.
            WriteError: The disk is full.
        """
        values = json.loads(dump_json(data))
        if values != data:
            raise ExportError(
                f"{self.path.name} holds plain values as JSON has them, but was given "
                "keys that are not text, or tuples."
            )
        write_bytes(self.path, lambda file: pickle.dump(values, file, PROTOCOL))
