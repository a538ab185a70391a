"""Reads the weights of a checkpoint to which several processes wrote their parts."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import (
    Metadata,
    StorageMeta,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.state_dict_loader import load

from tabweave.errors import ArtifactError
from tabweave.training.checkpoints.archive import check_archive

WEIGHTS, INDEX = "state_dict", ".metadata"
NAMES = {
    "pathlib": {"PosixPath", "WindowsPath"},
    "torch": {"Size", "float64", "float32", "float16", "bfloat16", "int64", "bool"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "_MEM_FORMAT_ENCODING",
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
    },
}
"""What an index needs, by module: it is a pickle."""


def joined_weights(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The weights, put together, under the name that they have in a single file.

    Only tensors are read. What else there is, of the optimizer, torch would unpickle.

    Raises:
        ArtifactError: A part is missing or damaged, or the index names what it must not.
    """
    try:
        reader = _Reader(folder)
        entries = reader.read_metadata().state_dict_metadata
        wanted = {
            name: entry
            for name, entry in entries.items()
            if name.startswith(f"{WEIGHTS}.")
            and isinstance(entry, TensorStorageMetadata)
        }
        _check_size(folder, wanted.values())
        flat = {
            name: torch.empty(entry.size, dtype=entry.properties.dtype)
            for name, entry in wanted.items()
        }
        with warnings.catch_warnings():
            # One process is what is wanted here.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(flat, storage_reader=reader, no_dist=True)
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RuntimeError,
        pickle.PickleError,
        zipfile.BadZipFile,
        CheckpointException,
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ArtifactError(f"{folder} is not a whole checkpoint: {reason}") from error
    return {WEIGHTS: {n.removeprefix(f"{WEIGHTS}."): v for n, v in flat.items()}}


def _check_size(folder: Path, entries: Iterable[TensorStorageMetadata]) -> None:
    """The index asks for no more memory than its parts have bytes."""
    asked = sum(
        entry.size.numel() * entry.properties.dtype.itemsize for entry in entries
    )
    there = sum(part.stat().st_size for part in folder.glob("*.distcp"))
    if asked > there:
        raise ValueError(
            f"its index names {asked:,} bytes of weights, but its parts have {there:,}"
        )


class _Reader(FileSystemReader):
    """Torch's own reader, but for the index and for what a part would unfold to."""

    def _slice_file(self, file: Any, sinfo: Any) -> IO[bytes]:
        if getattr(sinfo, "transform_descriptors", None):
            raise ValueError("a part is compressed, which training does not do")
        found = super()._slice_file(file, sinfo)
        content = io.BytesIO(found.read())
        check_archive(content)
        content.seek(0)
        return content

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / INDEX).open("rb") as file:
            found: Metadata = _IndexReader(file).load()
        found.storage_meta = found.storage_meta or StorageMeta()
        found.storage_meta.load_id = self.load_id
        return found


class _IndexReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in NAMES.get(module, ()):
            raise pickle.UnpicklingError(f"its index names {module}.{name}")
        return super().find_class(module, name)
