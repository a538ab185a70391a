"""Fabricates large train, val and test files that behave like real reviews.

No text repeats. New words appear as Heaps' law says, known ones return by Zipf's law, so
a cache of words meets as many new words at row 1,000,000 as it would in real text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.schema import DataConfig
from tabweave.tables.files import write_rows

ROWS_PER_BATCH = 20_000
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}

HEAPS_FACTOR, HEAPS_EXPONENT = 20.0, 0.57
"""Distinct words among n words = factor * n^exponent; 540,000 in 1M rows."""
ZIPF_OFFSET = 2.7
"""Weight of rank r = 1 / (r + offset)."""
WORDS_PER_ROW, SPREAD = 54, 0.5
"""Median of the words per row and deviation of its logarithm; about 350 B of text."""

SUFFIXES = ["", ",", ".", "!", "?", "..."]
SUFFIX_SHARES = [0.86, 0.06, 0.06, 0.01, 0.007, 0.003]
CAPITAL_SHARE = 0.08
MARKUP_SHARE, NON_ASCII_SHARE, DIALOGUE_SHARE = 0.30, 0.05, 0.20
MARKUP = ["<br />", "<p>", "</p>", "<b>", "</b>", "&amp;", "&nbsp;", "&quot;", "&#39;"]
MARKUP += ['<a href="https://shop.example/item?id=7&amp;ref=mail">', "</a>"]
NON_ASCII = ["café", "naïve", "größe", "señor", "très", "\U0001f600", "\u2764\ufe0f"]
NON_ASCII += ["很好", "速い", "отлично", "«nice»", "it\u2019s", "€20"]

CATEGORIES = {"c4": 4, "c30": 30, "c500": 500, "c5k": 5_000, "c50k": 50_000}
NUMBERS = {"n0": 0.0, "n1": 0.02, "n2": 0.05, "n3": 0.1, "n4": 0.3}
"""Numeric column -> share of missing values."""

CONFIG = DataConfig(
    id="id",
    label="label",
    text=("text",),
    categorical=tuple(CATEGORIES),
    numeric=tuple(NUMBERS),
    classes=("0", "1"),
)

_SYLLABLES = [a + b for a in "bcdfghjklmnprstvwz" for b in "aeiou"]


@dataclass
class Vocabulary:
    """Words in the order of their first use: given ones, then made-up ones."""

    given: Sequence[str]
    used: int = 2_000
    tokens: int = 0

    def draw(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Word numbers [count]: most are known, some are new."""
        self.tokens += count
        known = self.used
        self.used = max(known, _distinct(self.tokens))
        words = _zipf(count, known, random)
        fresh = np.arange(known, self.used)
        # A first use in a random place; later batches return to the word by its rank.
        words[random.permutation(count)[: len(fresh)]] = fresh[:count]
        return words

    def spell(self, numbers: np.ndarray) -> list[str]:
        """The words with these numbers; no two are the same."""
        return [self._word(number) for number in numbers.tolist()]

    def _word(self, number: int) -> str:
        if number < len(self.given):
            return self.given[number]
        # A bijective numeral in syllables, long enough to be no given word.
        rest, parts = number + len(_SYLLABLES) ** 3, []
        while rest:
            rest, syllable = divmod(rest, len(_SYLLABLES))
            parts.append(_SYLLABLES[syllable])
        return "".join(parts)


def _distinct(tokens: int) -> int:
    return int(HEAPS_FACTOR * tokens**HEAPS_EXPONENT)


def _zipf(count: int, ranks: int, random: np.random.Generator) -> np.ndarray:
    """Ranks [count] with weight 1 / (rank + offset), by the inverse of its integral."""
    uniform = random.random(count)
    found = ZIPF_OFFSET * ((ranks + ZIPF_OFFSET) / ZIPF_OFFSET) ** uniform
    return np.minimum((found - ZIPF_OFFSET).astype(np.int64), ranks - 1)


