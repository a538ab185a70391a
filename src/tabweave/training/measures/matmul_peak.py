"""How fast this machine multiplies matrices, and how much of that a training needs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

SECONDS, LEAST_RUNS = 0.5, 3
CPU_SIZE, CUDA_SIZE = 2048, 8192
DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def matmul_peak(precision: str, device: torch.device | str) -> float:
    """Floating-point operations per second of a large square matrix product.

    Measured with the threads that torch uses now, best of half a second.

    Args:
        precision: Precision of a training: "bf16-mixed", "16-mixed" or "32-true".
        device: Where to measure.
    """
    place = torch.device(device)
    size = CUDA_SIZE if place.type == "cuda" else CPU_SIZE
    dtype = DTYPES.get(precision, torch.float32)
    left, right = (torch.randn(size, size).to(place, dtype) for _ in range(2))
    best, runs, started = float("inf"), 0, time.perf_counter()
    while runs < LEAST_RUNS or time.perf_counter() - started < SECONDS:
        begin = time.perf_counter()
        torch.mm(left, right)
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        best = min(best, time.perf_counter() - begin)
        runs += 1
    return 2 * size**3 / best


@cache
def _layer_weights(config: str) -> tuple[int, int]:
    """Weights of all matrices in the layers of an encoder, and its layers x width."""
    kind = AutoConfig.for_model(**json.loads(config))
    with torch.device("meta"):
        model = AutoModel.from_config(kind)
    weights = sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "pooler" not in name
    )
    return weights, int(kind.num_hidden_layers) * int(kind.hidden_size)


def training_flops(config: Mapping[str, Any], lengths: Sequence[int] | Any) -> float:
    """Floating-point operations of one forward and backward pass, without padding.

    6 per weight and token, and 12 x length^2 x width per layer for the attention. What
    is no matrix product does not count, nor does what is computed twice to save memory.

    Args:
        config: Full configuration of a transformer, as in `ModelSpec`.
        lengths: Tokens of every sequence.
    """
    sizes = np.asarray(lengths, np.float64)
    weights, width = _layer_weights(json.dumps(dict(config), sort_keys=True))
    return float(6 * weights * sizes.sum() + 12 * width * (sizes**2).sum())
