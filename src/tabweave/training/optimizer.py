"""Optimizers: which weights learn at which rate, and how the rates change by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from tabweave.models.classifier import Classifier
from tabweave.training.config import TrainingConfig

HEAD = "head"


def decaying(model: nn.Module) -> set[int]:
    """Identities of the weights that multiply inputs: those that weight decay shrinks.

    Biases, norms and learned vectors, such as the one of a missing text, are not.
    """
    matrices = nn.Linear | nn.Embedding | nn.Conv1d
    found = {id(m.weight) for m in model.modules() if isinstance(m, matrices)}
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            named = module.named_parameters(recurse=False)
            found |= {id(p) for name, p in named if name.startswith("weight")}
    return found


def encoder_rates(
    model: Classifier, config: TrainingConfig, rates: Sequence[float]
) -> dict[int, tuple[str, float]]:
    """Identity of every weight of a text encoder -> name of its group and its rate.

    With `layer_decay` d, the layer that has n layers above it learns at rate * d^n.
    """
    found: dict[int, tuple[str, float]] = {}
    fields = zip(model.spec.text, model.text_encoders, rates, strict=True)
    for field, encoder, rate in fields:
        layers = encoder.layers()
        for number, layer in enumerate(layers):
            above = len(layers) - 1 - number
            name, own = f"text/{field.name}", rate
            if config.layer_decay is not None:
                name, own = f"{name}/{number}", rate * config.layer_decay**above
            found |= {id(parameter): (name, own) for parameter in layer}
    return found


def parameter_groups(
    model: Classifier, config: TrainingConfig, rates: Sequence[float]
) -> list[dict[str, Any]]:
    """Optimizer groups of the weights that are trained.

    Args:
        model: The model.
        config: Rates and weight decay.
        rates: Learning rate of each text encoder; the rest learns at `config.head_lr`.
    """
    shrinks = decaying(model)
    own = encoder_rates(model, config, rates)
    groups: dict[tuple[str, float], dict[str, Any]] = {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        name, rate = own.get(id(parameter), (HEAD, config.head_lr))
        decay = config.weight_decay if id(parameter) in shrinks else 0.0
        group = groups.setdefault(
            (name, decay),
            {"params": [], "name": name, "lr": rate, "weight_decay": decay},
        )
        group["params"].append(parameter)
    return list(groups.values())


def make_optimizer(
    groups: list[dict[str, Any]], config: TrainingConfig, *, fused: bool
) -> torch.optim.Optimizer:
    """The optimizer asked for."""
    if config.optimizer == "SGD":
        return torch.optim.SGD(groups, momentum=config.momentum, fused=fused)
    kind = torch.optim.AdamW if config.optimizer == "AdamW" else torch.optim.Adam
    return kind(groups, eps=config.adam_epsilon, fused=fused)


def rate_factors(
    config: TrainingConfig, epoch_steps: Sequence[int]
) -> Callable[[int], float]:
    """Step, from 0 -> what the learning rates are multiplied by.

    The rates rise linearly to 1 over the warm-up. Then they fall linearly to 0 after the
    last step; or, without a scheduler, by `lr_decay` with each epoch.

    Args:
        config: The schedule.
        epoch_steps: Steps of each epoch, cut off where training ends.
    """
    total = sum(epoch_steps)
    warmup = config.warmup(total)
    ends = np.array([*accumulate(epoch_steps)])
    kept = 1 - (config.lr_decay or 0.0)

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / (warmup + 1))
        if not config.run_scheduler:
            epoch = int(np.searchsorted(ends, step, side="right"))
            return rise * kept**epoch
        if step < warmup:
            return rise
        return max(0.0, (total - step) / max(1, total - warmup))

    return factor


def make_schedule(
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    epoch_steps: Sequence[int],
) -> LambdaLR:
    """The schedule of an optimizer, one tick per step."""
    return LambdaLR(optimizer, rate_factors(config, epoch_steps))


def rates_by_name(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, float]]:
    """Name and present learning rate of every group; equal names have equal rates."""
    seen = set()
    for group in optimizer.param_groups:
        if group["name"] not in seen:
            seen.add(group["name"])
            yield group["name"], group["lr"]
