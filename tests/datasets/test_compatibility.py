import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from kedro.io.core import DatasetError

from tabweave.datasets.compatibility import PickleDataset, PthDataset
from tabweave.datasets.files import JsonDataset
from tabweave.errors import ArtifactError, ExportError

RISKS = {
    "market": {"bins": {"": 0.25, "DE": 1 / 3, "日本": 0.1, "market": 0.1}},
    "size": {"bins": {}, "default_bin": 1e-300},
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def cause(caught, kind):
    """The error of ours behind Kedro's."""
    assert isinstance(caught.value.__cause__, kind)
    return str(caught.value.__cause__)


class Runs:
    """A pickle of it calls a function."""

    def __reduce__(self):
        return os.getcwd, ()


# .pth


def content(shift=0.0):
    return {"w": torch.arange(6.0).reshape(2, 3) + shift, "config": {"a": [1, None]}}


def test_tensors_and_plain_values_read_back(tmp_path):
    entry = PthDataset(path=str(tmp_path / "deep" / "model.pth"))
    entry.save(content())
    found = entry.load()
    assert found["config"] == {"a": [1, None]}
    assert torch.equal(found["w"], content()["w"])
    plainly = torch.load(entry.path, weights_only=True)
    assert torch.equal(plainly["w"], content()["w"])
    assert names(tmp_path / "deep") == ["model.pth"]


def test_equal_content_gives_equal_bytes_under_any_name(tmp_path):
    contents = []
    for name, shift in (("a.pth", 0.0), ("b.pth", 0.0), ("c.pth", 0.5)):
        entry = PthDataset(path=str(tmp_path / name))
        entry.save(content(shift))
        contents.append(entry.path.read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    entry = PthDataset(path=str(tmp_path / "model.pth"))
    entry.save(content())
    for wrong in ({"a": np.float64(1)}, {"a": Runs()}, {1: 2}):
        with pytest.raises(DatasetError) as caught:
            entry.save(wrong)
        assert cause(caught, ExportError).startswith("model.pth")
    assert entry.load()["config"] == {"a": [1, None]}
    assert names(tmp_path) == ["model.pth"]


@pytest.mark.parametrize("damage", ["missing", "short", "foreign", "code"])
def test_a_pth_file_that_is_not_ours_is_refused(tmp_path, damage):
    entry = PthDataset(path=str(tmp_path / "model.pth"))
    entry.save(content())
    whole = entry.path.read_bytes()
    if damage == "missing":
        entry.path.unlink()
    elif damage == "code":
        torch.save({"a": Runs()}, entry.path)
    else:
        entry.path.write_bytes({"short": whole[:-100], "foreign": b"no zip"}[damage])
    with pytest.raises(DatasetError) as caught:
        entry.load()
    message = cause(caught, ArtifactError)
    assert "model.pth" in message
    assert "Re-run the stage export" in message


# .pkl


def test_a_pickle_says_what_its_json_twin_says(tmp_path):
    entry = PickleDataset(path=str(tmp_path / "map.pkl"))
    twin = JsonDataset(path=str(tmp_path / "map.json"))
    for one in (entry, twin):
        one.save(RISKS)
    assert entry.load() == twin.load() == RISKS
    assert names(tmp_path) == ["map.json", "map.pkl"]


def test_a_pickle_is_read_by_a_python_without_tabweave(tmp_path):
    entry = PickleDataset(path=str(tmp_path / "map.pkl"))
    entry.save(RISKS)
    code = "import json, pickle, sys; print(json.dumps(pickle.load(sys.stdin.buffer)))"
    with open(entry.path, "rb") as file:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code],
            stdin=file,
            capture_output=True,
            check=True,
        )
    assert json.loads(done.stdout) == RISKS


def test_equal_values_give_equal_pickles(tmp_path):
    """Whether two equal texts are one object is nobody's business."""
    one, text = PickleDataset(path=str(tmp_path / "one.pkl")), "market" * 3
    again = "".join(["market"] * 3)
    assert again is not text
    one.save({"a": text, "b": text})
    shared = one.path.read_bytes()
    one.save({"b": again, "a": text})
    assert one.path.read_bytes() == shared
    assert pickle.dumps({"a": text, "b": text}) != pickle.dumps({"a": text, "b": again})


@pytest.mark.parametrize("wrong", [{1: 0.5}, {"a": (1, 2)}, {"a": float("nan")}])
def test_a_pickle_of_what_json_cannot_say_is_not_written(tmp_path, wrong):
    entry = PickleDataset(path=str(tmp_path / "map.pkl"))
    entry.save(RISKS)
    with pytest.raises(DatasetError):
        entry.save(wrong)
    assert entry.load() == RISKS
    assert names(tmp_path) == ["map.pkl"]


def test_a_pickle_that_is_missing_or_runs_code_is_refused(tmp_path):
    entry = PickleDataset(path=str(tmp_path / "map.pkl"))
    with pytest.raises(DatasetError) as caught:
        entry.load()
    assert "map.pkl does not exist" in cause(caught, ArtifactError)
    entry.path.write_bytes(pickle.dumps({"a": Runs()}))
    with pytest.raises(DatasetError) as caught:
        entry.load()
    assert "map.pkl is not read" in cause(caught, ArtifactError)
