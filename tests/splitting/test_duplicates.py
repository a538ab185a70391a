import math
import random
import string
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.splitting.duplicates import (
    COMPARED_CHARACTERS,
    duplicate_units,
    least_agreement,
    merged_units,
    normalised,
    row_texts,
    rows_per_band,
    shingles,
)

LETTERS = string.ascii_lowercase + " é世界🎁"


def units_of(texts, threshold=0.8):
    column = pa.chunked_array(
        [texts[: len(texts) // 2], texts[len(texts) // 2 :]], pa.string()
    )
    return duplicate_units(column.cast(pa.large_string()), threshold)


def as_sets(units):
    """Units without their numbers."""
    return {
        frozenset(np.flatnonzero(units == unit).tolist())
        for unit in set(units.tolist())
    }


def jaccard(one, other):
    a, b = ({t[i : i + 5] for i in range(len(t))} for t in (one, other))
    return len(a & b) / len(a | b)


def oracle(texts, threshold):
    """Connected components over all pairs."""
    units = np.arange(len(texts))
    for i, one in enumerate(texts):
        for j in range(i):
            if one and texts[j] and jaccard(one, texts[j]) >= threshold:
                units[units == units[i]] = units[j]
    return units


def edited(generator, text, edits):
    """A copy with some characters replaced."""
    cells = list(text)
    for at in generator.sample(range(len(cells)), edits):
        cells[at] = generator.choice(LETTERS)
    return "".join(cells)


def corpus(seed, originals=40, copies=2, edits=2):
    generator = random.Random(seed)
    texts = []
    for _ in range(originals):
        text = "".join(generator.choices(LETTERS, k=generator.randint(60, 200)))
        texts += [text, *(edited(generator, text, edits) for _ in range(copies))]
    generator.shuffle(texts)
    return texts


def test_normalising_drops_letter_case_and_white_space():
    assert normalised("  Straße\n\tGIFT card ") == "strasse gift card"
    assert normalised("\u3000 \n") == ""


def test_equal_texts_share_a_unit_and_empty_ones_do_not():
    units = units_of(["a", "", "b", "a", "", "", "b", "c"])
    assert as_sets(units) == {
        frozenset(s) for s in ({0, 3}, {2, 6}, {7}, {1}, {4}, {5})
    }
    assert sorted(set(units.tolist())) == list(range(6))


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_pairs_at_the_threshold_are_found_as_by_comparing_all(threshold):
    texts = corpus(3, edits=4)
    assert as_sets(units_of(texts, threshold)) == as_sets(oracle(texts, threshold))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.text("ab ", max_size=12), max_size=25).map(lambda t: [*t, "end"]),
    st.sampled_from([0.5, 0.8, 1.0]),
)
def test_only_texts_that_are_similar_are_joined(texts, threshold):
    """Joined texts are joined in the oracle too, whatever hashing did."""
    found, true = units_of(texts, threshold), oracle(texts, threshold)
    for unit in as_sets(found):
        assert len({int(true[row]) for row in unit}) == 1
    for i, one in enumerate(texts):
        for j in range(i):
            if one and one == texts[j]:
                assert found[i] == found[j]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_the_order_of_the_rows_does_not_matter(seed):
    texts = [*corpus(seed, originals=8), "", ""]
    order = list(range(len(texts)))
    random.Random(seed + 1).shuffle(order)
    units = units_of(texts)
    again = units_of([texts[row] for row in order])
    moved = {frozenset(order[row] for row in unit) for unit in as_sets(again)}
    assert moved == as_sets(units)


def test_more_copies_than_are_compared_are_still_one_unit():
    generator = random.Random(5)
    text = "".join(generator.choices(LETTERS, k=400))
    copies = [edited(generator, text, 1) for _ in range(200)]
    assert len(set(units_of([*copies, text]).tolist())) == 1


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_the_bands_find_pairs_at_the_threshold(similarity):
    width = rows_per_band(similarity)
    assert 64 % width == 0
    assert 1 - (1 - similarity**width) ** (64 // width) >= 0.99


def test_shingles_have_five_characters_and_short_texts_have_some():
    assert shingles("abcdef") == {"abcde", "bcdef", "cdef", "def", "ef", "f"}
    assert shingles("é") == {"é"}
    assert len(shingles("x" * 10 * COMPARED_CHARACTERS)) == 5


def test_units_of_both_kinds_are_merged():
    groups = np.array([0, 0, 1, 1, 2, 3])
    texts = np.array([0, 1, 1, 2, 3, 4])
    assert as_sets(merged_units(groups, texts)) == {
        frozenset({0, 1, 2, 3}),
        frozenset({4}),
        frozenset({5}),
    }


@pytest.mark.parametrize(
    "texts",
    [
        ["a" * 1_000_000, "a" * 999_999, "b"],
        ["e" + "\u0301" * 1_000_000, "x"],
        [f"{n:05d} " * 3 for n in range(3000)],
        ["the same long beginning of every text " * 3 + str(n) for n in range(1500)],
    ],
    ids=["one letter", "combining marks", "short numbers", "one template"],
)
def test_hostile_texts_take_seconds(texts):
    started = time.process_time()
    units_of([normalised(text) for text in texts])
    assert time.process_time() - started < 5


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_a_similar_pair_agrees_in_enough_hashes_almost_always(similarity):
    least = least_agreement(similarity)
    chance = sum(
        math.comb(64, k) * similarity**k * (1 - similarity) ** (64 - k)
        for k in range(least, 65)
    )
    assert chance >= 0.999
    assert similarity < 0.7 or least > 64 * (similarity - 0.25)


def test_the_texts_of_a_row_are_one_text():
    texts = pa.table({"a": ["One  Two", "", " "], "b": ["x", "", ""]})
    assert row_texts(texts).to_pylist() == ["one two\nx", "", ""]
