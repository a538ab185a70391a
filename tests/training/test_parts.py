"""Checkpoints in parts: the weights are read, and nothing else is run."""

import os
import pickle

import pytest
import torch
from torch.distributed import checkpoint as distributed

from tabweave.errors import ArtifactError
from tabweave.training.parts import INDEX, joined_weights


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with weights and the state of an optimizer."""
    state = {
        "state_dict": {"model.a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)},
        "optimizer_0": {"lr": 0.1, "step": torch.tensor(3)},
    }
    distributed.save(state, checkpoint_id=tmp_path / "last.ckpt", no_dist=True)
    return tmp_path / "last.ckpt"


pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


class Touch:
    """A pickle that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_weights_are_put_together_and_the_rest_is_left_alone(folder):
    found = joined_weights(folder)
    assert set(found) == {"state_dict"}
    assert set(found["state_dict"]) == {"model.a", "b"}
    assert torch.equal(found["state_dict"]["model.a"], torch.arange(6.0).view(2, 3))
    assert torch.equal(found["state_dict"]["b"], torch.ones(2))


def test_a_hostile_index_is_refused_and_runs_nothing(folder, tmp_path):
    mark = tmp_path / "mark"
    evil = pickle.dumps(Touch(mark))
    pickle.loads(evil)
    assert mark.exists()  # it does something, where it is let
    mark.unlink()
    (folder / INDEX).write_bytes(evil)
    with pytest.raises(ArtifactError, match=r"index names (posix|nt)\.system"):
        joined_weights(folder)
    assert not mark.exists()


@pytest.mark.parametrize("damage", ["no index", "no part", "half an index"])
def test_what_is_not_whole_is_refused(folder, damage):
    part = next(folder.glob("*.distcp"))
    if damage == "no index":
        (folder / INDEX).unlink()
    elif damage == "no part":
        part.unlink()
    else:
        (folder / INDEX).write_bytes((folder / INDEX).read_bytes()[:50])
    with pytest.raises(ArtifactError, match="not a whole checkpoint"):
        joined_weights(folder)
