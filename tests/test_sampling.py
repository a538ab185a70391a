from functools import partial
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from tabweave.batches import as_is
from tabweave.sampling import (
    POOL,
    BucketedBatches,
    ShuffledBatches,
    SortedBatches,
    cut,
)

KINDS = (ShuffledBatches, BucketedBatches)


def spread(batches):
    return [*chain(*batches)]


@pytest.mark.parametrize("kind", KINDS)
@given(
    counts=st.lists(st.integers(0, 9), max_size=40),
    size=st.integers(1, 9),
    budget=st.none() | st.integers(1, 30),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 5),
)
def test_an_epoch_covers_every_row_once(kind, counts, size, budget, seed, epoch):
    tokens = np.array(counts, np.int64)
    batches = kind(len(counts), size, seed, tokens, budget)
    batches.epoch = epoch
    found = list(batches)
    assert len(found) == len(batches) == batches.count(epoch)
    assert sorted(spread(found)) == list(range(len(counts)))
    assert all(0 < len(batch) <= size for batch in found)
    assert list(batches) == found  # a DataLoader may ask twice
    batches.start = 2
    assert list(batches) == found[2:]
    if budget is None:
        assert sum(len(batch) < size for batch in found) <= 1
        return
    for batch in found:
        assert len(batch) == 1 or tokens[batch].sum() <= budget


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 99))
def test_only_the_last_of_shuffled_batches_is_smaller(rows, size, seed):
    found = list(ShuffledBatches(rows, size, seed))
    assert all(len(batch) == size for batch in found[:-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [None, 40])
def test_the_order_is_a_function_of_seed_and_epoch(kind, budget):
    tokens = np.arange(50)

    def order(seed, epoch, before=()):
        batches = kind(50, 8, seed, tokens, budget)
        for other in before:  # what was asked before does not matter
            batches.epoch = other
            spread(batches)
        batches.epoch = epoch
        return spread(batches)

    assert order(3, 2) == order(3, 2) == order(3, 2, before=(0, 1))
    orders = [order(seed, epoch) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    assert len({tuple(found) for found in orders}) == 9
    assert list(range(50)) not in orders


def greedy(order, size, tokens, budget):
    """Row by row: a new batch where the next row does not fit."""
    found = []
    for row in order:
        fits = found and len(found[-1]) < size
        if fits and tokens[found[-1]].sum() + tokens[row] <= budget:
            found[-1].append(row)
        else:
            found.append([row])
    return found


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 6), st.integers(1, 25))
def test_a_cut_takes_what_fits(counts, size, budget):
    tokens = np.array(counts, np.int64)
    order = np.random.default_rng(0).permutation(len(counts))
    found = [batch.tolist() for batch in cut(order, size, tokens, budget)]
    assert found == greedy(order.tolist(), size, tokens, budget)


def test_a_token_budget_lets_epochs_differ_in_length():
    tokens = np.random.default_rng(0).integers(1, 60, 300)
    batches = ShuffledBatches(300, 16, 0, tokens, 200)
    assert batches.varies
    assert len({batches.count(epoch) for epoch in range(8)}) > 1
    assert not ShuffledBatches(300, 16, 0, tokens).varies


def padding(batches, tokens):
    """Share of padded positions, where a batch is as long as its longest row."""
    computed = sum(len(batch) * tokens[batch].max() for batch in batches)
    return 1 - tokens.sum() / computed


def test_bucketed_batches_hold_rows_of_similar_length_and_stay_mixed():
    tokens = np.random.default_rng(0).integers(1, 200, 6000)
    shuffled = list(ShuffledBatches(6000, 16, 0))
    bucketed = list(BucketedBatches(6000, 16, 0, tokens))
    assert padding(shuffled, tokens) > 0.4
    assert padding(bucketed, tokens) < 0.05
    # Pools and batches are in random order: neighbours are not of similar length.
    longest = np.array([tokens[batch].max() for batch in bucketed], float)
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.2
    assert len(bucketed) > POOL


@given(
    st.lists(st.integers(0, 5), max_size=30),
    st.integers(1, 7),
    st.none() | st.integers(1, 12),
)
def test_sorted_batches_cover_every_row_once_longest_first(counts, size, budget):
    tokens = np.array(counts, np.int64)
    batches = SortedBatches(tokens, size, budget)
    found = list(batches)
    assert len(found) == len(batches)
    order = spread(found)
    # Equal counts stay in the order of the file.
    assert order == sorted(range(len(counts)), key=lambda n: (-counts[n], n))
    if budget is None:
        assert all(len(batch) == size for batch in found[:-1])
    else:
        assert all(len(b) == 1 or tokens[b].sum() <= budget for b in found)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_gives_whole_batches(tiny, workers):
    rows = tiny.rows()
    batches = ShuffledBatches(len(rows), 20, seed=1)
    load = partial(DataLoader, rows, batch_sampler=batches, collate_fn=as_is)
    context = {"multiprocessing_context": "forkserver"} if workers else {}
    found = [batch.index.tolist() for batch in load(num_workers=workers, **context)]
    assert found == list(batches)
