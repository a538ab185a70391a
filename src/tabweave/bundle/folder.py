"""Reads a folder that someone else has written, without being led out of it.

Every path is opened step by step below one open folder, and no step follows a link. What
is read is read once: the bytes that are checked are the bytes that are used.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tabweave.bundle.contents import MAX_FILES
from tabweave.errors import ArtifactError, shorten

MAX_DEPTH = 3
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe would wait for someone to write into it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class OpenFolder:
    """A folder that stays the same one, whatever its path comes to mean.

    Attributes:
        path: Where it was found, for messages.
        handle: Its file descriptor.
    """

    path: Path
    handle: int

    def names(self) -> set[str]:
        """Every file in the folder and below, as a path with '/' between its steps.

        A folder without a file is there as well; its name ends with '/'.

        Raises:
            ArtifactError: Something is neither a file nor a folder, cannot be looked
                at, or there are too many or too deep.
        """
        found: set[str] = set()
        for name in self._walk(self.handle, "", 1):
            found.add(name)
            if len(found) > MAX_FILES:
                raise ArtifactError(f"{self.path} holds more than {MAX_FILES} files.")
        return found

    def _walk(self, handle: int, prefix: str, depth: int) -> Iterator[str]:
        with self._naming(prefix), os.scandir(handle) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            name = prefix + entry.name
            with self._naming(name):
                mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from self._below(handle, entry.name, name, depth)
            elif stat.S_ISREG(mode):
                yield name
            else:
                raise self._refused(name, _kind(mode))

    def _below(self, handle: int, step: str, name: str, depth: int) -> Iterator[str]:
        if depth == MAX_DEPTH:
            raise self._refused(name, "is a folder deeper than any bundle has")
        with self._naming(f"{name}/"):
            below = os.open(step, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
        try:
            inside = list(self._walk(below, f"{name}/", depth + 1))
        finally:
            os.close(below)
        yield from inside or [f"{name}/"]

    def read(self, name: str, limit: int) -> bytes:
        """All bytes of a file below the folder.

        Args:
            name: Relative path with '/' between its steps.
            limit: Most bytes that are read.

        Raises:
            ArtifactError: It is missing, is no regular file, has a second name
                elsewhere, is larger, or cannot be read.
        """
        with self._naming(name):
            return self._content(name, limit)

    def _content(self, name: str, limit: int) -> bytes:
        *folders, last = name.split("/")
        handle = os.dup(self.handle)
        try:
            for step in folders:
                above, handle = handle, self._open(step, _FOLDER, handle, name)
                os.close(above)
            file = self._open(last, _FILE, handle, name)
        finally:
            os.close(handle)
        try:
            self._check(name, os.fstat(file), limit)
            content = _first_bytes(file, limit + 1)
        finally:
            os.close(file)
        if len(content) > limit:
            raise self._refused(name, f"has more than {limit:,} bytes")
        return content

    def _open(self, step: str, flags: int, above: int, name: str) -> int:
        try:
            return os.open(step, flags | os.O_NOFOLLOW, dir_fd=above)
        except FileNotFoundError as error:
            raise self._refused(name, "is missing") from error
        except OSError as error:
            reason = f"cannot be opened as a file of its own ({error.strerror})"
            raise self._refused(name, reason) from error

    def _check(self, name: str, state: os.stat_result, limit: int) -> None:
        if not stat.S_ISREG(state.st_mode):
            raise self._refused(name, _kind(state.st_mode))
        if state.st_nlink > 1:
            raise self._refused(name, "has a second name (a hard link) elsewhere")
        if state.st_size > limit:
            raise self._refused(name, f"has {state.st_size:,} bytes, not {limit:,}")

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Turns an error of the system into one that names the file or folder."""
        try:
            yield
        except OSError as error:
            where = f"{self.path}: {shorten(name)}" if name else str(self.path)
            raise ArtifactError(
                f"{where} cannot be read: {error.strerror}. Check the permissions and "
                "the disk, or copy the bundle anew from where it was made."
            ) from error

    def _refused(self, name: str, what: str) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: {shorten(name)} {what}. A bundle holds the files of its "
            "manifest and nothing else; copy it anew from where it was made."
        )


def _first_bytes(file: int, limit: int) -> bytes:
    """The first bytes of an open file; a folder cannot be wrapped as a Python file."""
    found = bytearray()
    while len(found) < limit and (block := os.read(file, limit - len(found))):
        found += block
    return bytes(found)


def _kind(mode: int) -> str:
    kinds = {
        "is a link": stat.S_ISLNK,
        "is a folder": stat.S_ISDIR,
        "is a named pipe": stat.S_ISFIFO,
        "is a socket": stat.S_ISSOCK,
    }
    return next((kind for kind, test in kinds.items() if test(mode)), "is a device")


@contextmanager
def opened_folder(path: Path) -> Iterator[OpenFolder]:
    """Opens a folder to read from.

    Raises:
        ArtifactError: Nothing is there, or it is not a folder.
    """
    try:
        handle = os.open(path, _FOLDER)
    except OSError as error:
        raise ArtifactError(
            f"{path} is not a bundle: {error.strerror}. Give the folder that holds "
            "manifest.json; the export stage writes one."
        ) from error
    try:
        yield OpenFolder(Path(path), handle)
    finally:
        os.close(handle)