def frequent_words(tokenizer_json: str) -> list[str]:
    """The whole words of a WordPiece vocabulary, in its order: frequent ones first."""
    vocabulary = json.loads(tokenizer_json)["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    return [w for w in words if w.isascii() and w.isalpha() and len(w) > 1]


def write_splits(folder: Path, rows: int, given: Sequence[str], seed: int = 0) -> None:
    """Writes ``<split>.parquet`` of all splits; one batch of rows is in memory."""
    random = np.random.default_rng(seed)
    vocabulary = Vocabulary(given)
    start = 0
    for split, share in SHARES.items():
        count = round(rows * share)
        batches = _batches(start, count, vocabulary, random)
        first = next(batches)
        write_rows(folder / f"{split}.parquet", _chained(first, batches), first.schema)
        start += count


def _chained(
    first: pa.RecordBatch, others: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _batches(
    start: int, count: int, vocabulary: Vocabulary, random: np.random.Generator
) -> Iterator[pa.RecordBatch]:
    for at in range(0, count, ROWS_PER_BATCH):
        yield _batch(start + at, min(ROWS_PER_BATCH, count - at), vocabulary, random)


def _batch(
    start: int, rows: int, vocabulary: Vocabulary, random: np.random.Generator
) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {
        "id": pa.array([f"R{number:09d}" for number in range(start, start + rows)])
    }
    risk = np.full(rows, 0.2)
    for name, levels in CATEGORIES.items():
        codes = _zipf(rows, levels, random)
        risk += 0.1 * (codes % 7 == 0)
        spelled = pa.array([f"{name}-{code}" for code in range(levels)])
        missing = random.random(rows) < 0.01
        columns[name] = spelled.take(pa.array(codes, mask=missing))
    for name, share in NUMBERS.items():
        values = random.lognormal(2, 1, rows).round(2)
        columns[name] = pa.array(values, mask=random.random(rows) < share)
    columns["label"] = pa.array((random.random(rows) < risk).astype(np.int64))
    columns["text"] = _texts(rows, vocabulary, random)
    return pa.RecordBatch.from_pydict(columns)


def _texts(rows: int, vocabulary: Vocabulary, random: np.random.Generator) -> pa.Array:
    lengths = random.lognormal(np.log(WORDS_PER_ROW), SPREAD, rows).astype(np.int64)
    lengths = lengths.clip(4, 400)
    ends = np.cumsum(lengths)
    numbers = vocabulary.draw(int(ends[-1]), random)
    distinct, codes = np.unique(numbers, return_inverse=True)
    spelled = pa.array(vocabulary.spell(distinct))
    both = pa.concat_arrays([spelled, pc.utf8_capitalize(spelled)])
    capital = random.random(len(codes)) < CAPITAL_SHARE
    words = both.take(pa.array(codes + capital * len(spelled)))
    kinds = random.choice(len(SUFFIXES), len(codes), p=SUFFIX_SHARES)
    suffixes = pa.array(SUFFIXES).take(pa.array(kinds))
    words = pc.binary_join_element_wise(words, suffixes, "")
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), words)
    plain: list[str] = pc.binary_join(lists, " ").to_pylist()
    chances = random.random((rows, 3))
    return pa.array(
        [_dressed(t, c, random) for t, c in zip(plain, chances, strict=True)]
    )


def _dressed(text: str, chances: np.ndarray, random: np.random.Generator) -> str:
    """The text with markup, foreign characters or message markers, by chance."""
    if chances[0] < MARKUP_SHARE:
        text = _inserted(text, MARKUP, 4, random)
    if chances[1] < NON_ASCII_SHARE:
        text = _inserted(text, NON_ASCII, 2, random)
    if chances[2] < DIALOGUE_SHARE:
        text = f"[bom] {_inserted(text, ['[eom] [bom]'], 2, random)} [eom]"
    return text


def _inserted(
    text: str, pieces: Sequence[str], count: int, random: np.random.Generator
) -> str:
    words = text.split(" ")
    places, kinds = random.integers(0, [[len(words)], [len(pieces)]], (2, count))
    for place, kind in zip(places.tolist(), kinds.tolist(), strict=True):
        words.insert(place, pieces[kind])
    return " ".join(words)
