"""Averaged weights: an exponential moving average that validation and the user get."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

Average = Callable[
    [
        tuple[Tensor, ...] | list[Tensor],
        tuple[Tensor, ...] | list[Tensor],
        Tensor | int,
    ],
    None,
]


def moving_average(decay: float) -> Average:
    """Moves averages towards present weights by 1 - decay, faster in the first steps.

    After n steps the decay is min(decay, (1 + n) / (10 + n)), so that a short run is
    not an average over its random start.
    """

    @torch.no_grad()
    def update(
        averages: tuple[Tensor, ...] | list[Tensor],
        weights: tuple[Tensor, ...] | list[Tensor],
        steps: Tensor | int,
    ) -> None:
        count = int(steps)
        torch._foreach_lerp_(
            averages, weights, 1 - min(decay, (1 + count) / (10 + count))
        )

    return update


class AveragedWeights(WeightAveraging):
    """Keeps the average of the weights over the steps.

    Validation, checkpoints and the trained model have the averaged weights; the next
    step goes on from the plain ones.

    Args:
        decay: Share of the average that a step keeps.
        device: Where training runs; the module is not there yet when this is set up.
    """

    def __init__(self, decay: float, device: torch.device) -> None:
        super().__init__(
            device=device, use_buffers=False, multi_avg_fn=moving_average(decay)
        )
