import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.batching.sampling import ShuffledBatches
from tabweave.errors import TrainingError
from tabweave.training.config import TrainingConfig
from tabweave.training.epochs import Epochs, loss_shares

TOKENS = np.random.default_rng(0).integers(1, 60, 100)


def epochs(rows=100, row_weights=None, rank=0, world=1, **training):
    config = TrainingConfig(**({"batch_size": 8, "max_epochs": 3} | training))
    limit = config.max_tokens_per_batch
    batches = ShuffledBatches(rows, config.batch_size, 0, TOKENS[:rows], limit)
    return Epochs(batches, config, row_weights, rank=rank, world=world)


@given(
    sizes=st.integers(1, 3).flatmap(
        lambda world: st.lists(
            st.tuples(
                st.integers(1, 9), *[st.integers(0, 9) for _ in range(world - 1)]
            ),
            min_size=1,
            max_size=12,
        )
    ),
    accumulate=st.integers(1, 5),
    weighted=st.booleans(),
    seed=st.integers(0, 9),
)
def test_shares_turn_means_of_batches_into_the_mean_of_a_step(
    sizes, accumulate, weighted, seed
):
    draw = np.random.default_rng(seed)
    rows = [[(draw.random(n), 0.1 + draw.random(n)) for n in group] for group in sizes]
    if not weighted:
        rows = [[(loss, np.ones(len(loss))) for loss, _ in group] for group in rows]
    masses = np.array([[weight.sum() for _, weight in group] for group in rows])
    shares = loss_shares(masses, accumulate)
    assert shares.shape == masses.shape
    world = masses.shape[1]
    for at in range(0, len(rows), accumulate):
        part = slice(at, at + accumulate)
        # What the optimizer sees: of every batch the mean, divided by `accumulate` and,
        # because gradients of processes are averaged, by their number.
        stepped = sum(
            share * np.average(loss, weights=weight) / accumulate / world
            for group, factors in zip(rows[part], shares[part], strict=True)
            for (loss, weight), share in zip(group, factors, strict=True)
            if len(loss)
        )
        losses, weights = (
            np.concatenate([pair[n] for group in rows[part] for pair in group])
            for n in (0, 1)
        )
        assert stepped == pytest.approx(np.average(losses, weights=weights))
    # A batch without rows counts nothing, whatever row stands in for it.
    assert (shares[masses == 0] == 0).all()


def test_a_batch_weighs_by_its_class_weights():
    weights = np.random.default_rng(1).random(100)
    made = epochs(row_weights=weights, accumulate_grad_batches=2)
    batches = made.batches.whole.batches(1)
    pair = [weights[batch].sum() for batch in batches[2:4]]
    assert made.shares(1)[2:4] == pytest.approx([2 * m / sum(pair) for m in pair])


@pytest.mark.parametrize("weights", [None, np.random.default_rng(1).random(100)])
def test_every_process_knows_what_its_own_batches_weigh(weights):
    def masses(rank):
        own = [group[rank] for group in made[rank].batches.groups(2)]
        return [len(b) if weights is None else weights[b].sum() for b in own]

    made = [epochs(row_weights=weights, rank=rank, world=3) for rank in range(3)]
    of_ranks = np.array([masses(rank) for rank in range(3)])
    found = np.array([each.shares(2) for each in made])
    assert found.shape == (3, 5)  # 13 batches of one process
    assert found == pytest.approx(3 * of_ranks / of_ranks.sum(0))


def test_processes_step_together():
    # 13 batches, of which the last ones are cut: 7 for each of two processes.
    assert epochs(world=2, rank=1).steps == [7, 7, 7]
    assert epochs(world=2, accumulate_grad_batches=4, val_check_interval=1).steps == [
        *(2, 2, 2)
    ]
    made = epochs(world=2, val_check_interval=0.5)
    assert made.between_checks(0) == 3
    assert epochs(world=2, max_tokens_per_batch=130).steps == [
        len(epochs(world=2, max_tokens_per_batch=130).batches.groups(epoch))
        for epoch in range(3)
    ]


def test_single_batches_need_no_shares():
    assert epochs().shares(0) is None


@pytest.mark.parametrize(
    ("training", "steps"),
    [
        ({}, [13, 13, 13]),
        ({"accumulate_grad_batches": 4, "val_check_interval": 1}, [4, 4, 4]),
        ({"max_steps": 20}, [13, 7]),
        ({"max_steps": 13}, [13]),
        ({"max_steps": 99}, [13, 13, 13]),
    ],
)
def test_the_steps_of_a_run_are_known_before_it(training, steps):
    assert epochs(**training).steps == steps


def test_with_a_token_budget_every_epoch_has_its_own_steps():
    made = epochs(max_tokens_per_batch=130)
    assert made.steps == [len(made.batches.whole.batches(n)) for n in range(3)]
    assert len(set(made.steps)) > 1


@pytest.mark.parametrize("interval", [0.6, 0.9, 1.0])
def test_the_fewest_batches_between_checks_fit_every_epoch(interval):
    made = epochs(max_tokens_per_batch=130, max_epochs=9, val_check_interval=interval)
    found = [made.between_checks(epoch) for epoch in range(9)]
    assert made.between_checks_at_least == min(found) < max(found)


def test_an_interval_that_the_shortest_epoch_cannot_hold_is_refused():
    made = epochs(max_tokens_per_batch=130)
    longest, shortest = max(made.steps), min(made.steps)
    long = epochs(max_tokens_per_batch=130, val_check_interval=longest)
    with pytest.raises(TrainingError, match=f"epoch has only {shortest}"):
        long.check()
    epochs(max_tokens_per_batch=130, val_check_interval=shortest).check()


def test_patience_counts_the_checks_of_an_epoch():
    assert epochs(early_stop_patience=2, val_check_interval=0.5).patience == 4
