"""Files that are whole or absent, and the record that says what each was made from.

A file is written under a temporary name in its own folder, flushed to the disk and then
renamed, so a reader sees the old file or the new one. Beside each artifact lies
``<name>.provenance.json``: the hash of its content, of every input, and the values of the
parameters it was made with. A later stage compares the record with what is there now.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from tabweave.errors import ArtifactError, TabweaveError, WriteError
from tabweave.storage.processes import PATTERN, Process

PROVENANCE_SUFFIX = ".provenance.json"
# Every stage, in order, and the number of what it writes. Raise a number when a new
# version of the stage writes something else from the same inputs and parameters: other
# bytes, columns or keys. What was written before is then made again.
STAGE_FORMATS = {
    "fabricate": 1,
    "split": 1,
    "load": 1,
    "text": 1,
    "tabular": 1,
    "train": 2,
    "evaluate": 1,
    "export": 2,
    "score": 1,
}
# Name of what a process writes, or puts aside, before it takes its name or goes.
TEMPORARY = re.compile(rf"\.(?P<name>.+)\.(?P<process>{PATTERN})\.(?P<kind>part|old)")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says when there is no room for a file."""
# Of the system call renameat2: paths count from the current folder; two names swap.
AT_CWD, RENAME_EXCHANGE = -100, 2
_unfinished: set[Path] = set()  # what this process writes aside just now


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _part_beside(path: Path) -> Path:
    """A free temporary name beside `path`; traces of killed writers are removed.

    Only those of writers that have certainly ended: a disk may be shared.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in sorted(path.parent.glob(f".{glob.escape(path.name)}.*")):
        trace = TEMPORARY.fullmatch(left.name)
        if trace is None or trace["name"] != path.name:
            continue
        try:
            changed = left.lstat().st_mtime
        except FileNotFoundError:
            continue  # its writer has just finished
        if not Process.parse(trace["process"]).has_ended(changed):
            continue
        if trace["kind"] == "old" and not path.exists():
            os.rename(left, path)
        _remove(left)
    part = temporary_name(path)
    _remove(part)
    return part


def temporary_name(path: Path) -> Path:
    """What this process calls a file, or a folder, until it takes the name of `path`."""
    return path.with_name(f".{path.name}.{Process.here()}.part")


def _remove(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path; on success it takes the name of `path` in one step.

    On any failure the temporary file is removed and the old file stays as it was.

    Raises:
        WriteError: The disk is full or the folder cannot be written; the message names
            the path and the free space. Its cause is the error of the system.
    """
    with _new_part(Path(path)) as part:
        yield part
        _sync(part)
        os.replace(part, path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, for a folder: the new one takes the place of the old one whole."""
    with _new_part(Path(path)) as part:
        part.mkdir(mode=0o755)
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                file.chmod(0o644)  # some libraries write for the owner alone
            _sync(file)
        _sync(part)
        if Path(path).is_dir():
            # The old folder goes to the temporary name, and from there away.
            _exchange(part, Path(path))
        else:
            os.rename(part, path)


@contextmanager
def replacing_any(path: Path) -> Iterator[Path]:
    """Like `replacing`, where the old and the new may be a file, a link or a folder."""
    path = Path(path)
    with _new_part(path) as part:
        yield part
        if os.path.lexists(path) and (_is_folder(part) or _is_folder(path)):
            _exchange(part, path)
        else:
            os.replace(part, path)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


@contextmanager
def _new_part(path: Path) -> Iterator[Path]:
    part = None
    try:
        with naming_the_disk(path):
            part = _part_beside(path)
            _unfinished.add(part)
            yield part
            _sync(path.parent)
    finally:
        if part is not None:
            _remove(part)
            _unfinished.discard(part)


@contextmanager
def scratch_folder(prefix: str = "tabweave-") -> Iterator[Path]:
    """A folder for what only this process needs; it goes with the context."""
    with TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name)
        _unfinished.add(folder)
        try:
            yield folder
        finally:
            _unfinished.discard(folder)


def remove_unfinished() -> None:
    """Removes what this process writes aside just now; the process must end then."""
    for path in list(_unfinished):
        _remove(path)


@contextmanager
def naming_the_disk(path: Path) -> Iterator[None]:
    """Turns an error of the system while `path` is written into one that says more.

    Raises:
        WriteError: Names the path, the reason and the free space.
    """
    try:
        yield
    except TabweaveError:
        raise
    except OSError as error:
        failure = WriteError(_write_failure(path, error))
        failure.errno = error.errno
        raise failure from error


def _write_failure(path: Path, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    room, todo = "", "Check the name and the permissions"
    if not error.errno or error.errno in NO_ROOM:  # a library may not say why
        room, todo = f"{free_space(path.absolute().parent)} ", "Free some space"
    return (
        f"Cannot write {_lasting(path)}: {reason}. {room}What was there before is "
        f"unchanged. {todo}, then run it again."
    )


def free_space(folder: Path) -> str:
    """How much room there is in a folder, or where the folder would be: a sentence."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    room = shutil.disk_usage(there)
    return f"{room.free:,} of {room.total:,} bytes are free in {_lasting(there)}."


def _lasting(path: Path) -> Path:
    """The path as users know it: folders that are written aside have their own names."""
    return Path(
        *(re.sub(rf"^{TEMPORARY.pattern}$", r"\g<name>", p) for p in path.parts)
    )


def _exchange(one: Path, other: Path) -> None:
    """Lets two folders swap names, in one step where the system can do that."""
    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    if swap and swap(AT_CWD, bytes(one), AT_CWD, bytes(other), RENAME_EXCHANGE) == 0:
        return
    aside = one.with_suffix(".old")
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except OSError:
        os.rename(aside, other)
        raise
    os.rename(aside, one)


def write_bytes(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write` with an open binary file that becomes `path` when it is complete."""
    with replacing(path) as part, open(part, "wb") as file:
        write(file)


def dump_json(value: Any) -> str:
    """JSON with sorted keys and no NaN: equal values give equal bytes."""
    return json.dumps(
        value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
    )


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON in one step."""
    write_bytes(path, lambda file: file.write(f"{dump_json(value)}\n".encode()))


def read_json(path: Path) -> Any:
    """Reads a JSON artifact.

    Raises:
        ArtifactError: The file is missing or is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist.") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: it is not JSON ({error}).") from error


def number_or_none(value: float | None) -> float | None:
    """A finite float, or None: JSON has no NaN and an undefined figure is not 0."""
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def content_hash(path: Path) -> str:
    """sha256 of a file, or of a folder's relative names and contents.

    Raises:
        FileNotFoundError: Nothing is at `path`.
    """
    path = Path(path)
    if path.is_file():
        with open(path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    if not path.is_dir():
        raise FileNotFoundError(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return combined_hash(
        (file.relative_to(path).as_posix(), content_hash(file)) for file in files
    )


def combined_hash(named: Iterable[tuple[str, str]]) -> str:
    """sha256 of files that belong together, from the name and hash of each, in order."""
    total = hashlib.sha256()
    for name, content in named:
        total.update(b"%b\0%b\n" % (os.fsencode(name), content.encode()))
    return total.hexdigest()


@dataclass(frozen=True)
class Provenance:
    """What one artifact was made from.

    Attributes:
        dataset: Catalog name, such as ``train.tokens``.
        stage: Pipeline that wrote it, such as ``text``.
        content: sha256 of the artifact itself.
        inputs: Catalog name of every persisted input -> sha256 of its content then.
        parameters: Name of every parameter group -> its values then.
        version: tabweave version that wrote it.
        format: Number of what the stage wrote then; None in records of old versions.
    """

    dataset: str
    stage: str
    content: str
    inputs: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    format: int | None = None

    @staticmethod
    def path_for(artifact: Path) -> Path:
        """Where the record of an artifact lies: beside it."""
        return artifact.with_name(artifact.name + PROVENANCE_SUFFIX)

    def write(self, artifact: Path) -> None:
        """Writes the record beside `artifact`."""
        write_json(self.path_for(artifact), asdict(self))

    @classmethod
    def read(cls, artifact: Path) -> Provenance | None:
        """The record beside `artifact`, or None where there is none.

        Raises:
            ArtifactError: A record is there but is not one.
        """
        path = cls.path_for(artifact)
        if not path.exists():
            return None
        found = read_json(path)
        try:
            return cls(**found)
        except TypeError as error:
            raise ArtifactError(
                f"{path} is not a provenance record ({error}). Re-run the stage that "
                f"writes {artifact.name}."
            ) from error


def differences(old: Any, new: Any, name: str) -> list[str]:
    """Says which values differ, as ``text.max_sen_len: 128 -> 256``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new}, key=str)
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{name}.{key}")
        ]
    return [] if old == new else [f"{name}: {old!r} -> {new!r}"]
