"""The one LightningModule: loss, optimizer and validation around a plain model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tabweave.batches import Batch
from tabweave.errors import TrainingError
from tabweave.models.classifier import Classifier
from tabweave.training.epochs import Epochs
from tabweave.training.loss import training_loss
from tabweave.training.optimizer import make_optimizer, make_schedule, parameter_groups


class Values(Protocol):
    """What a metric function gives."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """Name, such as val/auroc -> value, or None where it is undefined."""


Metric = Callable[[np.ndarray, np.ndarray], Values]


class TrainingModule(L.LightningModule):
    """Trains a `Classifier`.

    Args:
        model: The plain model.
        encoder_rates: Learning rate of each text encoder.
        weights: Class weights, or None.
        metric: Probabilities [N, C] and labels [N] -> named values; called once per
            validation, with the whole val split.
        epochs: The configuration, steps of the epochs, weight of their batches.

    Attributes:
        undefined: Metrics without a value at the last validation.
    """

    def __init__(
        self,
        model: Classifier,
        encoder_rates: Sequence[float],
        weights: Tensor | None,
        metric: Metric,
        epochs: Epochs,
    ) -> None:
        super().__init__()
        self.model, self.metric = model, metric
        self.encoder_rates = encoder_rates
        self.epochs, self.config = epochs, epochs.config
        self.register_buffer("weights", weights, persistent=False)
        self.undefined: list[str] = []
        self._shares: np.ndarray | None = None
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self) -> None:
        """Looks up what each batch of the epoch weighs in its step."""
        self._shares = self.epochs.shares(self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The loss to be stepped on, and the mean loss over the rows of the batch."""
        logits = self.model(batch).float()
        weights = self.get_buffer("weights") if self.weights is not None else None
        loss = training_loss(logits, batch.labels, weights, self.config)
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        mean, balance = loss.detach(), self.model.auxiliary_loss
        if balance is not None:
            self.log("train/auxiliary_loss", balance.detach(), batch_size=len(batch))
            loss = loss + balance
        if self._shares is not None:
            loss = loss * float(self._shares[batch_idx])
        return {"loss": loss, "mean": mean}

    def on_validation_epoch_start(self) -> None:
        """Forgets the outputs of the last validation."""
        self._outputs.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keeps logits and labels until the whole split is there."""
        self._outputs.append((self.model(batch).float().cpu(), batch.labels.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Loss and metrics over the whole val split.

        Raises:
            TrainingError: The metric that decides is undefined.
        """
        logits = torch.cat([logits for logits, _ in self._outputs])
        labels = torch.cat([labels for _, labels in self._outputs])
        values: dict[str, float | None] = {
            "val/loss": functional.cross_entropy(logits, labels).item()
        }
        probabilities = torch.softmax(logits, 1).numpy()
        values |= self.metric(probabilities, labels.numpy()).values
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
        self.log_dict(defined, batch_size=len(labels))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by norm and logs the norm; Lightning refuses it for a fused optimizer."""
        limit = gradient_clip_val or float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters(), limit)
        self.log("train/gradient_norm", norm)

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer and its schedule, one tick per step."""
        # fp16 scales the loss, and a fused optimizer would unscale it after the clip.
        fused = self.trainer.precision != "16-mixed"
        groups = parameter_groups(self.model, self.config, self.encoder_rates)
        optimizer = make_optimizer(groups, self.config, fused=fused)
        schedule = make_schedule(optimizer, self.config, self.epochs.steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
