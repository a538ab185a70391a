"""Imported by the server that ranks are forked from, and by nothing else.

A signal to a whole group of processes, SIGTERM of a service manager or SIGHUP of a terminal
that closes, must not end the server: the launcher would take all ranks for dead before they
have saved. The server ends when its launcher is gone. What it forks hears both as ever.
"""

from __future__ import annotations

import os
import signal

SERVER = os.getpid()
PASSED_BY = (signal.SIGTERM, signal.SIGHUP)


def _hear() -> None:
    # A rank's own children inherit this function, but have the rank's handlers.
    if os.getppid() == SERVER:
        for number in PASSED_BY:
            signal.signal(number, signal.SIG_DFL)


for _number in PASSED_BY:
    signal.signal(_number, signal.SIG_IGN)
os.register_at_fork(after_in_child=_hear)
