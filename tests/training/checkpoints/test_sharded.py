"""Checkpoints in parts: the weights are read, and nothing else is run."""

import io
import os
import pickle
import zipfile

import pytest
import torch
from torch.distributed import checkpoint as distributed

from tabweave.errors import ArtifactError
from tabweave.training.checkpoints.sharded import INDEX, joined_weights


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


def test_an_index_that_asks_for_more_than_there_is_is_refused(folder):
    index = pickle.loads((folder / INDEX).read_bytes())
    entry = index.state_dict_metadata["state_dict.b"]
    entry.size = torch.Size([10**12])
    (folder / INDEX).write_bytes(pickle.dumps(index))
    with pytest.raises(ArtifactError, match="names 4,000,000,000,024 bytes of weights"):
        joined_weights(folder)


def test_parts_that_inflate_are_refused(folder):
    index = pickle.loads((folder / INDEX).read_bytes())
    (part,) = folder.glob("*.distcp")
    places = {key.fqn: place for key, place in index.storage_data.items()}
    place = places["state_dict.b"]
    data = part.read_bytes()
    bomb = io.BytesIO()
    with (
        zipfile.ZipFile(
            io.BytesIO(data[place.offset : place.offset + place.length])
        ) as old,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for one in old.infolist():
            new.writestr(one.filename, old.read(one))
    place.offset, place.length = len(data), len(bomb.getvalue())
    part.write_bytes(data + bomb.getvalue())
    (folder / INDEX).write_bytes(pickle.dumps(index))
    with pytest.raises(ArtifactError, match="compressed parts"):
        joined_weights(folder)
