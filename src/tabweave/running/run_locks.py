"""Two runs at once never write the same files, and none reads what another writes.

Beside each artifact of a run lies a hidden file, ``.<name>.lock``, locked by the system
for as long as the run lives: whoever writes holds it alone, readers share it. However a
run ends, the system lets go of the lock. In the file stands who holds it, for messages;
the file goes with its last holder, and one that a killed run left means nothing.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabweave.errors import InUseError, shorten
from tabweave.storage.artifacts import naming_the_disk
from tabweave.storage.processes import Process, typed_command

logger = logging.getLogger(__name__)

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
"""What a file system says that cannot lock files."""
READ_ONLY = (PermissionError, FileNotFoundError, NotADirectoryError)
_at_work: set[RunLocks] = set()  # those of this process that hold something
NOTE_S = 0.5
"""Seconds that a holder may take to write down who it is."""


@dataclass(frozen=True)
class Claim:
    """What a run does with one artifact while it lasts.

    Attributes:
        lock: The file that stands for the artifact.
        path: The artifact, for messages.
        alone: Whether it is written; else it is read, by any number of runs.
    """

    lock: Path
    path: Path
    alone: bool


def writing(path: Path) -> Claim:
    """A file, or a folder that is replaced whole."""
    return Claim(_beside(path), path, alone=True)


def above(path: Path) -> Iterator[Claim]:
    """The folders above a file that a run holds just now: it may replace them whole."""
    parent = path.parent.resolve()
    for folder in (parent, *parent.parents):
        claim = reading(folder)
        # Not Path.exists: a name may be too long to have anything beside it.
        if os.path.exists(claim.lock):
            yield claim


def filling(folder: Path) -> Claim:
    """A folder that is written file by file: only the folder itself need be writable."""
    return Claim(folder.resolve() / ".lock", folder, alone=True)


def reading(path: Path) -> Claim:
    """A file or folder that another run may write."""
    return Claim(_beside(path), path, alone=False)


def _beside(path: Path) -> Path:
    """Two ways to one folder, such as a link, lead to one lock."""
    return path.parent.resolve() / f".{path.name}.lock"


class RunLocks:
    """The locks of one run. They end with `release`, or with the process."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def hold(self, claims: Iterable[Claim]) -> None:
        """Takes all locks, or none.

        Raises:
            InUseError: Another run holds one of them; the message says who.
            WriteError: There can be no file beside an artifact that is to be written.
        """
        ordered = sorted(claims, key=lambda claim: (claim.lock, claim.alone))
        wanted = {claim.lock: claim for claim in ordered}
        missing: set[Path] = set()
        with ExitStack() as taken:
            # In one order for all: of two runs that start at once, one gets them.
            for claim in wanted.values():
                handle = _taken(claim, taken)
                if handle is None:
                    missing.add(claim.lock.parent)
                else:
                    taken.callback(_let_go, handle, claim.lock, os.getpid())
            self._held = taken.pop_all()
        _at_work.add(self)
        atexit.register(self.release)
        if missing:
            logger.warning(
                "The file system of %s cannot lock files, so two runs at once are not "
                "noticed there. Let only one run write to it at a time.",
                ", ".join(sorted(map(str, missing))),
            )

    def release(self) -> None:
        """Lets go of all."""
        atexit.unregister(self.release)
        _at_work.discard(self)
        self._held.close()


def release_all() -> None:
    """Lets go of all that this process holds; it must end then."""
    for locks in list(_at_work):
        locks.release()


@contextmanager
def locked(claims: Iterable[Claim]) -> Iterator[None]:
    """Holds locks for as long as a block lasts; raises as `RunLocks.hold` does."""
    locks = RunLocks()
    locks.hold(claims)
    try:
        yield
    finally:
        locks.release()


def _taken(claim: Claim, undo: ExitStack) -> int | None:
    """A handle that holds a lock, -1 where none is needed, None where none is possible."""
    while True:
        try:
            handle = _opened(claim, undo)
        except READ_ONLY:
            return -1  # where this run may not write, it need not wait for writers
        try:
            mode = fcntl.LOCK_EX if claim.alone else fcntl.LOCK_SH
            fcntl.flock(handle, mode | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(claim.lock)):
                _note(handle, claim)
                return handle
        except FileNotFoundError:
            pass  # the one who held it has just finished
        except BlockingIOError as error:
            message = _in_use(claim, handle)
            os.close(handle)
            raise InUseError(message) from error
        except OSError as error:
            os.close(handle)
            if error.errno in NO_LOCKS:
                claim.lock.unlink(missing_ok=True)
                return None
            raise
        os.close(handle)


def _opened(claim: Claim, undo: ExitStack) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    if not claim.alone:
        try:
            return os.open(claim.lock, flags, 0o666)
        except OSError as error:
            if error.errno == errno.EROFS:
                raise PermissionError from error
            raise
    with naming_the_disk(claim.path):
        folder = claim.lock.parent
        new = [one for one in (folder, *folder.parents) if not one.exists()]
        for one in reversed(new):
            undo.callback(_remove_empty, one)
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(claim.lock, flags, 0o666)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _note(handle: int, claim: Claim) -> None:
    """Writes into a lock who holds it; what was in one that is held alone is of before."""
    word = {
        "process": str(Process.here()),
        "host": socket.gethostname(),
        "since": time.time(),
        "command": typed_command(),
        "does": "writes" if claim.alone else "reads",
    }
    if claim.alone:
        os.ftruncate(handle, 0)
    with suppress(OSError):  # on a full disk the lock holds without its note
        os.write(handle, f"{json.dumps(word)}\n".encode())


def _let_go(handle: int, lock: Path, owner: int) -> None:
    """Ends a lock, and removes its file unless someone else still reads."""
    if handle < 0:
        return
    if os.getpid() == owner:  # a copy of the process has no say
        with suppress(BlockingIOError, FileNotFoundError, PermissionError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                lock.unlink()
    os.close(handle)


def _in_use(claim: Claim, handle: int) -> str:
    doing = "write" if claim.alone else "read"
    deadline = time.monotonic() + NOTE_S
    while not (holders := _holders(handle)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return "\n".join(
        [
            f"{claim.path} is in use by another run, so this one cannot {doing} it:",
            *holders,
            "Nothing was written. Wait until that run has ended, or stop it. Runs that "
            "write other files, such as those of another environment, may go on at once.",
        ]
    )


def _holders(handle: int) -> list[str]:
    """Who holds a lock and still runs, as far as their notes can be read."""
    found = []
    for line in os.pread(handle, 2**16, 0).splitlines():
        with suppress(ValueError, KeyError, TypeError):
            word = json.loads(line)
            process = Process.parse(word["process"])
            if not process.has_ended(word["since"]):
                found.append(_holder(process, word))
    return found


def _holder(process: Process, word: dict[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(word["since"]))
    host, command = shorten(word["host"]), shorten(word["command"], 200)
    return (
        f"  - process {process.number} on {host} {word['does']} it since {since}, "
        f"started as {command}"
    )
