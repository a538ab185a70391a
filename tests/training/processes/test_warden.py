import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tabweave.training.processes.notes import Note
from tabweave.training.processes.warden import Warden, alive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs signals"),
]
GRACE_S = 3.0
# Writes its stacks when asked for them; with `deaf`, nothing else makes it leave.
CHILD = """
import faulthandler, signal, sys, time
faulthandler.register(signal.SIGUSR1, open(sys.argv[1], "w"), all_threads=True)
def waits_for_another():
    print("ready", flush=True)
    time.sleep(60)
waits_for_another()
"""


@contextmanager
def children(folder, count):
    """Processes that wait, each with a note that it has started."""
    stacks = [folder / f"stacks-{rank}" for rank in range(count)]
    found = [
        subprocess.Popen([sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE)
        for path in stacks
    ]
    notes = folder / "notes"
    notes.mkdir()
    try:
        for rank, child in enumerate(found):
            assert child.stdout.readline() == b"ready\n"
            note = Note(notes, rank, rank)
            note.base["pid"] = child.pid
            note.started()
        yield notes, found, stacks
    finally:
        for child in found:
            child.kill()
            child.wait()
            child.stdout.close()


def ends(child, seconds):
    return child.wait(timeout=seconds)


def test_a_process_lives_until_it_has_ended(dead_process):
    assert alive(os.getpid())
    assert not alive(dead_process)
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 20
    while alive(child.pid) and time.monotonic() < deadline:
        time.sleep(0.05)  # it has ended and is not yet waited for
    assert not alive(child.pid)
    assert child.wait() == 0


def test_a_stopped_process_lives(tmp_path):
    with children(tmp_path, 1) as (_, (child,), _):
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(0.1)
        assert alive(child.pid)


@pytest.mark.parametrize("stopped", [False, True])
def test_when_one_dies_the_rest_tells_its_stacks_and_is_killed(tmp_path, stopped):
    with children(tmp_path, 3) as (notes, processes, stacks):
        warden = Warden(notes, GRACE_S)
        with warden:
            if stopped:
                os.kill(processes[2].pid, signal.SIGSTOP)
            began = time.monotonic()
            processes[0].kill()
            for child in processes[1:]:
                assert ends(child, 20) == -signal.SIGKILL
            took = time.monotonic() - began
        assert warden.stuck == [1, 2]
        # They had their grace, and not much more.
        assert GRACE_S - 0.5 <= took < GRACE_S + 4
        for path in stacks[1:]:
            assert "waits_for_another" in path.read_text()
        assert stacks[0].read_text() == ""


def test_a_process_that_says_that_it_failed_is_trouble(tmp_path):
    with children(tmp_path, 2) as (notes, processes, _), Warden(notes, GRACE_S):
        note = Note(notes, 0, 0)
        note.base["pid"] = processes[0].pid
        note.failed(ValueError("no"))
        assert ends(processes[1], 20) == -signal.SIGKILL


def test_processes_that_leave_by_themselves_are_not_stuck(tmp_path):
    with children(tmp_path, 2) as (notes, processes, stacks):
        warden = Warden(notes, 60)
        with warden:
            processes[0].kill()
            processes[1].terminate()
            assert ends(processes[1], 5) == -signal.SIGTERM
            time.sleep(2.6)  # past the moment at which stacks are asked for
        assert warden.stuck == []
        assert [path.read_text() for path in stacks] == ["", ""]


def test_processes_in_order_are_left_alone(tmp_path):
    with children(tmp_path, 2) as (notes, processes, _):
        done = Note(notes, 0, 0)
        done.base["pid"] = processes[0].pid
        done.done()
        warden = Warden(notes, 0.1)
        with warden:
            processes[0].kill()  # it has done its work
            processes[0].wait()
            time.sleep(0.8)
            assert processes[1].poll() is None
        assert warden.stuck == []


def test_no_child_of_a_launch_outlives_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=time.sleep, args=(60,))
    other = context.Process(target=time.sleep, args=(60,))
    for each in (child, other):
        each.start()
    try:
        note = Note(tmp_path, 0, 0)
        note.base["pid"] = child.pid
        note.started()
        with Warden(tmp_path, 60):
            pass
        assert not alive(child.pid)
        assert alive(other.pid)  # one of somebody else's
    finally:
        for each in (child, other):
            each.kill()
            each.join()
