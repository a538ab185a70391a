"""What is known of an epoch before it starts: steps, checks, and who weighs how much."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback

from tabweave.batching.sampling import EpochBatches, RankBatches
from tabweave.errors import TrainingError
from tabweave.training.config import TrainingConfig


def loss_shares(masses: np.ndarray, accumulate: int) -> np.ndarray:
    """Factor of every batch's mean loss, so that a step takes the mean over its rows.

    A step sums the gradients of `accumulate` batches, each divided by `accumulate`; the
    last step of an epoch may have fewer. Processes average their gradients. A batch of
    half the mass counts half.

    Args:
        masses: Float [batches, processes]: rows, or the sum of their class weights.
        accumulate: Batches of a step in each process.

    Returns:
        Float [batches, processes].

    Example:
        >>> loss_shares(np.array([[8], [8], [4]]), 2).tolist()
        [[1.0], [1.0], [2.0]]
        >>> loss_shares(np.array([[8, 8], [3, 1]]), 1).tolist()
        [[1.0, 1.0], [1.5, 0.5]]
    """
    count, world = masses.shape
    starts = np.arange(0, count, accumulate)
    of_step = np.add.reduceat(masses.sum(1, dtype=np.float64), starts)
    of_batch = np.repeat(of_step, accumulate)[:count, None]
    return masses / of_batch * accumulate * world


class Epochs:
    """The epochs of a run.

    Args:
        batches: The sampler.
        config: Steps, accumulation, validation.
        row_weights: float [rows], class weight of every row; None weighs all alike.
        rank: Which of the processes this is.
        world: Number of processes.
    """

    def __init__(
        self,
        batches: EpochBatches,
        config: TrainingConfig,
        row_weights: np.ndarray | None = None,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.batches = RankBatches(batches, rank, world)
        self.config, self.row_weights = config, row_weights
        self.steps = self._steps()

    def _steps(self) -> list[int]:
        """Steps of every epoch, until training ends."""
        left = self.config.max_steps
        found = []
        for epoch in range(self.config.max_epochs):
            batches = self.batches.count(epoch)
            steps = -(-batches // self.config.accumulate_grad_batches)
            found.append(steps if left is None else min(steps, left))
            if left is not None:
                left -= found[-1]
                if not left:
                    break
        return found

    def shares(self, epoch: int) -> np.ndarray | None:
        """Factor of the mean loss of this process's batches; None where all are 1."""
        accumulate = self.config.accumulate_grad_batches
        if accumulate == 1 and self.batches.world == 1:
            return None
        groups = self.batches.groups(epoch)
        masses = np.array([[self._mass(batch) for batch in group] for group in groups])
        return loss_shares(masses, accumulate)[:, self.batches.rank]

    def _mass(self, batch: np.ndarray) -> float:
        if self.row_weights is None:
            return float(len(batch))
        return float(self.row_weights[batch].sum())

    def between_checks(self, epoch: int) -> int:
        """Batches between two validations of an epoch.

        Raises:
            TrainingError: The epoch would have none.
        """
        batches = self.batches.count(epoch)
        found = self.config.batches_between_checks(batches)
        if found > batches:
            raise TrainingError(
                f"training.val_check_interval is {found} batches, but an epoch has only "
                f"{batches}. Give at most that, or a fraction of an epoch."
            )
        return found

    def check(self) -> None:
        """Refuses a validation interval that is longer than an epoch, before training."""
        for epoch in range(len(self.steps)):
            self.between_checks(epoch)

    @property
    def between_checks_at_least(self) -> int:
        """Batches between two validations, in the epoch where these are the fewest.

        Lightning refuses an interval longer than an epoch when the epoch comes.
        """
        return min(self.between_checks(epoch) for epoch in range(len(self.steps)))

    @property
    def patience(self) -> int:
        """Validations without a better value before training stops."""
        return self.config.patience_in_checks(self.batches.count(0))


class EpochOrder(Callback):
    """Keeps sampler and checks in step with the epoch, and checks the last step."""

    def __init__(self, epochs: Epochs) -> None:
        self.epochs = epochs

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sets the epoch at hand: Lightning does not announce one that goes on."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        """Sets order and checks of this epoch."""
        if trainer.current_epoch >= len(self.epochs.steps):
            return  # a training that is over and is resumed
        self.epochs.batches.epoch = trainer.current_epoch
        trainer.val_check_batch = self.epochs.between_checks(trainer.current_epoch)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Ends training after its last planned step; a validation follows."""
        # Neither the last epoch nor Trainer(max_steps=) ends with one by itself.
        if trainer.global_step == sum(self.epochs.steps):
            trainer.should_stop = True

    def on_train_epoch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        """Sets the next order: Lightning asks its length before the epoch starts."""
        self.epochs.batches.epoch = trainer.current_epoch + 1
