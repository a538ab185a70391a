"""SIGTERM: all processes save at the same step and leave with exit code 143."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from tabweave.training.checkpoint import LAST
from tabweave.training.distributed import Agreement, together
from tabweave.training.notes import TERMINATED

SAME_SIGNAL_S = 3.0
"""Seconds in which one signal may come twice, from outside and from the launcher."""


class LastCheckpoint(Callback):
    """Writes ``last.ckpt`` between two steps.

    After a validation, every so many steps, at the end, and when SIGTERM came to any of
    the processes: then training ends. Between steps there is nothing half done, so that a
    resumed training gives the same bits.

    Args:
        folder: Folder of the checkpoints.
        every: Steps between two writings, or None.
        timeout_s: Seconds after which a process that does not answer is given up.
    """

    def __init__(self, folder: Path, every: int | None, timeout_s: int) -> None:
        self.path = folder / LAST
        self.every, self.timeout_s = every, timeout_s
        self._due = self._asked = False
        self._asked_at = 0.0
        self._step = 0
        self._agreement: Agreement | None = None
        self._before: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listens to SIGTERM: Lightning's own handler waits for others inside itself."""
        self._agreement = Agreement(self.timeout_s)
        self._step = trainer.global_step
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked and (not together() or now - self._asked_at > SAME_SIGNAL_S):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not self._asked:
            self._asked, self._asked_at = True, now

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
            SystemExit: SIGTERM came; the checkpoint is written.
        """
        if batch_idx % trainer.accumulate_grad_batches:
            return
        assert self._agreement is not None
        ends = self._agreement.any(self._asked)
        if ends or self._due:
            self._write(trainer)
        if ends:
            raise SystemExit(TERMINATED)

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
            SystemExit: SIGTERM came; the checkpoint is written.
        """
        assert self._agreement is not None
        ends = self._agreement.any(self._asked)
        self._write(trainer)
        if ends:
            raise SystemExit(TERMINATED)

    def _write(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._due = False

    def teardown(
        self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str
    ) -> None:
        """Puts the handler back."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None
