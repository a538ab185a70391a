"""Notices that a file changes while it is read, however it is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tabweave.errors import ArtifactError, SchemaError

T = TypeVar("T")


@dataclass(frozen=True)
class FileState:
    """What tells a file from what it was before."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state of a file now."""
        found = os.stat(path)
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)

    def check(self, path: Path) -> None:
        """Refuses a file that is not what it was.

        Raises:
            ArtifactError: The file has grown, shrunk, been written or been replaced, or
                is gone.
        """
        try:
            now = FileState.of(path)
        except OSError as error:
            raise ArtifactError(_changed(path, f"({error})")) from error
        if now != self:
            size = f"from {self.size:,} to {now.size:,} bytes"
            raise ArtifactError(_changed(path, "" if now.size == self.size else size))


def _changed(path: Path, how: str) -> str:
    return (
        f"{path} changed while it was read{how and f' {how}'}, so what was read is of no "
        "use. Run again when nothing writes to the file."
    )


def while_unchanged(path: Path, state: FileState, batches: Iterator[T]) -> Iterator[T]:
    """The batches that are read from a file, or an error when it changes meanwhile.

    Raises:
        ArtifactError: The file is not in this state, before or after the last batch; a
            fault that was found in a changed file is one of the change.
    """
    state.check(path)
    try:
        yield from batches
    except SchemaError:
        state.check(path)
        raise
    state.check(path)
