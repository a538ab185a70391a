import logging
import random

import numpy as np
import pytest
import torch

from tabweave.batching.sampling import RankBatches, ShuffledBatches
from tabweave.errors import ArtifactError
from tabweave.training.checkpoints.checkpoint import IDENTITY
from tabweave.training.checkpoints.resume import (
    Position,
    random_state,
    resumable,
    set_random_state,
)


def drawn():
    """Numbers of all generators, an odd count of normal ones included."""
    return [
        torch.rand(3).tolist(),
        torch.randn(3).tolist(),
        [random.random(), random.gauss(0, 1)],
        np.random.rand(3).tolist(),
        np.random.randn(3).tolist(),
    ]


@pytest.fixture(autouse=True)
def own_numbers():
    """Other tests draw on as if nothing had been drawn here."""
    before = random_state()
    yield
    set_random_state(before)


def test_all_generators_go_on_from_a_state_that_a_checkpoint_keeps(tmp_path):
    drawn()  # a normal number is left over in two of them
    torch.save(random_state(), tmp_path / "state")
    expected = [drawn(), drawn()]
    set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert [drawn(), drawn()] == expected
    assert expected[0] != expected[1]


@pytest.mark.parametrize("start", [0, 2, 6])
def test_the_sampler_begins_at_the_next_batch(start):
    batches = RankBatches(ShuffledBatches(50, 8, seed=0))
    state = {"epoch": 3, "done": start, "logged": 0, "random": [random_state()]}
    Position(batches).load_state_dict(state)
    whole = [batch.tolist() for batch in batches.whole.batches(3)]
    assert list(batches) == whole[start:]


IDENTICAL = {"training.lr": 0.1, "classes": ["a", "b"]}
WHOLE = {
    IDENTITY: IDENTICAL,
    "state_dict": {"model.a": torch.ones(2)},
    **{"optimizer_states": [], "lr_schedulers": [], "callbacks": {}, "loops": {}},
    **{"epoch": 0, "global_step": 3},
}


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of a training."""
    torch.save(WHOLE, tmp_path / "last.ckpt")
    return tmp_path


@pytest.mark.parametrize("required", [False, True])
def test_a_checkpoint_of_this_very_training_is_gone_on_from(folder, required):
    found = resumable(folder, dict(IDENTICAL), required=required)
    assert found == folder / "last.ckpt"


def test_without_a_checkpoint_training_starts_or_is_refused(tmp_path):
    assert resumable(tmp_path, IDENTICAL, required=False) is None
    with pytest.raises(ArtifactError, match=r"required, but there is no .*last\.ckpt"):
        resumable(tmp_path, IDENTICAL, required=True)


def test_a_checkpoint_of_another_training_is_refused_by_name(folder, caplog):
    other = {**IDENTICAL, "training.lr": 0.2}
    said = r"last\.ckpt is of another training: training\.lr: 0\.1 -> 0\.2"
    with pytest.raises(ArtifactError, match=said):
        resumable(folder, other, required=True)
    with caplog.at_level(logging.WARNING):
        assert resumable(folder, other, required=False) is None
    (record,) = caplog.records
    assert "training.lr: 0.1 -> 0.2" in record.getMessage()
    assert "Training starts from the beginning." in record.getMessage()


def test_a_checkpoint_that_does_not_say_what_it_is_of_is_refused(folder):
    torch.save({"state_dict": {}}, folder / "last.ckpt")
    with pytest.raises(ArtifactError, match="written by another program or version"):
        resumable(folder, IDENTICAL, required=True)


@pytest.mark.parametrize("required", [False, True])
def test_half_a_checkpoint_is_an_error_whatever_is_asked(folder, required):
    path = folder / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ArtifactError, match="is not a whole checkpoint"):
        resumable(folder, IDENTICAL, required=required)


@pytest.mark.parametrize("part", sorted(set(WHOLE) - {IDENTITY}))
@pytest.mark.parametrize("odd", [None, "text", torch.ones(1)])
def test_a_checkpoint_with_an_odd_part_is_refused_by_name(folder, part, odd):
    torch.save({**WHOLE, part: odd}, folder / "last.ckpt")
    said = (
        rf"last\.ckpt is not a whole checkpoint: its '{part}' is .* Delete it, or set"
    )
    with pytest.raises(ArtifactError, match=said):
        resumable(folder, IDENTICAL, required=False)


@pytest.mark.parametrize("odd", [[1], "text", torch.ones(2), 5])
def test_an_odd_identity_is_of_another_program(folder, odd):
    torch.save({**WHOLE, IDENTITY: odd}, folder / "last.ckpt")
    with pytest.raises(ArtifactError, match="written by another program or version"):
        resumable(folder, IDENTICAL, required=True)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_training_is_not_gone_on_with(folder, bad):
    weights = {"model.a": torch.tensor([1.0, bad])}
    torch.save({**WHOLE, "state_dict": weights}, folder / "last.ckpt")
    said = r"1 of the 2 numbers of model\.a are NaN or infinite.*training\.resume=never"
    with pytest.raises(ArtifactError, match=said):
        resumable(folder, IDENTICAL, required=False)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 1000])
def test_a_damaged_checkpoint_says_how_to_go_on(folder, content):
    (folder / "last.ckpt").write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        resumable(folder, IDENTICAL, required=False)
    said = str(caught.value)
    assert said.endswith(
        "Delete it, or set training.resume=never, to start from the beginning."
    )
    assert len(said.splitlines()) == 1
