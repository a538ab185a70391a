from functools import partial
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from tabweave.batching.batches import as_is
from tabweave.batching.sampling import (
    POOL,
    BucketedBatches,
    RankBatches,
    ShuffledBatches,
    SortedBatches,
    cut,
)

KINDS = (ShuffledBatches, BucketedBatches)


def spread(batches):
    return [*chain(*batches)]


def plain(batches):
    return [batch.tolist() for batch in batches]


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
    found = plain(batches.batches(epoch))
    assert len(found) == batches.count(epoch)
    assert sorted(spread(found)) == list(range(len(counts)))
    assert all(0 < len(batch) <= size for batch in found)
    assert plain(batches.batches(epoch)) == found
    if budget is None:
        assert sum(len(batch) < size for batch in found) <= 1
        return
    for batch in found:
        assert len(batch) == 1 or tokens[batch].sum() <= budget


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 99))
def test_only_the_last_of_shuffled_batches_is_smaller(rows, size, seed):
    found = ShuffledBatches(rows, size, seed).batches(0)
    assert all(len(batch) == size for batch in found[:-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [None, 40])
def test_the_order_is_a_function_of_seed_and_epoch(kind, budget):
    tokens = np.arange(50)

    def order(seed, epoch, before=()):
        batches = kind(50, 8, seed, tokens, budget)
        for other in before:  # what was asked before does not matter
            batches.batches(other)
        return spread(batches.batches(epoch))

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
    shuffled = ShuffledBatches(6000, 16, 0).batches(0)
    bucketed = BucketedBatches(6000, 16, 0, tokens).batches(0)
    assert padding(shuffled, tokens) > 0.4
    assert padding(bucketed, tokens) < 0.05
    # Pools and batches are in random order: neighbours are not of similar length.
    longest = np.array([tokens[batch].max() for batch in bucketed], float)
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.2
    assert len(bucketed) > POOL


WHOLES = st.builds(
    lambda kind, counts, size, seed, budget: kind(
        len(counts), size, seed, np.array(counts, np.int64), budget
    ),
    st.sampled_from(KINDS),
    st.lists(st.integers(0, 9), max_size=40),
    st.integers(1, 9),
    st.integers(0, 99),
    st.none() | st.integers(1, 30),
)
EPOCH, WORLD = st.integers(0, 5), st.integers(1, 5)


def of_ranks(whole, world, epoch, start=0):
    """What every process takes of an epoch."""
    ranks = [RankBatches(whole, rank, world) for rank in range(world)]
    for rank in ranks:
        rank.epoch, rank.start = epoch, start
    return ranks


@given(WHOLES, EPOCH)
def test_alone_a_process_takes_the_whole_order(whole, epoch):
    (alone,) = of_ranks(whole, 1, epoch)
    found = list(alone)
    assert found == plain(whole.batches(epoch))
    assert list(alone) == found  # a DataLoader may ask twice
    assert len(alone) == len(found) == whole.count(epoch)
    assert all(type(row) is int for row in spread(found))


@given(WHOLES, EPOCH, WORLD)
def test_groups_are_the_whole_order_for_any_number_of_processes(whole, epoch, world):
    groups = RankBatches(whole, 0, world).groups(epoch)
    order = spread(whole.batches(epoch))
    assert [int(row) for group in groups for part in group for row in part] == order
    assert all(len(group) == world for group in groups)
    # Only the last group is cut further; before it, batches are those of one process.
    before = [batch for group in groups[:-1] for batch in plain(group)]
    assert before == plain(whole.batches(epoch))[: len(before)]
    # A part is empty only where there are fewer rows than processes.
    for group in groups:
        if sum(len(part) for part in group) >= world:
            assert all(len(part) for part in group)


@given(WHOLES, EPOCH, WORLD, st.integers(0, 3))
def test_processes_take_every_row_once_in_as_many_batches(whole, epoch, world, start):
    ranks = of_ranks(whole, world, epoch)
    found = [list(rank) for rank in ranks]
    assert {len(batches) for batches in found} == {ranks[0].count(epoch)}
    assert {len(rank) for rank in ranks} == {ranks[0].count(epoch)}
    groups = ranks[0].groups(epoch)
    counted = []
    for step, group in enumerate(groups):
        for rank, part in enumerate(group):
            taken = found[rank][step]
            if len(part):
                assert taken == part.tolist()
                counted += taken
            else:  # a stand-in: one row of the group, which does not count
                assert len(taken) == 1
                assert taken[0] in spread(group)
    assert sorted(counted) == list(range(whole.rows))
    for rank, late in enumerate(of_ranks(whole, world, epoch, start)):
        assert list(late) == found[rank][start:]


@given(WHOLES, EPOCH, WORLD)
def test_every_step_of_two_numbers_of_processes_is_of_the_same_rows(
    whole, epoch, world
):
    """What accumulation over `world` batches sees in one process."""
    alone = whole.batches(epoch)
    together = RankBatches(whole, 0, world).groups(epoch)
    for step, group in enumerate(together):
        assert spread(group) == spread(alone[step * world : (step + 1) * world])


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.integers(1, 7),
    st.none() | st.integers(1, 12),
    WORLD,
)
def test_processes_predict_every_row_once_in_as_many_batches(
    counts, size, budget, world
):
    tokens = np.array(counts, np.int64)
    ranks = [
        SortedBatches(tokens, size, budget, rank=rank, world=world)
        for rank in range(world)
    ]
    found = [list(rank) for rank in ranks]
    assert len({len(batches) for batches in found}) == 1
    assert [len(rank) for rank in ranks] == [len(batches) for batches in found]
    real = [batches[: rank.real] for rank, batches in zip(ranks, found, strict=True)]
    rows = [row for batches in real for row in spread(batches)]
    assert sorted(rows) == list(range(len(counts)))
    # The batches themselves are those of one process, dealt in turn.
    alone = list(SortedBatches(tokens, size, budget))
    assert [real[n % world][n // world] for n in range(len(alone))] == alone
    # Those that do not count are as cheap as can be.
    for rank, batches in zip(ranks, found, strict=True):
        assert len(batches) - rank.real <= 1
        assert all(len(batch) == 1 for batch in batches[rank.real :])


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
    batches = RankBatches(ShuffledBatches(len(rows), 20, seed=1))
    load = partial(DataLoader, rows, batch_sampler=batches, collate_fn=as_is)
    context = {"multiprocessing_context": "forkserver"} if workers else {}
    found = [batch.index.tolist() for batch in load(num_workers=workers, **context)]
    assert found == list(batches)
    assert sorted(spread(found)) == list(range(len(rows)))
