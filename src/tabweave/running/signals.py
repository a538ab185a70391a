"""SIGTERM, SIGHUP and Ctrl-C: a command ends within seconds and says how to go on.

The first signal raises `Interrupted` in the main thread: on its way up, whatever was being
written is removed. Python hears a signal only between two of its own steps, and a call into
a library may take minutes, or swallow the error. Beside it a thread therefore counts: the
system tells it of every signal at once, and after `LIMIT_S` it removes what is half-written
and ends the process. A second signal ends it at once.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from tabweave.running.run_locks import release_all
from tabweave.storage.artifacts import remove_unfinished
from tabweave.storage.processes import typed_command

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LIMIT_S = 4.0
"""Seconds that the main thread gets to leave by itself."""
SAME_SIGNAL_S = 1.0
"""Seconds in which a signal that comes twice is one: `timeout` sends it to the process and
then to its group."""
WAKE = 255
"""Byte that no signal has: something changed, look again."""


def heeded(number: int) -> bool:
    """Whether a signal means this process: Ctrl-C and SIGHUP may be ignored on purpose.

    `nohup` and `command &` ask for it. A process that ignores SIGTERM only has that from
    the one that started it, while who sends it wants the end.
    """
    return number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN


class Interrupted(SystemExit):
    """A signal ends the process; the exit code is 128 and the signal's number.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class _Watch:
    """The handlers, and the thread that counts.

    Attributes:
        lines: How to go on, of every context that is open, the innermost last.
        number: The signal that came first, or None.
    """

    def __init__(self) -> None:
        self.lines: list[Callable[[], str]] = []
        self.number: int | None = None
        self.since = 0.0
        self.said = self._raised = self._over = False
        self.before: dict[int, Any] = {}
        self._wakeup = -1
        self._thread = threading.Thread(target=self._count, daemon=True, name="signals")

    def start(self) -> None:
        """Takes the signals over that are heeded."""
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread.start()
        atexit.register(self._leave)  # early, so that it comes after those of libraries
        for number in SIGNALS:
            if heeded(number):
                self.before[number] = signal.signal(number, self._on_signal)

    def stop(self) -> None:
        """Puts back what was there before."""
        self.put_back()
        atexit.unregister(self._leave)
        signal.set_wakeup_fd(self._wakeup)
        self._over = True
        os.write(self._write, bytes([WAKE]))
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def put_back(self) -> None:
        """Puts back the handlers that are still ours."""
        for number, handler in self.before.items():
            if self._hears(number):
                signal.signal(number, handler)

    def begin(self, number: int) -> None:
        """Begins to count, unless it has begun."""
        if self.number is None:
            self.number, self.since = number, time.monotonic()
            with suppress(OSError):
                os.write(self._write, bytes([WAKE]))

    def say(self, number: int) -> None:
        """Tells the user, once, what happened and how to go on."""
        if self.said:
            return
        self.said = True
        name = signal.Signals(number).name
        line = f"Ended by {'Ctrl-C' if number == signal.SIGINT else name}."
        with suppress(Exception):  # a run that is not set up yet has nothing to say
            line = f"{line} {self.lines[-1]()}"
        # Not through sys.stderr: the thread that was interrupted may hold its lock. A
        # progress bar may be in the way.
        start = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""
        with suppress(OSError):
            os.write(2, f"{start}{line}\n".encode())

    def _leave(self) -> None:
        # Taking apart all that PyTorch has loaded can take longer than LIMIT_S.
        if self.number is not None:
            _end_children()  # nobody else will: multiprocessing may have been loaded first
            with suppress(OSError):
                remove_unfinished()  # the signal may have come while that was going on
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            os._exit(128 + self.number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.begin(number)
        if not self._raised:
            self._raised = True
            raise Interrupted(number)

    def _hears(self, number: int) -> bool:
        # Compared as values: every look at a method makes a new one.
        return signal.getsignal(number) == self._on_signal

    def _count(self) -> None:
        while not self._over:
            left = None
            if self.number is not None:
                left = max(0.0, self.since + LIMIT_S - time.monotonic())
            if not select.select([self._read], [], [], left)[0]:
                assert self.number is not None
                end_now(self.number)
            for number in os.read(self._read, 256):
                # A training has handlers of its own, and saves first.
                if number != WAKE and self._hears(number):
                    self._heard(number)

    def _heard(self, number: int) -> None:
        if self.number is None:
            self.begin(number)
        elif time.monotonic() - self.since > SAME_SIGNAL_S:
            end_now(number)


_watches: list[_Watch] = []  # that of this process, while a context is open


@contextmanager
def interruptible(go_on: Callable[[], str]) -> Iterator[None]:
    """Lets SIGTERM, SIGHUP and Ctrl-C end what is done inside, and say how to go on.

    May be nested: the innermost context says how. In another thread than the main one,
    where signals cannot be listened to, it does nothing.

    Args:
        go_on: Gives a sentence such as "Run again: ..."; called when a signal came.

    Raises:
        Interrupted: A signal came; the exit code is 143, 129 or 130.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _watching() as watch:
        watch.lines.append(go_on)
        try:
            yield
        except BaseException as error:
            number = _number(error, watch)
            if number is None:
                raise
            watch.say(number)
            raise Interrupted(number) from None
        else:
            if watch.number is not None:  # a library has swallowed the error
                watch.say(watch.number)
                raise Interrupted(watch.number)
        finally:
            watch.lines.pop()


@contextmanager
def _watching() -> Iterator[_Watch]:
    if _watches:
        yield _watches[0]
        return
    watch = _Watch()
    _watches.append(watch)
    try:
        watch.start()
        yield watch
    finally:
        # After a signal the thread counts on: the interpreter has yet to end, and waits
        # for other threads.
        if watch.number is None:
            watch.stop()
            _watches.clear()


def _number(error: BaseException, watch: _Watch) -> int | None:
    """The signal that an error is of, or None; a library may have made it another one."""
    if isinstance(error, Interrupted):
        return error.number
    if watch.number is None and isinstance(error, KeyboardInterrupt):
        return int(signal.SIGINT)
    return watch.number


def interrupt(number: int) -> NoReturn:
    """Ends this process because of a signal that the caller has listened to itself.

    Raises:
        Interrupted: Always.
    """
    for watch in _watches:
        watch.begin(number)
    raise Interrupted(number)


def raise_heard() -> None:
    """Raises again for a signal whose error a library has swallowed.

    Raises:
        Interrupted: A signal has come to this process.
    """
    for watch in _watches:
        if watch.number is not None:
            raise Interrupted(watch.number)


def end_now(number: int) -> NoReturn:
    """Removes what is half-written, says how to go on, and ends the process at once."""
    try:
        with suppress(OSError):
            remove_unfinished()
        _end_children()
        for watch in _watches:
            watch.say(number)
        with suppress(OSError):
            release_all()  # last: from here on another run may write
    finally:
        os._exit(128 + number)


def _end_children() -> None:
    # `active_children` would wait for each; the main thread may be inside it.
    for child in list(vars(multiprocessing.process)["_children"]):
        with suppress(OSError, ValueError):
            child.kill()


def _forget() -> None:
    """A process that was forked listens for itself, and does not wake its parent."""
    for watch in _watches:
        signal.set_wakeup_fd(-1)
        watch.put_back()
    _watches.clear()


os.register_at_fork(after_in_child=_forget)


def run_again() -> str:
    """The sentence for a command that begins anew."""
    return f"Nothing is half-written. Run again: {typed_command()}"
