"""Imported by the server that ranks are forked from, and by nothing else.

SIGTERM to a whole group of processes, as a terminal or a service manager sends it, must
not end the server: the launcher would take all ranks for dead before they have saved. The
server ends when its launcher is gone. What it forks hears SIGTERM as ever.
"""

from __future__ import annotations

import os
import signal


def _hear() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=_hear)
