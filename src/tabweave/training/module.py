"""The one LightningModule: loss, optimizer and validation around a plain model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

from tabweave.batching.batches import Batch
from tabweave.batching.sampling import SortedBatches
from tabweave.errors import TrainingError
from tabweave.models.classifier import Classifier
from tabweave.training.checkpoints.checkpoint import IDENTITY
from tabweave.training.epochs import Epochs
from tabweave.training.loss import training_loss
from tabweave.training.optimizer import make_optimizer, make_schedule, parameter_groups
from tabweave.training.processes.distributed import from_first, gathered, rank_and_world
from tabweave.training.processes.strategy import shard


class Values(Protocol):
    """What a metric function gives."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """Name, such as val/auroc -> value, or None where it is undefined."""


Metric = Callable[[np.ndarray, np.ndarray], Values]


@dataclass(frozen=True)
class Validation:
    """The val split, and what is computed of it.

    Attributes:
        batches: Its sampler, for this process.
        labels: int64 [N].
        metric: Probabilities [N, C] and labels [N] -> named values; called once per
            validation, with the whole split, in the order of its file.
    """

    batches: SortedBatches
    labels: np.ndarray
    metric: Metric


class TrainingModule(L.LightningModule):
    """Trains a `Classifier`.

    Args:
        model: The plain model.
        encoder_rates: Learning rate of each text encoder.
        weights: Class weights, or None.
        epochs: The configuration, steps of the epochs, weight of their batches.
        validation: What is validated, and by what.

    Attributes:
        identity: What the training is; every checkpoint says it.
        undefined: Metrics without a value at the last validation.
    """

    def __init__(
        self,
        model: Classifier,
        encoder_rates: Sequence[float],
        weights: Tensor | None,
        epochs: Epochs,
        validation: Validation,
    ) -> None:
        super().__init__()
        self.validation = validation
        self.identity: dict[str, Any] = {}
        self.model = model
        self.encoder_rates = encoder_rates
        self.epochs, self.config = epochs, epochs.config
        self.register_buffer("weights", weights, persistent=False)
        self.undefined: list[str] = []
        self._shares: np.ndarray | None = None
        self._outputs: list[tuple[np.ndarray, np.ndarray]] = []

    def configure_model(self) -> None:
        """Splits the model among the processes, where that is asked for."""
        if self.config.shards and rank_and_world()[1] > 1:
            shard(self.model, self.device_mesh["data_parallel"], self.config.fsdp)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Says of what training the checkpoint is."""
        checkpoint[IDENTITY] = self.identity

    def on_train_start(self) -> None:
        """Looks up the epoch at hand: Lightning does not announce one that goes on."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Looks up what each batch of the epoch weighs in its step."""
        self._shares = self.epochs.shares(self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """The loss to be stepped on, the mean loss of the batch, and its rows.

        A batch that only keeps this process in step with others has no rows.
        """
        logits = self.model(batch).float()
        weights = self.get_buffer("weights") if self.weights is not None else None
        loss = training_loss(logits, batch.labels, weights, self.config)
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        mean, balance = loss.detach(), self.model.auxiliary_loss
        if balance is not None:
            self.log("train/auxiliary_loss", balance.detach(), batch_size=len(batch))
            loss = loss + balance
        share = 1.0 if self._shares is None else float(self._shares[batch_idx])
        if share != 1:
            loss = loss * share
        return {"loss": loss, "mean": mean, "rows": len(batch) if share else 0}

    def on_validation_epoch_start(self) -> None:
        """Forgets the outputs of the last validation."""
        self._outputs.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keeps row numbers and logits until the whole split is there."""
        logits = self.model(batch).float().cpu()
        if batch_idx < self.validation.batches.real:
            self._outputs.append((batch.index.numpy(), logits.numpy()))

    def on_validation_epoch_end(self) -> None:
        """Loss and metrics over the whole val split.

        Raises:
            TrainingError: The metric that decides is undefined.
        """
        values = from_first(self._values(gathered(self._outputs)))
        decisive = self.config.early_stop_metric
        if values.get(decisive) is None:
            known = ", ".join(
                name for name, value in values.items() if value is not None
            )
            raise TrainingError(
                f"training.early_stop_metric {decisive!r} has no value on the val split. "
                f"Metrics with a value: {known}."
            )
        defined = {name: value for name, value in values.items() if value is not None}
        self.undefined = [name for name, value in values.items() if value is None]
        self.log_dict(defined, batch_size=len(self.validation.labels))

    def _values(
        self, outputs: list[list[tuple[np.ndarray, np.ndarray]]]
    ) -> dict[str, float | None]:
        """All values of a validation, computed by the first process from all outputs."""
        if rank_and_world()[0]:
            return {}
        labels = torch.from_numpy(self.validation.labels.copy())
        logits = torch.empty(len(labels), len(self.model.spec.classes))
        for index, found in chain.from_iterable(outputs):
            logits[torch.from_numpy(index)] = torch.from_numpy(found)
        values: dict[str, float | None] = {
            "val/loss": functional.cross_entropy(logits, labels).item()
        }
        probabilities = torch.softmax(logits, 1).numpy()
        return {
            **values,
            **self.validation.metric(probabilities, labels.numpy()).values,
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by norm and logs the norm; Lightning refuses it for a fused optimizer."""
        limit = gradient_clip_val or float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters(), limit)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        self.log("train/gradient_norm", norm)

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer and its schedule, one tick per step."""
        # fp16 scales the loss, and a fused optimizer would unscale it after the clip.
        fused = self.trainer.precision != "16-mixed"
        if self.config.shards and self.config.optimizer == "SGD":
            fused = False  # torch has no fused SGD over parts of weights
        groups = parameter_groups(self.model, self.config, self.encoder_rates)
        optimizer = make_optimizer(groups, self.config, fused=fused)
        schedule = make_schedule(optimizer, self.config, self.epochs.steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
