from collections import Counter
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.splitting.assignment import (
    TEST,
    TRAIN,
    VAL,
    assign_units,
    hash_keys,
    sorted_codes,
    stratum_targets,
)

SHARES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(
    lambda parts: (
        Fraction(100 - sum(parts), 100),
        Fraction(parts[0], 100),
        Fraction(parts[1], 100),
    )
)


def keys(rows, seed=0):
    return hash_keys(pa.chunked_array([[f"id{row}" for row in range(rows)]]), seed)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=30), SHARES)
def test_targets_round_every_share_up_or_down(counts, shares):
    targets = stratum_targets(counts, shares)
    for count, target in zip(counts, targets, strict=True):
        assert sum(target) == count
        for rows, share in zip(target, shares, strict=True):
            assert abs(rows - share * count) < 1
        assert target[0] > 0 or count == 0


def test_the_sizes_of_the_splits_come_out_over_many_small_classes():
    """Rounding each class by itself would leave val and test empty."""
    shares = (Fraction(7, 10), Fraction(1, 10), Fraction(2, 10))
    targets = stratum_targets([4] * 100, shares)
    assert np.sum(targets, axis=0).tolist() == [280, 40, 80]


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 6), SHARES, st.integers(0, 2**32))
def test_single_rows_meet_the_targets_of_their_class(rows, classes, shares, seed):
    strata = np.random.default_rng(seed).integers(0, classes, rows)
    strata = np.unique(strata, return_inverse=True)[1]
    sides = assign_units(np.arange(rows), strata, keys(rows, seed), shares)
    for stratum in range(strata.max() + 1):
        here = sides[strata == stratum]
        for side, share in zip((TRAIN, VAL, TEST), shares, strict=True):
            assert abs((here == side).sum() - share * len(here)) < 1


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=3, max_size=40), SHARES, st.integers(0, 2**32)
)
def test_groups_stay_whole_and_sizes_are_near(sizes, shares, seed):
    units = np.repeat(np.arange(len(sizes)), sizes)
    rows = len(units)
    names = pa.chunked_array([[f"g{unit}" for unit in units]])
    sides = assign_units(units, np.zeros(rows, int), hash_keys(names, seed), shares)
    for unit in range(len(sizes)):
        assert len(set(sides[units == unit].tolist())) == 1
    for side, share in zip((TRAIN, VAL, TEST), shares, strict=True):
        assert abs((sides == side).sum() - share * rows) <= 2 * max(sizes) + 1


@pytest.mark.parametrize("sizes", [[100, 100, 100], [50, 2, 2], [9, 9, 9, 9]])
def test_a_few_large_groups_leave_no_split_empty(sizes):
    units = np.repeat(np.arange(len(sizes)), sizes)
    shares = (Fraction(7, 10), Fraction(1, 10), Fraction(2, 10))
    names = pa.chunked_array([[f"g{unit}" for unit in units]])
    strata = np.zeros(len(units), int)
    sides = assign_units(units, strata, hash_keys(names, 0), shares)
    assert set(sides.tolist()) == {TRAIN, VAL, TEST}


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_clusters_stay_whole_and_classes_still_meet_their_targets(seed, classes):
    """Many single rows even out what a few small clusters take."""
    generator = np.random.default_rng(seed)
    units = np.concatenate([np.repeat(np.arange(10), 3), np.arange(10, 410)])
    strata = np.concatenate(
        [np.arange(classes), generator.integers(0, classes, len(units) - classes)]
    )
    shares = (Fraction(7, 10), Fraction(1, 10), Fraction(2, 10))
    sides = assign_units(units, strata, keys(len(units), seed), shares)
    for unit in range(10):
        assert len(set(sides[units == unit].tolist())) == 1
    for stratum in range(classes):
        here = sides[strata == stratum]
        for side, share in zip((TRAIN, VAL, TEST), shares, strict=True):
            assert abs((here == side).sum() - share * len(here)) < 1


@settings(deadline=None)
@given(st.permutations(range(60)), st.integers(0, 5))
def test_the_order_of_the_rows_does_not_matter(order, seed):
    order = np.array(order)
    units = np.minimum(np.arange(60) // 2, 20)
    strata, own = np.arange(60) % 3, keys(60, seed)
    shares = (Fraction(6, 10), Fraction(2, 10), Fraction(2, 10))
    sides = assign_units(units, strata, own, shares)
    renumbered = np.unique(-units[order], return_inverse=True)[1]
    again = assign_units(renumbered, strata[order], own[order], shares)
    assert again.tolist() == sides[order].tolist()


def test_the_seed_decides_and_ids_are_spread_evenly():
    shares = (Fraction(1, 2), Fraction(1, 4), Fraction(1, 4))
    units, strata = np.arange(2000), np.zeros(2000, int)
    first = assign_units(units, strata, keys(2000, 1), shares)
    other = assign_units(units, strata, keys(2000, 2), shares)
    assert Counter(first.tolist()) == {TRAIN: 1000, VAL: 500, TEST: 500}
    # Independent assignments agree in 1/4 + 1/16 + 1/16 of the rows; s.d. 0.011.
    assert abs((first == other).mean() - 0.375) < 0.06
    assert abs((first[:1000] == TEST).mean() - 0.25) < 0.06


def test_a_key_depends_on_the_seed_and_the_text_alone():
    ids = pa.chunked_array([["a", "b"], ["c"]])
    together = hash_keys(ids, 7).tolist()
    assert hash_keys(pa.chunked_array([["c", "a"]]), 7).tolist() == together[::-2]
    assert not set(together) & set(hash_keys(ids, 8).tolist())


def test_codes_follow_the_sorted_values():
    codes, values = sorted_codes(pa.chunked_array([["b", "a"], ["c", "b"]]))
    assert values == ["a", "b", "c"]
    assert codes.tolist() == [1, 0, 2, 1]
