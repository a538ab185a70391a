"""SIGTERM and SIGHUP: all processes save at the same step, then leave."""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import lightning as L
from lightning.pytorch.callbacks import Callback

from tabweave.running import signals
from tabweave.training.checkpoints.checkpoint import LAST
from tabweave.training.processes.distributed import Agreement, together
from tabweave.training.processes.notes import TERMINATED

logger = logging.getLogger(__name__)

SAVING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that let a training save before it ends."""
SAME_SIGNAL_S = 3.0
"""Seconds in which one signal may come twice, from outside and from the launcher."""
VALIDATION_S = 8.0
"""Seconds after a signal in which a validation may come to its end."""


class LastCheckpoint(Callback):
    """Writes ``last.ckpt`` between two steps.

    After a validation, every so many steps, at the end, and when one of `SAVING` came to
    any of the processes: then training ends. Between steps there is nothing half done, so
    that a resumed training gives the same bits.

    Args:
        folder: Folder of the checkpoints.
        every: Steps between two writings, or None.
        timeout_s: Seconds after which a process that does not answer is given up.
    """

    def __init__(self, folder: Path, every: int | None, timeout_s: int) -> None:
        self.path = folder / LAST
        self.every, self.timeout_s = every, timeout_s
        self._due = False
        self._asked: int | None = None
        self._asked_at = 0.0
        self._step = 0
        self._agreement: Agreement | None = None
        self._before: dict[signal.Signals, Any] = {}

    def setup(
        self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str
    ) -> None:
        """Keeps what handles the signals before Lightning does."""
        if threading.current_thread() is threading.main_thread():
            heeded = filter(signals.heeded, SAVING)
            self._before = {number: signal.getsignal(number) for number in heeded}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listens: Lightning's own handler waits for others inside itself."""
        self._agreement = Agreement(self.timeout_s)
        self._step = trainer.global_step
        for number in self._before:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        same = SAME_SIGNAL_S if together() else signals.SAME_SIGNAL_S
        if self._asked is None:
            self._asked, self._asked_at = number, now
        elif now - self._asked_at > same:
            signals.end_now(number)

    def on_validation_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        """The next boundary between steps is one to write at."""
        self._due = True

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Writes, if it is time to.

        Raises:
            SystemExit: A signal came; the checkpoint is written, unless it was Ctrl-C.
        """
        signals.raise_heard()
        if batch_idx % trainer.accumulate_grad_batches:
            return
        ends = self._ends()
        if ends or self._due:
            self._write(trainer)
        if ends:
            self._leave()

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any
    ) -> None:
        """Leaves a long validation, in which nothing can be saved.

        Of several processes, the launcher ends those that stay.

        Raises:
            SystemExit: A signal came, some time ago.
        """
        waited = time.monotonic() - self._asked_at
        if self._asked is not None and waited > VALIDATION_S and not together():
            logger.warning(
                "Ended in a validation, where nothing can be saved; last.ckpt is the one "
                "of before."
            )
            self._leave()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Counts steps; the last one of an epoch may have fewer batches."""
        if self.every and trainer.global_step != self._step:
            self._step = trainer.global_step
            self._due = self._due or self._step % self.every == 0

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the end, from which more epochs can follow.

        Raises:
            SystemExit: A signal came; the checkpoint is written.
        """
        ends = self._ends()
        self._write(trainer)
        if ends:
            self._leave()
        if not together():  # a launcher hears what comes later
            self._put_back()

    def _ends(self) -> bool:
        assert self._agreement is not None
        return self._agreement.any(self._asked is not None)

    def _leave(self) -> NoReturn:
        # Another process may have been asked, but all leave alike.
        signals.interrupt(TERMINATED - 128 if together() else self._asked or 0)

    def _write(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._due = False

    def teardown(
        self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str
    ) -> None:
        """Puts back what handled the signals before Lightning did."""
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
