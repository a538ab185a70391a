"""The life of one of several processes, seen from outside."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import tabweave.training.processes.ranks as ranks
from tabweave.training.processes.launch import Ranks, launch

pytestmark = pytest.mark.slow

LAUNCHER = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {folder!r})
    from tabweave.training.processes.launch import Ranks, launch

    def main():
        from rank_task import speak_and_wait
        ranks = Ranks(devices=2, threads=1, timeout_s=60)
        launch((speak_and_wait, (Path({folder!r}),)), ranks, Path({folder!r}) / "logs")

    if __name__ == "__main__":
        main()
"""
TASK = """
    import os, sys, time
    from tabweave.training.processes.distributed import gathered, rank_and_world

    def speak_and_wait(folder):
        rank = rank_and_world()[0]
        print("printed by", rank, flush=True)
        os.system(f"echo said by {rank}")
        gathered("both are there")
        (folder / f"pid-{rank}").write_text(str(os.getpid()))
        if (folder / "wait").exists():
            time.sleep(300)
"""


@pytest.fixture
def launcher(tmp_path):
    (tmp_path / "rank_task.py").write_text(textwrap.dedent(TASK))
    script = tmp_path / "launcher.py"
    script.write_text(textwrap.dedent(LAUNCHER.format(folder=str(tmp_path))))
    return [sys.executable, str(script)]


def test_only_the_first_process_has_the_terminal(launcher, tmp_path):
    done = subprocess.run(
        launcher, capture_output=True, text=True, check=True, timeout=120
    )
    said = done.stdout + done.stderr
    assert "printed by 0" in said
    assert "said by 0" in said
    assert "by 1" not in said
    log = (tmp_path / "logs" / "rank_1.log").read_text()
    assert "printed by 1" in log
    assert "said by 1" in log
    assert log.startswith("rank 1, pid ")


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def test_processes_end_with_their_launcher_and_show_their_stacks(launcher, tmp_path):
    (tmp_path / "wait").touch()
    process = subprocess.Popen(launcher, start_new_session=True)
    notes = [tmp_path / "pid-0", tmp_path / "pid-1"]
    limit = time.monotonic() + 120
    while not all(note.exists() and note.read_text() for note in notes):
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.1)
    pids = [int(note.read_text()) for note in notes]
    os.kill(pids[1], ranks.DUMP)
    log = tmp_path / "logs" / "rank_1.log"
    while "speak_and_wait" not in log.read_text():
        assert time.monotonic() < limit
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    limit = time.monotonic() + 10
    while any(map(running, pids)):
        assert time.monotonic() < limit, "processes outlive their launcher"
        time.sleep(0.1)


def test_what_a_process_takes_crosses_as_it_is(tmp_path):
    given = {"a": [1, 2.5, "x"]}
    found = launch((max, ([given["a"][0], 7],)), Ranks(devices=2, threads=1), tmp_path)
    assert found == 7


def test_the_interface_is_the_one_that_reaches_the_other_machine():
    assert ranks.interface_towards("127.0.0.1") == "lo"
    assert ranks.interface_towards("localhost") == "lo"
    assert ranks.interface_towards("no-such-host.invalid") is None


def test_an_own_name_that_means_loopback_decides_nothing():
    # Debian writes 127.0.1.1 for a machine's own name; others reach it elsewhere.
    assert ranks.interface_towards("127.0.1.1") is None
