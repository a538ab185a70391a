import importlib
from pathlib import Path

import pytest

from tabweave.training.processes.distributed import (
    Agreement,
    from_first,
    gathered,
    rank_and_world,
    summed,
    together,
)
from tabweave.training.processes.launch import Ranks, launch


def test_alone_a_process_is_its_own_answer():
    assert not together()
    assert rank_and_world() == (0, 1)
    assert gathered({"a": 1}) == [{"a": 1}]
    assert from_first("a") == "a"
    assert summed([1, 2.5]) == [1, 2.5]
    assert [Agreement(1).any(wanted) for wanted in (True, False)] == [True, False]


@pytest.mark.slow
def test_two_processes_hear_each_other(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    tasks = importlib.import_module("rank_tasks")
    ranks = Ranks(devices=2, timeout_s=60, threads=1)
    own = [{"a": 1}, "other"]
    found = launch((tasks.talk, (own,)), ranks, tmp_path)
    for rank, heard in enumerate(found):
        assert heard == {
            "together": True,
            "place": [rank, 2],
            "gathered": own,
            "first": {"a": 1},
            "summed": [3, 1],
            "agreed": [True, True, False],
            "threads": 1,
        }
