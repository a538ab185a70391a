"""Finds rows whose texts are equal or nearly equal, in time linear in their length.

MinHash with banding (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, chapter 3) proposes pairs; each pair is then compared exactly, so two texts are
never joined by chance.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.splitting.assignment import Codes

SHINGLE = 5
"""Characters of a shingle."""
HASHES = 64
"""MinHash values of a text."""
COMPARED_CHARACTERS = 20_000
"""Characters of a text, from its start, that near-duplicates are judged by."""
COMPARISONS = 16
"""Texts at most that a text is compared with in one bucket of one band."""
FOUND = 0.991
"""Least probability that a pair just at the threshold shares a band."""
MISSED = 0.001
"""Most probability that such a pair is then not compared, for its other hashes."""
CHARACTERS_PER_BLOCK = 1 << 20
PAIRS_PER_BLOCK = 1 << 16


class Links:
    """Joins numbers into sets (union-find with path halving)."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def root(self, item: int) -> int:
        """The number that stands for the set of `item`: its least member."""
        parent = self.parent
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    def join(self, one: int, other: int) -> None:
        """Makes one set of two."""
        low, high = sorted((self.root(one), self.root(other)))
        self.parent[high] = low

    def codes(self) -> Codes:
        """The number [size] of each item's set, from 0."""
        roots = np.array(
            [self.root(item) for item in range(len(self.parent))], np.int64
        )
        return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def normalised(text: str) -> str:
    """A text without what a copy often loses: letter case and runs of white space.

    Example:
        >>> normalised(" Gift  CARD ")
        'gift card'
    """
    return " ".join(text.casefold().split())


def row_texts(texts: pa.Table) -> pa.Array:
    """The texts of each row, normalised, as one; empty where all are."""
    columns = [column.to_pylist() for column in texts.columns]
    joined = (
        "\n".join(normalised(text) for text in row)
        for row in zip(*columns, strict=True)
    )
    present = (text if text.strip("\n") else "" for text in joined)
    return pa.array(present, pa.large_string())


def duplicate_units(texts: pa.ChunkedArray, threshold: float) -> Codes:
    """The number [rows] of each row's unit: rows with duplicate texts share one.

    Equal texts always share a unit. Texts whose shingle sets have a Jaccard similarity
    of at least `threshold` are found with probability 0.99 or more. An empty text is
    missing, and a unit by itself. The units depend neither on row order nor on a seed.

    Args:
        texts: Normalised texts.
        threshold: Between 0.5 and 1.
    """
    distinct = pc.unique(texts)
    distinct = distinct.take(pc.sort_indices(distinct))
    codes = np.asarray(pc.index_in(texts, value_set=distinct)).astype(np.int64)
    units = _near_units(distinct, threshold)[codes]
    missing = np.flatnonzero(np.asarray(pc.equal(texts, "")))
    units[missing] = len(distinct) + np.arange(len(missing))
    return np.unique(units, return_inverse=True)[1].astype(np.int64)


def merged_units(one: Codes, other: Codes) -> Codes:
    """Units of rows that share a unit of either kind, directly or through others."""
    links = Links(int(one.max()) + int(other.max()) + 2)
    pairs = np.unique(np.stack([one, other + int(one.max()) + 1]), axis=1)
    for first, second in pairs.T.tolist():
        links.join(first, second)
    return np.unique(links.codes()[one], return_inverse=True)[1].astype(np.int64)


