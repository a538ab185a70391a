"""The one LightningModule: loss, optimizer and validation around a plain model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tabweave.batches import Batch
from tabweave.errors import TrainingError
from tabweave.models.classifier import Classifier
from tabweave.training.config import TrainingConfig


class Values(Protocol):
    """What a metric function gives."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """Name, such as val/auroc -> value, or None where it is undefined."""


Metric = Callable[[np.ndarray, np.ndarray], Values]


def parameter_groups(
    model: Classifier, config: TrainingConfig, encoder_rates: list[float]
) -> list[dict[str, Any]]:
    """Optimizer groups: a rate per text encoder and one for the rest.

    Biases, norms and the learned vectors of missing texts have no weight decay.
    """
    matrices = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    }
    rate = {
        id(p): encoder_rate
        for text, encoder_rate in zip(model.text_encoders, encoder_rates, strict=True)
        for p in text.encoder.parameters()
    }
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        lr = rate.get(id(parameter), config.head_lr)
        decay = config.weight_decay if id(parameter) in matrices else 0.0
        group = groups.setdefault(
            (lr, decay), {"params": [], "names": [], "lr": lr, "weight_decay": decay}
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return [
        {key: value for key, value in group.items() if key != "names"}
        for group in groups.values()
    ]


def class_weights(config: TrainingConfig, counts: np.ndarray) -> Tensor | None:
    """Weight of each class in the loss, mean 1 over the rows when "balanced".

    Args:
        config: Holds the weights, "balanced" or None.
        counts: int64 [classes], rows of each class in train.

    Raises:
        TrainingError: The number of weights is not the number of classes, or a class has
            no row to balance by.
    """
    if config.class_weights is None:
        return None
    if config.class_weights == "balanced":
        if (counts == 0).any():
            raise TrainingError(
                "training.class_weights 'balanced' needs rows of every class in train; "
                f"the counts are {counts.tolist()}. Give the weights as a list."
            )
        return torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32)
    if len(config.class_weights) != len(counts):
        raise TrainingError(
            f"class_weights must match num_classes: training.class_weights has "
            f"{len(config.class_weights)} entries, but there are {len(counts)} classes."
        )
    return torch.tensor(config.class_weights, dtype=torch.float32)


class TrainingModule(L.LightningModule):
    """Trains a `Classifier`.

    Args:
        model: The plain model.
        config: Optimizer and schedule.
        encoder_rates: Learning rate of each text encoder.
        weights: Class weights, or None.
        metric: Probabilities [N, C] and labels [N] -> named values; called once per
            validation, with the whole val split.
    """

    def __init__(
        self,
        model: Classifier,
        config: TrainingConfig,
        encoder_rates: list[float],
        weights: Tensor | None,
        metric: Metric,
    ) -> None:
        super().__init__()
        self.model, self.config, self.metric = model, config, metric
        self.encoder_rates = encoder_rates
        self.register_buffer("weights", weights, persistent=False)
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy, the mean over rows."""
        logits = self.model(batch).float()
        weights = self.get_buffer("weights") if self.weights is not None else None
        loss = functional.cross_entropy(logits, batch.labels, weight=weights)
        self.log("train/loss", loss.detach(), batch_size=len(batch))
        return loss

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
        self.log_dict(defined, batch_size=len(labels))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by norm and logs the norm; also for a fused optimizer without a scaler."""
        if self._scales_loss():
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        limit = gradient_clip_val or float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters(), limit)
        self.log("train/gradient_norm", norm)

    def _scales_loss(self) -> bool:
        """fp16 scales the loss, and a fused optimizer would unscale it behind the clip."""
        return self.trainer.precision == "16-mixed"

    def configure_optimizers(self) -> dict[str, Any]:
        """Fused AdamW, warm-up, then linear decay or a constant rate."""
        groups = parameter_groups(self.model, self.config, self.encoder_rates)
        optimizer = torch.optim.AdamW(
            groups, eps=self.config.adam_epsilon, fused=not self._scales_loss()
        )
        total = int(self.trainer.estimated_stepping_batches)
        warmup = self.config.warmup(total)
        decays = self.config.run_scheduler

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            left = (total - step) / max(1, total - warmup)
            return max(0.0, left) if decays else 1.0

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
