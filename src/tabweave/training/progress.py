"""What a user sees and keeps of a training run: a progress bar and a history."""

from __future__ import annotations

import math
import resource
import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ProgressBar
from tqdm import tqdm

from tabweave.batches import Batch
from tabweave.errors import TrainingError

MIB = 1024  # ru_maxrss counts KiB on Linux


class TrainingBar(ProgressBar):
    """One bar over all steps, with loss, speed and the metric that decides."""

    def __init__(self, metric: str) -> None:
        super().__init__()
        self.metric, self.shown = metric, True
        self.bar: tqdm[Any] | None = None
        self.rows, self.started = 0, 0.0

    def disable(self) -> None:
        """Lightning switches the bar off on all ranks but the first."""
        self.shown = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the bar."""
        live = sys.stderr.isatty()
        self.bar = tqdm(
            total=int(trainer.estimated_stepping_batches),
            desc="  training",
            unit="step",
            disable=not self.shown,
            mininterval=0.2 if live else 15,
            dynamic_ncols=True,
            file=sys.stderr,
        )
        self.started = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Moves the bar."""
        assert self.bar is not None
        self.rows += len(batch)
        if trainer.global_step % trainer.log_every_n_steps == 0:
            values = trainer.callback_metrics
            shown = {"loss": f"{outputs['loss'].item():.3f}"}
            if self.metric in values:
                shown[self.metric] = f"{values[self.metric].item():.4f}"
            rate = self.rows / (time.monotonic() - self.started)
            shown["rows/s"] = f"{rate:.0f}"
            self.bar.set_postfix(shown, refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Closes the bar."""
        assert self.bar is not None
        self.bar.close()

    def on_exception(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        exception: BaseException,
    ) -> None:
        """Closes the bar: left open, it would draw over the error message."""
        if self.bar is not None:
            self.bar.close()


class History(Callback):
    """Loss, metrics, throughput, seconds and memory at every validation."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._reset()
        self._validation_started = 0.0

    def _reset(self) -> None:
        self.rows, self.tokens, self.loss = 0, 0, 0.0
        self.started = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._reset()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Counts rows, tokens and loss."""
        self.rows += len(batch)
        self.tokens += batch.tokens
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The training loss is {loss} at step {trainer.global_step}, epoch "
                f"{trainer.current_epoch}. Lower training.lr and training.head_lr, or set "
                "training.precision to 32-true."
            )
        self.loss += loss * len(batch)

    def on_validation_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        """Marks where training seconds end."""
        self._validation_started = time.monotonic()

    def on_validation_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        """Writes one record."""
        now = time.monotonic()
        seconds = self._validation_started - self.started
        values = {
            name: value.item()
            for name, value in sorted(trainer.callback_metrics.items())
            if name.startswith("val/")
        }
        self.records.append(
            {
                "epoch": trainer.current_epoch,
                "step": trainer.global_step,
                "train/loss": self.loss / max(1, self.rows),
                **values,
                "rows": self.rows,
                "samples_per_second": self.rows / max(seconds, 1e-9),
                "tokens_per_second": self.tokens / max(seconds, 1e-9),
                "train_seconds": seconds,
                "validation_seconds": now - self._validation_started,
                "peak_memory_mib": peak_memory_mib(),
            }
        )
        self._reset()


def peak_memory_mib() -> float:
    """The largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
