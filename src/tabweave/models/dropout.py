"""Dropout whose mask is cheap to draw on a CPU.

torch draws one double per element; 16 random bits are enough to decide.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
STEPS = 2**16
_here = threading.local()


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Masks that this thread draws take their seeds from `generator`."""
    before = getattr(_here, "generator", None)
    _here.generator = generator
    try:
        yield
    finally:
        _here.generator = before


def dropout_mask(like: Tensor, p: float) -> Tensor:
    """0 with probability `p`, else what makes the mean 1; in the shape of `like`.

    The probability is rounded to 1 / 65536. The seed comes from torch's generator, so
    whatever restores that one restores the mask.
    """
    generator = getattr(_here, "generator", None)
    seed = int(torch.randint(2**62, (), generator=generator))
    drop = round(p * STEPS)
    count = like.numel()
    words = np.random.SFC64(seed).random_raw((count + 3) // 4)
    keep = words.view(np.uint16)[:count] >= drop
    mask = torch.from_numpy(keep.view(np.uint8)).to(like.dtype)
    return mask.mul_(STEPS / (STEPS - drop)).view(like.shape)


class FastDropout(nn.Dropout):
    """`nn.Dropout`, drawn faster where the values lie on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with a share of `p` zeroed and the rest scaled up, in training."""
        drop = round(self.p * STEPS)
        if not self.training or input.device.type != "cpu" or not 0 < drop < STEPS:
            return super().forward(input)
        return input * dropout_mask(input, self.p)


def with_fast_dropout(module: Module) -> Module:
    """Replaces every plain `nn.Dropout` inside `module`."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout:
                setattr(parent, name, FastDropout(child.p))
    return module
