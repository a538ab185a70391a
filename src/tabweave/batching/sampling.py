"""Which rows make a batch, in which order: functions of seed and epoch alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

Integers = npt.NDArray[np.int64]

POOL = 50
"""Batches that bucketing sorts together: enough for even lengths, few enough to mix."""
TOKENS_AT_ONCE = 32_768
"""Tokens of a batch that is predicted: a row's result does not depend on its batch."""


class EpochBatches(ABC):
    """Batches of row numbers that cover every row once per epoch.

    A batch takes `batch_size` rows, or fewer where `max_tokens` would be passed; a row
    that is longer by itself is a batch of its own.

    Args:
        rows: Rows of the split.
        batch_size: Rows of a batch at most.
        seed: Seed of the order.
        tokens: int64 [rows], tokens of each row; needed for a token budget.
        max_tokens: Tokens of a batch at most, or None.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        seed: int,
        tokens: Integers | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.tokens, self.max_tokens = tokens, max_tokens
        self._counts: dict[int, int] = {}

    @property
    def varies(self) -> bool:
        """Whether epochs may differ in their number of batches."""
        return self.max_tokens is not None

    @abstractmethod
    def batches(self, epoch: int) -> list[Integers]:
        """All batches of an epoch."""

    def count(self, epoch: int) -> int:
        """Batches of an epoch, known before it starts."""
        if not self.varies:
            return -(-self.rows // self.batch_size)
        if epoch not in self._counts:
            self._counts[epoch] = len(self.batches(epoch))
        return self._counts[epoch]

    def _generator(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch])

    def _cut(self, order: Integers) -> list[Integers]:
        return cut(order, self.batch_size, self.tokens, self.max_tokens)


class ShuffledBatches(EpochBatches):
    """Rows in random order; only the last batch, or one cut by tokens, is smaller."""

    def batches(self, epoch: int) -> list[Integers]:
        """All batches of an epoch."""
        return self._cut(self._generator(epoch).permutation(self.rows))


class BucketedBatches(EpochBatches):
    """Random batches of rows of similar length, in random order.

    Rows are shuffled and dealt into pools of 50 batches, at least four pools; each pool
    is sorted by length and cut. Padded batches then waste little, and every epoch mixes
    other rows.
    """

    def batches(self, epoch: int) -> list[Integers]:
        """All batches of an epoch."""
        assert self.tokens is not None
        generator = self._generator(epoch)
        order = generator.permutation(self.rows)
        size = max(1, min(POOL, self.rows // (4 * self.batch_size))) * self.batch_size
        found: list[Integers] = []
        for at in range(0, self.rows, size):
            pool = order[at : at + size]
            found += self._cut(pool[np.argsort(-self.tokens[pool], kind="stable")])
        return [found[n] for n in generator.permutation(len(found))]


class RankBatches(Sampler[list[int]]):
    """What one of several processes takes of the batches of every epoch.

    The order is that of one process: `world` batches in a row are computed at the same
    time, one by each process. The batches at the end that are too few for all are cut
    smaller. Every process has the same number of batches, or one would wait for ever:
    one for which not even a row is left gets another's row, whose loss counts nothing.

    `start` skips batches that an interrupted epoch has already used.

    Args:
        whole: The batches of all processes.
        rank: Which process this is.
        world: Number of processes.
    """

    def __init__(self, whole: EpochBatches, rank: int = 0, world: int = 1) -> None:
        self.whole, self.rank, self.world = whole, rank, world
        self.epoch, self.start = 0, 0

    @property
    def varies(self) -> bool:
        """Whether epochs may differ in their number of batches."""
        return self.whole.varies

    def groups(self, epoch: int) -> list[list[Integers]]:
        """Batches that are computed at the same time: one per process, maybe empty."""
        batches, world = self.whole.batches(epoch), self.world
        found = [batches[at : at + world] for at in range(0, len(batches), world)]
        if found and len(found[-1]) < world:
            found[-1] = _cut_into(found[-1], world)
        return found

    def count(self, epoch: int) -> int:
        """Batches of an epoch that each process takes, known before it starts."""
        return -(-self.whole.count(epoch) // self.world)

    def __len__(self) -> int:
        return self.count(self.epoch)

    def __iter__(self) -> Iterator[list[int]]:
        # A DataLoader with workers calls this twice per epoch: no side effects.
        for group in self.groups(self.epoch)[self.start :]:
            own = group[self.rank]
            yield (own if len(own) else group[0][:1]).tolist()


def _cut_into(batches: list[Integers], parts: int) -> list[Integers]:
    """Batches cut in halves, the largest first, until there are so many."""
    found = list(batches)
    while len(found) < parts:
        largest = max(range(len(found)), key=lambda n: len(found[n]))
        found[largest : largest + 1] = np.array_split(found[largest], 2)
    return found


class SortedBatches(Sampler[list[int]]):
    """All rows once, longest first: for prediction, where the order does not matter.

    Of several processes, each takes every `world`-th batch. All have the same number: the
    batches after the first `real` ones of a process repeat a row and do not count.
    """

    def __init__(
        self,
        counts: np.ndarray,
        batch_size: int,
        max_tokens: int | None = None,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.order = np.argsort(-counts, kind="stable")
        every = cut(self.order, batch_size, counts, max_tokens)
        own = every[rank::world]
        self.real = len(own)
        lacking = -(-len(every) // world) - self.real
        self.batches = own + [batch[:1] for batch in every[-1:]] * lacking

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            yield batch.tolist()


def cut(
    order: Integers,
    batch_size: int,
    tokens: Integers | None = None,
    max_tokens: int | None = None,
) -> list[Integers]:
    """Batches of consecutive rows, each as large as rows and tokens allow.

    Example:
        >>> found = cut(np.arange(4), 3, np.array([2, 9, 2, 2]), max_tokens=4)
        >>> [batch.tolist() for batch in found]
        [[0], [1], [2, 3]]
    """
    if max_tokens is None or tokens is None:
        return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    total = np.concatenate([[0], np.cumsum(tokens[order])])
    found, at = [], 0
    while at < len(order):
        fits = int(np.searchsorted(total, total[at] + max_tokens, side="right")) - 1
        end = max(at + 1, min(fits, at + batch_size, len(order)))
        found.append(order[at:end])
        at = end
    return found
