"""Two halves of a batch at the same time, each on half of the compute threads.

On a CPU, only the large matrix products of an encoder use a second thread well: the many
small operations between them wait for each other at every step. Two halves that run side
by side do not, and lose little when another process takes one of the cores. A GPU is
busy with one batch and gets it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tabweave.models.dropout import drawing_from

LANES = 2
FEWEST_TOKENS = 256  # below, handing the work over costs more than it saves
Run = Callable[[int, Tensor], Tensor]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(LANES, thread_name_prefix="lane")


@dataclass(frozen=True)
class _Settings:
    """What torch keeps per thread, as it was where the lanes were started."""

    threads: int
    autocast: bool
    precision: torch.dtype
    inference: bool
    gradients: bool
    flushes_denormals: bool

    @classmethod
    def here(cls) -> Self:
        return cls(
            threads=max(1, torch.get_num_threads() // LANES),
            autocast=torch.is_autocast_enabled("cpu"),
            precision=torch.get_autocast_dtype("cpu"),
            inference=torch.is_inference_mode_enabled(),
            gradients=torch.is_grad_enabled(),
            flushes_denormals=torch.tensor(1e-39).mul(0.5).item() == 0,
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        torch.set_num_threads(self.threads)
        torch.set_flush_denormal(self.flushes_denormals)
        with (
            torch.inference_mode(self.inference),
            torch.set_grad_enabled(self.gradients),
            # Each weight is cast once per lane anyway, and the cache is shared.
            torch.autocast("cpu", self.precision, self.autocast, cache_enabled=False),
        ):
            yield


def _side_by_side(task: Callable[[int], Any], settings: _Settings) -> list[Any]:
    def lane(number: int) -> Any:
        with settings.applied():
            return task(number)

    whole = torch.get_num_threads()
    try:
        return list(_pool().map(lane, range(LANES)))
    finally:
        # A lane sets the default for threads to come, too.
        torch.set_num_threads(whole)


class _Lanes(torch.autograd.Function):
    """Keeps a graph per lane, and walks them side by side on the way back."""

    @staticmethod
    def forward(ctx: Any, run: Run, *tensors: Tensor) -> tuple[Tensor, ...]:
        parts, ctx.parameters = tensors[:LANES], tensors[LANES:]

        def lane(number: int) -> tuple[Tensor, Tensor]:
            part = parts[number].detach()
            part.requires_grad_(parts[number].requires_grad)
            with torch.enable_grad():
                return part, run(number, part)

        ctx.settings = _Settings.here()
        ctx.lanes = _side_by_side(lane, ctx.settings)
        return tuple(out.detach() for _, out in ctx.lanes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = [p for p in ctx.parameters if p.requires_grad]
        reads = ctx.needs_input_grad[1]

        def lane(number: int) -> list[Tensor | None]:
            part, out = ctx.lanes[number]
            inputs = [part, *wanted] if reads else wanted
            found = torch.autograd.grad(
                out, inputs, gradients[number], allow_unused=True
            )
            return list(found) if reads else [None, *found]

        (first, *some), (second, *others) = _side_by_side(lane, ctx.settings)
        del ctx.lanes
        total = iter([_plus(a, b) for a, b in zip(some, others, strict=True)])
        of_parameters = (
            next(total) if p.requires_grad else None for p in ctx.parameters
        )
        return None, first, second, *of_parameters


def _plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other


def halves(lengths: Sequence[int]) -> int:
    """How many of the sequences make up the first half, by tokens."""
    total = sum(lengths)
    off = [abs(2 * seen - total) for seen in accumulate(lengths)]
    return min(range(len(off) - 1), key=off.__getitem__) + 1


def pays(device: torch.device, lengths: Sequence[int]) -> bool:
    """Whether sequences of these lengths should run in two lanes."""
    return (
        device.type == "cpu"
        and torch.get_num_threads() >= LANES
        and len(lengths) >= LANES
        and sum(lengths) >= FEWEST_TOKENS
    )


def run_in_lanes(
    run: Run,
    parts: tuple[Tensor, Tensor],
    parameters: Sequence[Tensor],
    *,
    draws: bool = True,
) -> tuple[Tensor, Tensor]:
    """`run(0, parts[0])` and `run(1, parts[1])` at the same time.

    Same inputs, same threads and same state of torch's generator give the same bits: a
    lane draws its dropout from a generator of its own, and the gradients of the two are
    added in a fixed order.

    Args:
        run: Number of the lane and its part -> the result. It must work on any thread.
        parts: Input of each lane.
        parameters: Everything else that `run` reads and that takes gradients.
        draws: Whether `run` draws anything, such as dropout in training; without, torch's
            generator stays as it is.
    """
    seeds = torch.randint(2**62, (LANES,)).tolist() if draws else [0] * LANES

    def seeded(number: int, part: Tensor) -> Tensor:
        with drawing_from(torch.Generator().manual_seed(seeds[number])):
            return run(number, part)

    if torch.is_grad_enabled():
        return _Lanes.apply(seeded, *parts, *parameters)  # type: ignore[no-untyped-call]
    first, second = _side_by_side(
        lambda number: seeded(number, parts[number]), _Settings.here()
    )
    return first, second
