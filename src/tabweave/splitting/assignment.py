"""Which split a row goes to, by class and by unit: decided by hashes, not by row order.

A unit is what must stay together: one row, a group, or texts that are nearly equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

TRAIN, VAL, TEST = range(3)
DROPPED = -1

Sides: TypeAlias = npt.NDArray[np.int8]
Codes: TypeAlias = npt.NDArray[np.int64]
Keys: TypeAlias = npt.NDArray[np.uint64]
# Rows of one unit per stratum, as (stratum, rows).
Parts: TypeAlias = list[tuple[int, int]]


def hash_keys(texts: pa.ChunkedArray, seed: int) -> Keys:
    """A number [rows] for each text that depends on the seed and the text alone."""
    key = seed.to_bytes(8, "little")
    digests = b"".join(
        blake2b(text, digest_size=8, key=key, person=b"split").digest()
        for text in texts.cast(pa.large_binary()).to_pylist()
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def sorted_codes(column: pa.ChunkedArray) -> tuple[Codes, list[str]]:
    """The position [rows] of each value among the sorted distinct values, and these."""
    values = pc.unique(column)
    values = values.take(pc.sort_indices(values))
    codes = np.asarray(pc.index_in(column, value_set=values))
    return codes.astype(np.int64), values.to_pylist()


def stratum_targets(
    counts: Sequence[int], fractions: Sequence[Fraction]
) -> list[list[int]]:
    """Rows of each stratum for each split: the exact share rounded up or down.

    What rounding took from a split in one stratum it is owed in the next, so the sizes
    of the splits come out as well. Train, the first split, gets a row of every stratum.

    Example:
        >>> stratum_targets([10, 5], [Fraction(7, 10), Fraction(1, 10), Fraction(1, 5)])
        [[7, 1, 2], [4, 0, 1]]
    """
    owed = [Fraction(0)] * len(fractions)
    targets = []
    for count in counts:
        exact = [share * count for share in fractions]
        given = [math.floor(rows) for rows in exact]
        rest = [rows - whole for rows, whole in zip(exact, given, strict=True)]
        owed = [debt + part for debt, part in zip(owed, rest, strict=True)]
        first = given[0] == 0 < exact[0]
        ranks = [
            (first and side == 0, rest[side] > 0, owed[side])
            for side in range(len(owed))
        ]
        order = sorted(range(len(owed)), key=ranks.__getitem__, reverse=True)
        for side in order[: count - sum(given)]:
            given[side] += 1
            owed[side] -= 1
        targets.append(given)
    return targets


def assign_units(
    units: Codes, strata: Codes, keys: Keys, fractions: Sequence[Fraction]
) -> Sides:
    """The split [rows] of every row; rows of one unit get the same one.

    Units of several rows are placed first, the largest first and equal ones by key: each
    goes where it fits with the most room left. Then single rows fill every stratum up to
    its targets, ranked by key. Without larger units each stratum meets its targets.

    Args:
        units: Number of each row's unit, from 0.
        strata: Number of each row's stratum, from 0.
        keys: As `hash_keys` gives them; a unit has the least key of its rows.
        fractions: Shares of train, val and test.
    """
    targets = stratum_targets(np.bincount(strata).tolist(), fractions)
    room = [list(target) for target in targets]
    sides = _place_clusters(units, strata, keys, targets, room)
    singles = np.flatnonzero(np.bincount(units)[units] == 1)
    singles = singles[np.lexsort((keys[singles], strata[singles]))]
    bounds = np.searchsorted(strata[singles], np.arange(len(room) + 1))
    for stratum, free in enumerate(room):
        rows = singles[bounds[stratum] : bounds[stratum + 1]]
        _, val, test = _fill(len(rows), free)
        sides[rows[:val]] = VAL
        sides[rows[val : val + test]] = TEST
        sides[rows[val + test :]] = TRAIN
    return sides


def _fill(rows: int, free: Sequence[int]) -> list[int]:
    """Single rows for each split, where some splits may hold too many already."""
    wanted = [max(0, room) for room in free]
    if sum(wanted) == rows:
        return wanted
    return stratum_targets([rows], [Fraction(n, sum(wanted)) for n in wanted])[0]


def _place_clusters(
    units: Codes,
    strata: Codes,
    keys: Keys,
    targets: list[list[int]],
    room: list[list[int]],
) -> Sides:
    """The split of the rows of larger units; takes their rows off the room."""
    sizes = np.bincount(units)
    unit_keys = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(unit_keys, units, keys)
    order = np.lexsort((unit_keys, -sizes))
    order = order[sizes[order] > 1].tolist()
    several = sizes[units] > 1
    parts = _parts(units[several], strata[several], len(room))
    placed = np.zeros(len(sizes), np.int8)
    left, empty = len(sizes), {TRAIN, VAL, TEST}
    for unit in order:
        # The last units go to splits that have none yet.
        among = sorted(empty) if left <= len(empty) else (TRAIN, VAL, TEST)
        side = max(among, key=lambda s: _worth(parts[unit], targets, room, s))
        for stratum, rows in parts[unit]:
            room[stratum][side] -= rows
        placed[unit] = side
        empty.discard(side)
        left -= 1
    return placed[units]


def _parts(units: Codes, strata: Codes, number: int) -> dict[int, Parts]:
    found: dict[int, Parts] = {}
    pairs, counts = np.unique(units * number + strata, return_counts=True)
    for pair, rows in zip(pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(pair // number, []).append((pair % number, rows))
    return found


def _worth(
    parts: Parts, targets: list[list[int]], room: list[list[int]], side: int
) -> tuple[int, float]:
    """How well a unit goes into a split: rows too many, then the share left free."""
    after = [(room[stratum][side] - rows, rows, stratum) for stratum, rows in parts]
    over = sum(min(0, free) for free, _, _ in after)
    if over:
        return over, 0.0
    return 0, sum(rows * free / targets[stratum][side] for free, rows, stratum in after)
