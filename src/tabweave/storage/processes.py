"""Which process this is, among all machines and containers that may share a disk.

Process numbers say nothing of another machine, of an earlier boot, or of a container
that counts its own processes. A trace of a process is only judged where it was made.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection, parent_process
from pathlib import Path
from signal import SIGKILL
from typing import Self

PATTERN = r"[0-9a-f]{8}-[0-9a-f]{8}-\d{1,9}"
"""What `str` of a `Process` looks like; names of files may hold it."""
MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Process:
    """A process anywhere.

    Attributes:
        host: Hash of the machine's name and id.
        boot: Hash of the boot and of the namespace in which processes are counted.
        number: Its number there.
    """

    host: str
    boot: str
    number: int

    @classmethod
    def here(cls) -> Self:
        """This process."""
        return cls(_host(), _boot(), os.getpid())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The process that `str` was taken of.

        Raises:
            ValueError: It is no such text.
        """
        host, boot, number = text.split("-")
        return cls(host, boot, int(number))

    def __str__(self) -> str:
        return f"{self.host}-{self.boot}-{self.number}"

    def has_ended(self, last_seen: float) -> bool:
        """Whether it certainly does not run any more.

        Never of another machine, nor of another container on this one: what is shared
        with them says nothing of whether their processes run.

        Args:
            last_seen: Time of its last trace, in seconds since the epoch. A trace from
                before this machine started is one of an earlier boot.
        """
        if self.host != _host():
            return False
        if self.boot != _boot():
            return last_seen < _booted_at()
        return not is_running(self.number)


def is_running(number: int) -> bool:
    """Whether there is a process of that number here."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def die_with_parent() -> None:
    """Kills this process as soon as the one that started it with Python is gone.

    A process of its own, such as a command, has none and goes on.
    """
    _watch_parent(os.getpid())


@cache
def _watch_parent(of: int) -> None:
    """Once for each process: a copy of one that is watched is not."""
    launcher = parent_process()
    if launcher is None:
        return

    def watch() -> None:
        connection.wait([launcher.sentinel])
        os.kill(of, SIGKILL)

    threading.Thread(target=watch, name="watches the launcher", daemon=True).start()


@cache
def _host() -> str:
    machine = next(filter(None, map(_content, MACHINE_IDS)), "")
    return _hash(socket.gethostname(), machine)


@cache
def _boot() -> str:
    """Where the system does not tell, one for all: then numbers alone decide."""
    try:
        namespace = str(NAMESPACE.stat().st_ino)
    except OSError:
        namespace = ""
    return _hash(_content(BOOT_ID), namespace)


def _booted_at() -> float:
    """When this machine started, or the beginning of time where it does not tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() - time.clock_gettime(clock) if clock else 0.0


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        return ""


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:8]


def typed_program() -> str:
    """The program of this process as the user typed it: "kedro", or "python -m kedro"."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return shlex.quote(Path(*sys.argv[:1]).name or "python")


def typed_command() -> str:
    """The command of this process as the user typed it."""
    return f"{typed_program()} {shlex.join(sys.argv[1:])}".rstrip()