def rows_per_band(threshold: float) -> int:
    """Hashes that must agree in one band: most of them that still find enough pairs.

    A pair of similarity s is proposed with probability 1 - (1 - s^r)^(64 / r).

    Example:
        >>> rows_per_band(0.5), rows_per_band(0.8), rows_per_band(0.95)
        (2, 4, 8)
    """
    fits = (
        rows
        for rows in (16, 8, 4, 2)
        if 1 - (1 - threshold**rows) ** (HASHES // rows) >= FOUND
    )
    return next(fits, 1)


def shingles(text: str) -> set[str]:
    """All runs of 5 characters; those at the end are shorter, so no text has none."""
    text = text[:COMPARED_CHARACTERS]
    return {text[at : at + SHINGLE] for at in range(len(text))}


def _near_units(texts: pa.Array, threshold: float) -> Codes:
    """Units of distinct sorted texts."""
    links = Links(len(texts))
    similar = _Comparison(texts, threshold)
    present = np.flatnonzero(np.asarray(pc.not_equal(texts, "")))
    signatures = _signatures(texts.take(pa.array(present)))
    width = rows_per_band(threshold)
    least = least_agreement(threshold)
    for start in range(0, HASHES, width):
        pairs = _proposed(signatures, slice(start, start + width), least)
        for one, other in present[pairs].tolist():
            # Texts that are in one set already are not compared again.
            if links.root(one) != links.root(other) and similar(one, other):
                links.join(one, other)
    return links.codes()


class _Comparison:
    """Says whether two texts of a list are similar enough, exactly."""

    def __init__(self, texts: pa.Array, threshold: float) -> None:
        self.threshold = threshold
        self.shingles = lru_cache(512)(lambda index: shingles(texts[index].as_py()))
        # Pairs found apart: several bands may propose one of them again.
        self.apart: set[tuple[int, int]] = set()

    def __call__(self, one: int, other: int) -> bool:
        """Whether the Jaccard similarity reaches the threshold."""
        if (one, other) in self.apart:
            return False
        first, second = self.shingles(one), self.shingles(other)
        common = len(first & second)
        if common >= self.threshold * (len(first) + len(second) - common):
            return True
        self.apart.add((one, other))
        return False


def least_agreement(threshold: float) -> int:
    """Hashes of all 64 in which nearly every pair just at the threshold agrees.

    The number that agree is binomial, with the similarity as its chance.

    Example:
        >>> least_agreement(0.8), least_agreement(1.0)
        (41, 64)
    """
    below = 0.0
    for agreeing in range(HASHES):
        ways = math.comb(HASHES, agreeing)
        below += ways * threshold**agreeing * (1 - threshold) ** (HASHES - agreeing)
        if below > MISSED:
            return agreeing
    return HASHES


def _proposed(
    signatures: npt.NDArray[np.uint32], band: slice, least: int
) -> npt.NDArray[np.intp]:
    """Pairs [pairs, 2] that agree in all hashes of a band and in enough of all.

    Each text is held against a few before it in its bucket. Texts are sorted, so those
    before it begin as it does.
    """
    keys = np.zeros(len(signatures), np.uint64)
    for column in signatures[:, band].T:
        keys = _mixed(keys ^ column)
    order = np.argsort(keys, kind="stable")
    found = [np.empty((0, 2), np.intp)]
    for distance in range(1, COMPARISONS + 1):
        same = np.flatnonzero(keys[order[:-distance]] == keys[order[distance:]])
        for start in range(0, len(same), PAIRS_PER_BLOCK):
            at = same[start : start + PAIRS_PER_BLOCK]
            pairs = np.stack([order[at], order[at + distance]], axis=1)
            agree = signatures[pairs[:, 0]] == signatures[pairs[:, 1]]
            found.append(pairs[agree.sum(axis=1) >= least])
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit of the input moves every bit of the output.

    Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _signatures(texts: pa.Array) -> npt.NDArray[np.uint32]:
    """MinHash values [texts, 64] of texts that are not empty."""
    lengths = np.minimum(np.asarray(pc.utf8_length(texts)), COMPARED_CHARACTERS)
    block_of = np.cumsum(lengths, dtype=np.int64) // CHARACTERS_PER_BLOCK
    bounds = [0, *(np.flatnonzero(np.diff(block_of)) + 1).tolist(), len(texts)]
    signatures = np.zeros((len(texts), HASHES), np.uint32)
    for first, end in itertools.pairwise(bounds):
        block = pc.utf8_slice_codeunits(texts[first:end], 0, COMPARED_CHARACTERS)
        if len(block):
            signatures[first:end] = _minimums(block.to_pylist(), lengths[first:end])
    return signatures


def _minimums(
    texts: list[str], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint32]:
    """For each of 64 orders of all shingles, the first one that each text has."""
    hashes = _shingle_hashes(texts, lengths)
    starts = np.cumsum(lengths) - lengths
    salts = _mixed(np.arange(2 * HASHES, dtype=np.uint64)).astype(np.uint32)
    found = np.empty((len(texts), HASHES), np.uint32)
    for column in range(HASHES):
        # Odd factors permute the numbers of 32 bits.
        order = (hashes ^ salts[column]) * (salts[HASHES + column] | np.uint32(1))
        found[:, column] = np.minimum.reduceat(order, starts)
    return found


def _shingle_hashes(
    texts: list[str], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint32]:
    """A hash [characters] of the shingle that begins at each character."""
    # Zeros after each text keep its last shingles apart from the next text.
    gap = "\0" * (SHINGLE - 1)
    joined = (gap.join(texts) + gap).encode("utf-32-le")
    codes = np.frombuffer(joined, np.uint32).astype(np.uint64)
    number = np.repeat(np.arange(len(texts)), lengths)
    begins = np.arange(len(number)) + number * len(gap)
    hashes = np.zeros(len(begins), np.uint64)
    for offset in range(SHINGLE):
        hashes = _mixed(hashes ^ codes[begins + offset])
    return (hashes >> np.uint64(32)).astype(np.uint32)
