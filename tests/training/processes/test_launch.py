import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tabweave.errors import SchemaError, TrainingError
from tabweave.training.config import TrainingConfig
from tabweave.training.processes.launch import SIGNALS, Ranks, launch
from tabweave.training.processes.warden import alive

# The processes of a launch import what is imported in the first seconds.
pytestmark = pytest.mark.slow


@pytest.fixture
def tasks(monkeypatch):
    """The module of functions, which new processes find as well."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("rank_tasks")


@pytest.fixture
def failure(tasks, tmp_path):
    """The error of a launch of two in which one is in trouble; nobody is left."""

    def run(name, kind, rank=1):
        pids = tmp_path / "pids"
        pids.mkdir()
        began = time.monotonic()
        with pytest.raises(kind) as caught:
            launch((getattr(tasks, name), (rank, pids)), two(), tmp_path / "logs")
        assert time.monotonic() - began < 30
        found = [int(path.name) for path in pids.iterdir()]
        assert len(found) == 2
        assert not any(alive(pid) for pid in found)
        return caught.value

    return run


def two(**changes):
    return Ranks(**({"devices": 2, "timeout_s": 60, "threads": 1} | changes))


def test_the_first_process_gives_the_result_and_none_is_left(tasks, tmp_path):
    handlers = [signal.getsignal(number) for number in SIGNALS]
    found = launch((tasks.where, ()), two(), tmp_path / "logs")
    assert found["rank"] == 0
    assert len({*found["pids"], os.getpid()}) == 3
    assert not any(alive(pid) for pid in found["pids"])
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    logs = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert logs == ["rank_0.log", "rank_1.log"]
    for rank, pid in enumerate(found["pids"]):
        said = (tmp_path / "logs" / f"rank_{rank}.log").read_text()
        assert said.startswith(f"rank {rank}, pid {pid}, 1 threads\n")


def test_an_error_of_ours_arrives_as_itself(failure):
    error = failure("refuse", SchemaError)
    first, where = str(error).splitlines()
    assert first == "column 'a' is not there"
    assert re.fullmatch(r"So said rank 1 \(pid \d+\)\. Log: .*rank_1\.log", where)


@pytest.mark.parametrize("rank", [0, 1])
def test_any_other_error_names_the_rank_and_shows_where(failure, tmp_path, rank):
    message = str(failure("fail", TrainingError, rank))
    assert message.startswith(f"Rank {rank} (pid ")
    assert "failed with LookupError: a mistake\n" in message
    assert 'raise LookupError("a mistake")' in message
    assert message.endswith(f"Log: {tmp_path / 'logs' / f'rank_{rank}.log'}")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_is_named(failure, rank):
    message = str(failure("die", TrainingError, rank))
    assert message.startswith(f"Rank {rank} (pid ")
    assert "was ended by SIGKILL (the kernel does so when memory runs out)" in message
    assert "training.resume to auto" in message


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_leaves_too_early_is_named(failure, rank):
    message = str(failure("leave", TrainingError, rank))
    assert message.startswith(f"Rank {rank} (pid ")
    assert "ended with exit code 0 before the training was done" in message


def test_processes_that_saved_after_sigterm_end_the_launch_with_143(failure):
    assert failure("terminated", SystemExit).code == 143


def test_the_number_of_processes_is_that_of_all_machines():
    config = TrainingConfig(
        devices=3, num_nodes=2, rendezvous="host:29500", timeout_s=7, threads=5
    )
    ranks = Ranks.of(config)
    assert ranks.world == 6
    assert (ranks.rendezvous, ranks.timeout_s, ranks.threads) == ("host:29500", 7, 5)
    assert Ranks().world == 1


SCRIPT = """
import os
from pathlib import Path
from tabweave.training.processes.launch import Ranks, launch

launch((os.getpid, ()), Ranks(devices=2, timeout_s=20, threads=1), Path("logs"))
"""


def test_a_script_without_a_guard_is_told_the_likely_cause(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert 'put the call under `if __name__ == "__main__":`' in last
    assert f"this script is {script}" in last


@pytest.mark.parametrize(
    ("node", "start"),
    [
        (1, "kedro run --params=training.num_nodes=2,training.rendezvous={place}"),
        (0, "tabweave join --rendezvous={place} --num-nodes=2 --node=1"),
    ],
)
def test_machines_that_do_not_meet_are_told_what_to_start_where(
    tmp_path, capfd, node, start
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    ranks = Ranks(nodes=2, node=node, rendezvous=place, timeout_s=2, threads=1)
    with pytest.raises(TrainingError, match=f"{place} within 2 seconds") as caught:
        launch(None, ranks, tmp_path / "logs")
    assert start.format(place=place) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "frame #" not in capfd.readouterr().err
