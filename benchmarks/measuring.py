"""Seconds and memory of a process, as the operating system counts them."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KIB_PER_MIB = 1024


class Clock:
    """Wall and CPU seconds of named steps; CPU adds up all threads."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measures the body as the step `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[name] = time.perf_counter() - wall
        self.cpu[name] = time.process_time() - cpu


def peak_mib() -> float:
    """The most memory that this process has held, in MiB."""
    found = _status("/proc/self/status", "VmHWM")
    # Elsewhere the figure may include what the parent held when it forked.
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (usage if found is None else found) / KIB_PER_MIB


def private_mib() -> float | None:
    """Memory of this process that is in no file and no other process, in MiB.

    Mapped pages that were only read do not count: another process shares them. None
    where the operating system does not say.
    """
    found = _status("/proc/self/smaps_rollup", "Private_Dirty")
    return None if found is None else found / KIB_PER_MIB


def _status(path: str, name: str) -> int | None:
    if not Path(path).is_file():
        return None
    for line in Path(path).read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return None
