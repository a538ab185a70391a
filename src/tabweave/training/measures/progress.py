"""What a user sees of a training run while it goes on: a progress bar."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from tabweave.batching.batches import Batch


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
            total=sum(pl_module.epochs.steps),
            initial=trainer.global_step,
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
        self.rows += outputs["rows"] * trainer.world_size
        if trainer.global_step % trainer.log_every_n_steps == 0:
            values = trainer.callback_metrics
            shown = {"loss": f"{outputs['mean'].item():.3f}"}
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
