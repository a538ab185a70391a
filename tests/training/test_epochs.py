import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.errors import TrainingError
from tabweave.sampling import ShuffledBatches
from tabweave.training.config import TrainingConfig
from tabweave.training.epochs import Epochs, loss_shares

TOKENS = np.random.default_rng(0).integers(1, 60, 100)


def epochs(rows=100, row_weights=None, **training):
    config = TrainingConfig(**({"batch_size": 8, "max_epochs": 3} | training))
    limit = config.max_tokens_per_batch
    batches = ShuffledBatches(rows, config.batch_size, 0, TOKENS[:rows], limit)
    return Epochs(batches, config, row_weights)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
    st.integers(1, 6),
    st.integers(0, 9),
)
def test_shares_turn_means_of_batches_into_the_mean_of_a_step(sizes, accumulate, seed):
    losses = [np.random.default_rng([seed, n]).random(s) for n, s in enumerate(sizes)]
    shares = loss_shares([float(size) for size in sizes], accumulate)
    for at in range(0, len(sizes), accumulate):
        part = slice(at, at + accumulate)
        # What the optimizer sums: each batch's mean, divided by `accumulate`.
        summed = sum(
            share * batch.mean() / accumulate
            for share, batch in zip(shares[part], losses[part], strict=True)
        )
        assert summed == pytest.approx(np.concatenate(losses[part]).mean())


def test_a_batch_weighs_by_its_class_weights():
    weights = np.random.default_rng(1).random(100)
    made = epochs(row_weights=weights, accumulate_grad_batches=2)
    batches = made.batches.batches(1)
    pair = [weights[batch].sum() for batch in batches[2:4]]
    assert made.shares(1)[2:4] == pytest.approx([2 * m / sum(pair) for m in pair])


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
    assert made.steps == [len(made.batches.batches(epoch)) for epoch in range(3)]
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
