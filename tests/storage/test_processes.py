import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tabweave.storage import processes
from tabweave.storage.processes import PATTERN, Process, is_running

NOW, LONG_AGO = 4e9, 1.0  # seconds: after and before this machine has started


def test_a_process_is_the_same_after_it_was_written_down():
    here = Process.here()
    assert here.number == os.getpid()
    assert re.fullmatch(PATTERN, str(here))
    assert Process.parse(str(here)) == here
    assert "." not in str(here), "names of temporary files are split at dots"


@pytest.mark.parametrize("text", ["", "12", "a-b", "a-b-c", "a-b-1-2"])
def test_another_text_is_no_process(text):
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        Process.parse(text)


def test_one_that_runs_here_has_not_ended(dead_process):
    assert is_running(os.getppid())
    for last_seen in (NOW, LONG_AGO):
        assert not Process.here().has_ended(last_seen)
        assert replace(Process.here(), number=dead_process).has_ended(last_seen)


def test_one_of_another_machine_is_never_said_to_have_ended(dead_process):
    for boot in (Process.here().boot, "00000000"):
        foreign = Process("00000000", boot, dead_process)
        assert not foreign.has_ended(LONG_AGO)


def test_one_of_an_earlier_boot_has_ended_if_its_trace_is_older_than_this_boot():
    """Another boot may also be another container of this name: its traces are young."""
    other = replace(Process.here(), boot="00000000", number=os.getpid())
    assert other.has_ended(LONG_AGO)
    assert not other.has_ended(time.time())
    assert not other.has_ended(NOW)


CODE = "from tabweave.storage.processes import Process; print(Process.here())"


def said(*prefix):
    done = subprocess.run(
        [*prefix, sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=False,
    )
    if prefix and done.returncode:
        pytest.skip(f"needs the right to make namespaces: {done.stderr.strip()}")
    return Process.parse(done.stdout.strip())


def test_two_processes_of_one_machine_share_all_but_the_number():
    other = said()
    assert replace(other, number=os.getpid()) == Process.here()


@pytest.mark.parametrize(
    "prefix",
    [
        ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"),
        (
            *("unshare", "--user", "--map-root-user", "--uts", "sh", "-c"),
            'hostname other && exec "$@"',
            "sh",
        ),
    ],
    ids=["counts its own processes", "has another name"],
)
def test_a_container_on_this_machine_is_another_place(prefix):
    """Its process 1 is not ours: whoever is dead there may have our number here."""
    other = said(*prefix)
    assert (other.host, other.boot) != (Process.here().host, Process.here().boot)
    assert not other.has_ended(time.time())
    assert not replace(other, number=2**22).has_ended(time.time())


@pytest.fixture
def forgetful():
    """What was found out of this machine is forgotten before and after."""

    def forget():
        for known in (processes._host, processes._boot):
            known.cache_clear()

    forget()
    yield
    forget()


def test_a_system_that_does_not_tell_of_boots(monkeypatch, forgetful, dead_process):
    nothing = Path("/nothing")
    monkeypatch.setattr(processes, "MACHINE_IDS", (nothing,))
    monkeypatch.setattr(processes, "BOOT_ID", nothing)
    monkeypatch.setattr(processes, "NAMESPACE", nothing)
    here = Process.here()
    assert not here.has_ended(LONG_AGO)
    # The number is all there is: whoever has none now has ended in any boot.
    assert replace(here, number=dead_process).has_ended(NOW)


def test_without_a_clock_of_boots_nothing_is_older(monkeypatch):
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    other = replace(Process.here(), boot="00000000")
    assert not other.has_ended(LONG_AGO)


# A process of Python's own kind, and one that it starts, which watches it.
FAMILY = """
import multiprocessing, os, sys, time
from tabweave.storage.processes import die_with_parent

def child():
    die_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    die_with_parent()  # nobody has started this one with Python
    multiprocessing.get_context("fork").Process(target=child).start()
    time.sleep(60)
"""


def test_a_child_ends_with_its_parent():
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
        parent.stdout.read()  # ends when nobody holds the pipe any more
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.02)
    assert not _alive(child)


def _alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
