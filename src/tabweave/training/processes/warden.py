"""Watches the processes of a launch: when one is in trouble, none of them stays.

A process that waits in a collective for one that is stopped or stuck reacts to nothing.
The warden asks for the stacks of all, gives them time to leave, and kills the rest.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tabweave.storage.processes import is_running
from tabweave.training.processes.notes import read_notes

DUMP = signal.SIGUSR1
"""Signal that lets a process write the stacks of its threads to its log."""
POLL_S = 0.2
STACKS_AFTER_S = 2.0
"""Seconds after the first sign of trouble in which processes may leave by themselves."""


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return not Path("/proc").exists() and is_running(pid)
    except ProcessLookupError:
        return False
    return state.rpartition(")")[2].split()[0] not in {"Z", "X"}


class Warden:
    """A thread beside the launcher.

    Args:
        notes: Folder in which the processes leave word.
        grace_s: Seconds from the first sign of trouble until the rest is killed.

    Attributes:
        gone: Numbers of the processes that were gone at the first sign of trouble.
        stuck: Numbers of the processes that did not leave by themselves.
    """

    def __init__(self, notes: Path, grace_s: float) -> None:
        self.notes, self.grace_s = notes, grace_s
        self.gone: list[int] = []
        self.stuck: list[int] = []
        self._processes: dict[int | None, BaseProcess] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="warden")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        pids = {note["pid"] for note in read_notes(self.notes)}
        for process in multiprocessing.active_children():
            if process.pid in pids:
                process.kill()
                process.join()

    def exit_code(self, pid: int) -> int | None:
        """How a process ended, where that is known; call it when the launch is over."""
        process = self._processes.get(pid)
        return None if process is None else process.exitcode

    def _watch(self) -> None:
        while not self._over.wait(POLL_S):
            # Not active_children(): it collects the ended, and so does the launcher in
            # its own thread; an exit code can be read once.
            for process in list(vars(multiprocessing.process)["_children"]):
                self._processes[process.pid] = process
            notes = read_notes(self.notes)
            if any(_in_trouble(note) for note in notes):
                self.gone = [n["rank"] for n in notes if not alive(n["pid"])]
                self._clear()
                return

    def _clear(self) -> None:
        began = time.monotonic()
        if self._over.wait(STACKS_AFTER_S):
            return
        left = self._left()
        self.stuck = [note["rank"] for note in left]
        for note in left:
            _send(note["pid"], signal.SIGCONT, DUMP)
        self._over.wait(max(0.0, self.grace_s - (time.monotonic() - began)))
        for note in self._left():
            _send(note["pid"], signal.SIGKILL)

    def _left(self) -> list[dict[str, Any]]:
        return [note for note in read_notes(self.notes) if alive(note["pid"])]


def _in_trouble(note: dict[str, Any]) -> bool:
    return note["state"] == "failed" or (
        note["state"] == "started" and not alive(note["pid"])
    )


def _send(pid: int, *signals: int) -> None:
    with suppress(ProcessLookupError):
        for number in signals:
            os.kill(pid, number)
