"""What the processes of a launch leave word of: one small file each."""

from __future__ import annotations

import os
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from tabweave.errors import TabweaveError
from tabweave.storage.artifacts import read_json, write_json

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a process that SIGTERM ended when it had saved."""
LOST = (
    # What gloo, NCCL and the store say of a process that is gone or does not answer.
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "wait timeout",
    "gloo/transport",
    "NCCL",
)


class Note:
    """The file of one process.

    Args:
        folder: Folder of the launch on this machine.
        local: Number of the process on this machine.
        rank: Number among all processes.
    """

    def __init__(self, folder: Path, local: int, rank: int) -> None:
        self.path = folder / f"{local}.json"
        self.base = {"rank": rank, "pid": os.getpid()}

    def started(self) -> None:
        """The process is there."""
        write_json(self.path, self.base | {"state": "started"})

    def done(self) -> None:
        """The process has done its work."""
        write_json(self.path, self.base | {"state": "done"})

    def failed(self, error: BaseException) -> None:
        """The process ends with an error; call it where the error is caught."""
        expected = isinstance(error, TabweaveError)
        lost = isinstance(error, RuntimeError) and any(m in str(error) for m in LOST)
        word = {
            "state": "failed",
            "time": time.time(),
            "kind": type(error).__name__,
            "message": str(error),
            "exit_code": error.code if isinstance(error, SystemExit) else 1,
            "expected": expected,
            # A process that lost another one is not the one to blame.
            "lost_another": lost and not expected,
            "traceback": traceback.format_exc(),
        }
        write_json(self.path, self.base | word)


def read_notes(folder: Path) -> list[dict[str, Any]]:
    """What the processes of this machine left word of, by their numbers."""
    found = [read_json(path) for path in folder.glob("*.json")]
    return sorted(found, key=lambda note: note["rank"])
