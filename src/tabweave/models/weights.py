"""Weights from outside: they fit their description, and every number is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

Shapes = dict[str, tuple[int, ...]]
_REPEATED = ("num_hidden_layers", "n_layers", "num_layers", "num_experts")
"""Numbers of a description that say how often something is built."""
FEWEST = 1_000
"""Repeats that are always allowed: they take seconds at most."""


def stored_shapes(files: Iterable[Path]) -> Shapes:
    """Name -> shape of every tensor in safetensors files; their numbers are not read.

    Raises:
        SafetensorError: A file is damaged.
        OSError: A file cannot be read.
    """
    found: Shapes = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no dictionary
                found[name] = tuple(file.get_slice(name).get_shape())
    return found


def check_repeats(description: Any, tensors: int) -> None:
    """Refuses a description of more layers than there are tensors to fill them.

    Raises:
        ValueError: There is such a number; the message names it.
    """
    waiting = [description]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, Mapping):
            for name in _REPEATED:
                count = part.get(name)
                if isinstance(count, int) and count > max(tensors, FEWEST):
                    raise ValueError(
                        f"{name} is {count:,}, but the weights are {tensors:,} tensors"
                    )
            waiting += part.values()


def shapes_of(model: nn.Module) -> Shapes:
    """Name -> shape of everything that the model saves."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def check_shapes(described: Shapes, stored: Shapes) -> None:
    """Compares what is described with what is stored, before any memory is taken.

    Raises:
        ValueError: A tensor is missing, unknown or of another shape.
    """
    for name in sorted({*described, *stored}):
        if described.get(name) != stored.get(name):
            raise ValueError(
                f"its description makes {name} {_shown(described.get(name))}, but the "
                f"weights hold it as {_shown(stored.get(name))}"
            )


def _shown(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else f"a tensor of shape {list(shape)}"


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuses weights with which no answer would be a number.

    Raises:
        ValueError: A number is NaN or infinite; the message names its tensor.
    """
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            bad = value.numel() - int(torch.isfinite(value).sum())
            raise ValueError(
                f"{bad:,} of the {value.numel():,} numbers of {name} are NaN or infinite"
            )
