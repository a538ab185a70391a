"""When last.ckpt is written, and what SIGTERM does to a training in this process."""

import os
import signal

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from tabweave.training.checkpoints import interruption
from tabweave.training.checkpoints.checkpoint import LAST
from tabweave.training.checkpoints.interruption import TERMINATED, LastCheckpoint


class Steps(Callback):
    """The step of last.ckpt, as it is before and after every step."""

    def __init__(self, folder, disturb=None):
        self.path, self.disturb = folder / LAST, disturb
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.path.exists():
            found = torch.load(self.path, weights_only=True)["global_step"]
            self.seen.append((trainer.global_step, found))
        if self.disturb:
            self.disturb(trainer.global_step)


@pytest.fixture
def train(fit, tmp_path):
    """Trains 48 rows in batches of 8; gives what was seen, and the last step."""

    def run(*, every=None, disturb=None, **training):
        last = LastCheckpoint(tmp_path / "c", every, 5)
        steps = Steps(tmp_path / "c", disturb)
        defaults = {"max_epochs": 2, "val_check_interval": 1.0}
        fit(callbacks=[last, steps], **(defaults | training))
        return steps.seen, torch.load(last.path, weights_only=True)["global_step"]

    return run


def test_it_is_written_between_a_validation_and_the_next_step_and_at_the_end(train):
    seen, last = train()
    # Six steps per epoch, each followed by a validation.
    assert seen == [(step, 6) for step in range(7, 13)]
    assert last == 12


def test_it_is_written_every_so_many_steps(train):
    seen, last = train(every=2, max_epochs=1)
    assert seen == [(3, 2), (4, 2), (5, 4), (6, 4)]
    assert last == 6


def test_accumulated_batches_are_never_cut_in_two(train):
    seen, last = train(every=1, max_epochs=1, accumulate_grad_batches=2)
    # Three steps of two batches: the boundary comes before the third and the fifth.
    assert seen == [(1, 1), (2, 1), (2, 2), (3, 2)]
    assert last == 3


def test_sigterm_saves_before_the_next_step_and_leaves(train, tmp_path):
    def disturb(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        train(disturb=disturb)
    assert caught.value.code == TERMINATED == 143
    found = torch.load(tmp_path / "c" / LAST, weights_only=True)
    assert found["global_step"] == 3
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_in_the_last_validation_is_not_forgotten(train, tmp_path):
    def disturb(step):
        if step == 6:  # the next thing is the validation at the end
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        train(disturb=disturb, max_epochs=1)
    assert caught.value.code == TERMINATED
    found = torch.load(tmp_path / "c" / LAST, weights_only=True)
    assert found["global_step"] == 6


def test_sighup_saves_as_well_and_is_named_in_the_exit_code(train, tmp_path):
    def disturb(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGHUP)

    with pytest.raises(SystemExit) as caught:
        train(disturb=disturb)
    assert caught.value.code == 129
    assert torch.load(tmp_path / "c" / LAST, weights_only=True)["global_step"] == 2


class ArrivesAtTheEnd(Callback):
    """A signal after the last checkpoint is written, while Lightning still tidies up."""

    def on_train_end(self, trainer, pl_module):
        os.kill(os.getpid(), signal.SIGTERM)


class Heard(Exception):
    """What the handler of the command around a training raises."""


def test_a_signal_after_training_reaches_who_listens_around_it(fit, tmp_path):
    def hear(number, frame):
        raise Heard

    before = signal.signal(signal.SIGTERM, hear)
    try:
        last = LastCheckpoint(tmp_path / "c", None, 5)
        with pytest.raises(Heard):
            fit(callbacks=[last, ArrivesAtTheEnd()], max_epochs=1)
        assert signal.getsignal(signal.SIGTERM) is hear
        assert (tmp_path / "c" / LAST).exists()
        fit(callbacks=[LastCheckpoint(tmp_path / "d", None, 5)], max_epochs=1)
        assert signal.getsignal(signal.SIGTERM) is hear
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_long_validation_is_left(train, tmp_path, monkeypatch, caplog):
    def disturb(step):
        if step == 6:  # a validation follows
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(interruption, "VALIDATION_S", 0.0)
    with pytest.raises(SystemExit) as caught:
        train(disturb=disturb)
    assert caught.value.code == TERMINATED
    assert "Ended in a validation" in caplog.text
    assert not (tmp_path / "c" / LAST).exists()
