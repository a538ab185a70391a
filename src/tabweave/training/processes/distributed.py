"""What the processes of one training tell each other; alone, each is its own answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


def together() -> bool:
    """Whether this is one of several processes that have met."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank_and_world() -> tuple[int, int]:
    """Number of this process, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if together() else (0, 1)


def gathered(value: Any) -> list[Any]:
    """What every process gave, in the order of their numbers; all must call it."""
    if not together():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def from_first(value: Any) -> Any:
    """What the first process gave; all must call it."""
    if not together():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def summed(values: Sequence[float]) -> list[float]:
    """The sums over all processes; all must call it."""
    if not together():
        return list(values)
    return torch.tensor(gathered(list(values)), dtype=torch.float64).sum(0).tolist()


class Agreement:
    """Asks all processes, at every step, whether one of them wants something.

    A group of its own on the CPU, so that a GPU is not waited for.

    Args:
        timeout_s: Seconds after which a process that does not answer is given up.
    """

    def __init__(self, timeout_s: int) -> None:
        self.group = None
        if together():
            limit = timedelta(seconds=timeout_s)
            self.group = dist.new_group(backend="gloo", timeout=limit)

    def any(self, wanted: bool) -> bool:
        """Whether any process wants it; all must call it."""
        if self.group is None:
            return wanted
        flag = torch.tensor([int(wanted)])
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self.group)
        return bool(flag.item())
