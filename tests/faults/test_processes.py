"""Whatever becomes of one of several processes: the training ends, and says of what."""

import os
import re
import signal
import time

import pytest
from trainings import Trouble, broken_metric

from tabweave.training.checkpoints.checkpoint import (
    LAST,
    checkpoint_values,
    model_weights,
)

pytestmark = pytest.mark.slow

FAILS_IN = 30
HANG = 15
"""What training.timeout_s is where a process hangs."""


@pytest.fixture
def plan(tiny, tmp_path):
    """A training of two processes that does not end by itself."""

    def make(**changes):
        defaults = {"devices": 2, "max_epochs": 500, "early_stop_patience": 500}
        return tiny.plan("multimodal_bert", tmp_path, **(defaults | changes))

    return make


def failure(training, since, note, name, *, limit=FAILS_IN):
    """What the launcher says of a failure, which came in time and left nothing."""
    code = training.ended(limit + 90)
    seconds = time.time() - since()
    left = training.left(5)  # the server of forks leaves last
    note(name, f"{seconds:.1f} s to failure, {len(left)} processes left")
    assert code == 1, training.words()
    assert left == []
    assert seconds < limit, training.words()
    return training.run.said()


def assert_last_checkpoint_is_whole(plan):
    found = checkpoint_values(plan.checkpoints / LAST)
    assert found["global_step"] > 0
    assert "head.weight" in model_weights(plan.checkpoints / LAST)


def assert_said(text, *patterns):
    for pattern in patterns:
        assert re.search(pattern, text), f"{pattern!r} is not in:\n{text}"


@pytest.mark.parametrize(
    ("what", "patterns"),
    [
        (
            "raises",
            [
                r"TrainingError: Rank 1 \(pid \d+\) failed with LookupError: a mistake of",
                r"in raise_error\n.*\nLookupError: a mistake of the test\nLog: .*_1.log",
            ],
        ),
        ("SIGKILL", [r"TrainingError: Rank 1 \(pid \d+\) was ended by SIGKILL"]),
        (
            "memory",
            ["TrainingError: Memory ran out in training, ep", r"rank 1 \(pid \d+\)"],
        ),
        (
            "exits",
            [r"TrainingError: Rank 1 \(pid \d+\) ended with exit code 0 before"],
        ),
    ],
)
def test_a_rank_that_fails_ends_the_training(start, plan, note, what, patterns):
    made = plan()
    trouble = Trouble(what, rank=1, step=7)
    training = start(made, trouble=trouble, own_server=True)
    name = f"rank 1 {what}"
    text = failure(training, training.run.troubled, note, name)
    assert_said(text, *patterns)
    assert_last_checkpoint_is_whole(made)
    assert "Traceback" in training.log(1) or what in ("SIGKILL", "exits")


def test_a_metric_that_fails_names_the_rank_that_computes_it(start, plan, note):
    training = start(plan(metric=broken_metric), own_server=True)
    training.reached(1)
    now = time.time()
    text = failure(training, lambda: now, note, "metric raises")
    assert_said(
        text,
        r"TrainingError: Rank 0 \(pid \d+\) failed with LookupError: a mistake of",
        "in broken_metric",
    )


def test_a_rank_killed_from_outside_is_named(start, plan, note):
    made = plan()
    training = start(made, pause=0.02, own_server=True)
    training.reached(8, rank=1)
    os.kill(training.rank_pid(1), signal.SIGKILL)
    now = time.time()
    text = failure(training, lambda: now, note, "rank 1 killed from outside")
    assert_said(text, r"Rank 1 \(pid \d+\) was ended by SIGKILL .*memory", "resume")
    assert_last_checkpoint_is_whole(made)


def assert_stacks(training):
    """Every rank has left its stack, of all threads or as that of its own error."""
    for rank in (0, 1):
        log = training.log(rank)
        assert_said(log, r"[Tt]hread 0x|Traceback", r'File ".*", line \d+,? in \w+')


def test_a_rank_that_is_stopped_is_given_up(start, plan, note):
    made = plan(timeout_s=HANG)
    training = start(made, pause=0.02, own_server=True)
    training.reached(8)
    os.kill(training.rank_pid(1), signal.SIGSTOP)
    now = time.time()
    limit = HANG + 30
    text = failure(training, lambda: now, note, "rank 1 stopped", limit=limit)
    assert_said(text, r"Rank 1 \(pid \d+\) did not answer within training.timeout_s")
    assert_stacks(training)
    assert_last_checkpoint_is_whole(made)


def test_a_rank_that_sleeps_is_given_up(start, plan, note):
    rank = 0  # the other one is stopped in the test above
    made = plan(timeout_s=HANG)
    trouble = Trouble("sleeps", rank=rank, step=7)
    training = start(made, trouble=trouble, own_server=True)
    since, limit = training.run.troubled, HANG + 30
    text = failure(training, since, note, f"rank {rank} sleeps", limit=limit)
    assert_said(
        text, rf"Rank {rank} \(pid \d+\) did not answer within training.timeout_s"
    )
    assert_stacks(training)
    # The stacks show where it hangs.
    assert_said(training.log(rank), r'trainings\.py", line \d+ in meet')
    assert_last_checkpoint_is_whole(made)
