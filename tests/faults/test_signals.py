"""Signals from outside: who ends, what is saved, what is left."""

import os
import signal
import time

import pytest
from trainings import Trouble

from tabweave.training.checkpoints.checkpoint import LAST, checkpoint_values

pytestmark = pytest.mark.slow

ENDS_IN = 10
PAUSE = 0.05
TERMINATED = 143


@pytest.fixture
def plan(tiny, tmp_path):
    """A training that does not end by itself; checkpoints only where it is said."""

    def make(devices=2, **changes):
        defaults = {"max_epochs": 500, "early_stop_patience": 500}
        return tiny.plan(
            "multimodal_bert", tmp_path, devices=devices, **(defaults | changes)
        )

    return make


def ended(training, name, note, *, limit=ENDS_IN):
    """The exit code of a training that was sent a signal just now."""
    since = time.monotonic()
    code = training.ended(limit + 60)
    seconds = time.monotonic() - since
    left = training.left(5)
    note(name, f"{seconds:.1f} s to the end, {len(left)} processes left")
    assert left == []
    assert seconds < limit, training.words()
    return code


def steps_saved(plan):
    return checkpoint_values(plan.checkpoints / LAST)["global_step"]


def running(start, made, *, steps=8, **changes):
    training = start(made, pause=PAUSE, own_server=True, **changes)
    training.reached(steps)
    return training


@pytest.mark.parametrize("devices", [1, 2])
def test_ctrl_c_ends_everything_without_saving(start, plan, note, devices):
    # Nothing is saved but at the end of an epoch, and none has ended.
    made = plan(devices, batch_size=1, val_check_interval=1.0)
    training = running(start, made)
    os.killpg(training.pid, signal.SIGINT)
    code = ended(training, f"Ctrl-C, {devices} processes", note)
    assert code == 1
    assert "KeyboardInterrupt" in training.run.said()
    assert not (made.checkpoints / LAST).exists()


@pytest.mark.parametrize(
    ("devices", "target"), [(1, "training"), (2, "launcher"), (2, 0), (2, 1)]
)
def test_sigterm_saves_the_step_at_hand(start, plan, note, devices, target):
    made = plan(devices, batch_size=1, val_check_interval=1.0)
    training = running(start, made)
    assert not (made.checkpoints / LAST).exists()
    pid = training.rank_pid(target) if isinstance(target, int) else training.pid
    os.kill(pid, signal.SIGTERM)
    name = f"SIGTERM to {target if isinstance(target, str) else f'rank {target}'}"
    code = ended(training, f"{name}, {devices} processes", note, limit=ENDS_IN + PAUSE)
    assert code == TERMINATED, training.words()
    # All have computed the same batches, and that is what was saved.
    counts = {len(training.run.steps(rank)) for rank in range(devices)}
    assert counts == {steps_saved(made)}, training.words()


@pytest.mark.parametrize(("devices", "workers"), [(1, 2), (2, 0), (2, 2)])
def test_sigterm_to_the_whole_group_saves_once(start, plan, note, devices, workers):
    # A terminal that closes, or a scheduler, sends it to every process at once.
    made = plan(devices, batch_size=1, val_check_interval=1.0, num_workers=workers)
    training = running(start, made)
    os.killpg(training.pid, signal.SIGTERM)
    name = f"SIGTERM to the group, {devices} processes, {workers} workers each"
    code = ended(training, name, note, limit=ENDS_IN + PAUSE)
    assert code == TERMINATED, training.words()
    counts = {len(training.run.steps(rank)) for rank in range(devices)}
    assert counts == {steps_saved(made)}, training.words()


def test_sigterm_in_a_validation_saves_at_the_next_step(start, plan, note):
    made = plan(2)
    trouble = Trouble("SIGTERM", rank=1, step=5, place="validation")
    training = start(made, trouble=trouble, own_server=True)
    training.reached(6, rank=1)
    code = ended(training, "SIGTERM in a validation, 2 processes", note)
    assert code == TERMINATED, training.words()
    assert steps_saved(made) == len(training.run.steps(1)) == 6


@pytest.mark.parametrize("devices", [1, 2])
def test_a_second_sigterm_is_immediate(start, plan, note, devices):
    made = plan(devices, batch_size=1, val_check_interval=1.0)
    training = start(made, pause=30, own_server=True)
    training.reached(1)
    os.kill(training.pid, signal.SIGTERM)
    time.sleep(4)
    assert training.process.is_alive(), training.words()
    os.kill(training.pid, signal.SIGTERM)
    code = ended(training, f"second SIGTERM, {devices} processes", note, limit=5)
    assert code in (TERMINATED, -signal.SIGTERM), training.words()
    assert not (made.checkpoints / LAST).exists()


def test_nothing_outlives_a_killed_launcher(start, plan, note):
    training = running(start, plan(2))
    os.kill(training.pid, signal.SIGKILL)
    since = time.monotonic()
    assert training.ended(10) == -signal.SIGKILL
    left = training.left(ENDS_IN)
    seconds = time.monotonic() - since
    note("SIGKILL of the launcher", f"{seconds:.1f} s, {len(left)} processes left")
    assert left == []
