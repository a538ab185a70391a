"""The training loss: cross-entropy or focal, a mean over rows by class weight."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tabweave.errors import TrainingError
from tabweave.training.config import TrainingConfig


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


def training_loss(
    logits: Tensor, labels: Tensor, weights: Tensor | None, config: TrainingConfig
) -> Tensor:
    """Mean loss over the rows, each weighted by its class.

    The focal loss is (1 - p)^gamma * -log p for the probability p of the true class
    (Lin et al., 2017, equation 4); gamma 0 gives cross-entropy.

    Shape:
        logits [B, C], labels [B], weights [C] -> scalar.
    """
    if config.loss == "cross_entropy":
        return functional.cross_entropy(logits, labels, weight=weights)
    entropy = functional.cross_entropy(logits, labels, reduction="none")
    # Bounded away from 0: the slope of x^gamma at 0 is infinite for gamma below 1.
    wrong = (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).eps)
    losses = wrong**config.focal_gamma * entropy
    if weights is None:
        return losses.mean()
    each = weights[labels]
    return (each * losses).sum() / each.sum()
