"""What a signal does to a process that is in Python, in a library, or ending already."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tabweave.running.signals import Interrupted, interrupt, interruptible

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
BEGIN = """
import hashlib, os, signal, sys, time
from pathlib import Path
from tabweave.running import signals
from tabweave.storage.artifacts import replacing, scratch_folder

signals.LIMIT_S = 0.6
path = Path("artifact")

def python():
    while True:
        time.sleep(0.01)

def library():  # no handler of Python runs until it is over, long after all limits
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)

def ready():
    print("ready", flush=True)

def go_on():
    return "Run again: me"
"""


@pytest.fixture
def start(tmp_path):
    """Starts a script that says when it is ready; gives its process."""
    started = []

    def run(script, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + script],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n", process.communicate()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def ended(process, number, limit=3.0):
    """Sends a signal; gives the exit code and what was said in the seconds allowed."""
    os.kill(process.pid, number)
    since = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - since < limit
    return process.returncode, out, err


WRITING = """
path.write_text("old")
with signals.interruptible(go_on), replacing(path) as part, scratch_folder() as scratch:
    part.write_text("new, and not whole")
    (scratch / "large").write_text("large")
    Path("scratch").write_text(str(scratch))
    ready()
    {place}()
"""


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("place", ["python", "library"])
def test_a_signal_ends_the_process_and_leaves_whole_files(
    start, tmp_path, number, place
):
    process = start(WRITING.format(place=place))
    code, _, err = ended(process, number)
    assert code == CODES[number]
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert err == f"Ended by {name}. Run again: me\n"
    scratch = (tmp_path / "scratch").read_text()
    assert not os.path.exists(scratch)
    assert sorted(os.listdir(tmp_path)) == ["artifact", "scratch"]
    assert (tmp_path / "artifact").read_text() == "old"


@pytest.mark.parametrize(
    "after",
    ["python()", "pass", "raise ValueError('a library says something else')"],
)
def test_a_library_that_swallows_the_error_changes_nothing(start, after):
    process = start(f"""
with signals.interruptible(go_on):
    try:
        ready()
        python()
    except BaseException:
        pass
    {after}
""")
    code, _, err = ended(process, signal.SIGTERM)
    assert code == 143
    assert err.endswith("Run again: me\n")
    assert "Traceback" not in err


def test_a_call_into_a_library_leaves_no_lock_behind(start, tmp_path):
    process = start("""
from tabweave.running.run_locks import locked, reading, writing
with signals.interruptible(go_on), locked([writing(path), reading(Path("read"))]):
    ready()
    library()
""")
    assert len(list(tmp_path.iterdir())) == 2
    assert ended(process, signal.SIGTERM)[0] == 143
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_no_caller_can_see_is_made_good(start):
    process = start("""
class Quiet:
    def __del__(self):  # Python prints what is raised here, and goes on
        ready()
        for _ in range(50):
            time.sleep(0.01)

with signals.interruptible(go_on):
    Quiet()
    python()
""")
    code, _, err = ended(process, signal.SIGTERM)
    assert code == 143
    assert err.endswith("Ended by SIGTERM. Run again: me\n")


def test_a_second_signal_ends_the_process_at_once(start, tmp_path):
    process = start("signals.LIMIT_S = 60" + WRITING.format(place="library"))
    time.sleep(0.5)  # from "ready" into the library
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(1.5)
    assert process.poll() is None
    code, _, err = ended(process, signal.SIGINT, limit=5.0)
    assert (code, err) == (130, "Ended by Ctrl-C. Run again: me\n")
    assert not list(tmp_path.glob(".*.part"))


def test_a_signal_that_is_sent_twice_is_one(start):
    # As `timeout` does: to the process, and then to its group.
    process = start("""
with signals.interruptible(go_on):
    try:
        ready()
        python()
    finally:
        time.sleep(0.5)
        print("cleaned", flush=True)
""")
    for _ in range(3):
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.05)
    code, out, _ = ended(process, signal.SIGTERM)
    assert (code, out) == (143, "cleaned\n")


def test_what_the_process_was_told_to_ignore_stays_ignored(start):
    process = start(
        """
with signals.interruptible(go_on):
    ready()
    time.sleep(0.5)
    print("done", flush=True)
""",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert ended(process, signal.SIGHUP) == (0, "done\n", "")


def test_sigterm_is_heard_even_where_the_parent_ignored_it(start):
    process = start(
        """
with signals.interruptible(go_on):
    ready()
    time.sleep(60)
""",
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    )
    assert ended(process, signal.SIGTERM)[0] == 143


def test_a_forked_process_listens_for_itself(start):
    process = start("""
with signals.interruptible(go_on):
    ready()
    child = os.fork()
    if not child:
        time.sleep(60)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    time.sleep(0.9)  # longer than the limit
    print("parent lives", flush=True)
""")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "-15\nparent lives\n", "")


@pytest.mark.parametrize("place", ["python", "library"])
def test_children_do_not_outlive_a_process_that_is_ended(start, tmp_path, place):
    process = start(f"""
import multiprocessing
with signals.interruptible(go_on):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    Path("child").write_text(str(child.pid))
    ready()
    {place}()
""")
    assert ended(process, signal.SIGTERM)[0] == 143
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{child}")


def test_a_signal_that_was_swallowed_is_raised_before_something_is_replaced(
    start, tmp_path
):
    process = start("""
with signals.interruptible(go_on):
    signals.raise_heard()  # nothing has come
    try:
        ready()
        python()
    except BaseException:
        pass
    signals.raise_heard()
    path.write_text("new")
""")
    code, _, err = ended(process, signal.SIGINT)
    assert (code, err) == (130, "Ended by Ctrl-C. Run again: me\n")
    assert not (tmp_path / "artifact").exists()


def test_a_signal_while_an_old_folder_goes_leaves_nothing_of_it(start, tmp_path):
    process = start("""
from tabweave.storage.artifacts import replacing_folder
path.mkdir()
for number in range(20_000):
    (path / str(number)).touch()
with signals.interruptible(go_on), replacing_folder(path) as part:
    ready()
""")
    # The old folder has taken the name of the new one's part, and is on its way.
    while len(os.listdir(tmp_path)) == 1 or (tmp_path / "artifact" / "0").exists():
        assert process.poll() is None
    (part,) = tmp_path.glob(".artifact.*.part")
    while len(os.listdir(part)) == 20_000:
        assert process.poll() is None
    code, _, err = ended(process, signal.SIGTERM)
    assert (code, err) == (143, "Ended by SIGTERM. Run again: me\n")
    assert os.listdir(tmp_path) == ["artifact"]


def test_the_innermost_context_says_how_to_go_on(start):
    process = start("""
with signals.interruptible(go_on), signals.interruptible(lambda: "Inside."):
    ready()
    python()
""")
    code, _, err = ended(process, signal.SIGTERM)
    assert (code, err) == (143, "Ended by SIGTERM. Inside.\n")


def test_a_handler_of_a_training_comes_first(start):
    process = start("""
def save(number, frame):
    time.sleep(0.9)  # longer than the limit
    print("saved", flush=True)
    signals.interrupt(number)

with signals.interruptible(go_on):
    signal.signal(signal.SIGTERM, save)
    ready()
    python()
""")
    code, out, err = ended(process, signal.SIGTERM, limit=5)
    assert (code, out, err) == (143, "saved\n", "Ended by SIGTERM. Run again: me\n")


def test_a_context_leaves_no_trace():
    numbers = [*CODES, signal.SIGUSR1]
    before = [signal.getsignal(number) for number in numbers]
    with interruptible(str):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1
    with pytest.raises(LookupError), interruptible(str):
        raise LookupError
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_keyboard_interrupt_of_others_is_one(capfd):
    with pytest.raises(Interrupted) as caught, interruptible(lambda: "Again."):
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert capfd.readouterr().err.strip() == "Ended by Ctrl-C. Again."


def test_without_a_context_an_interruption_is_an_exit():
    with pytest.raises(SystemExit) as caught:
        interrupt(signal.SIGTERM)
    assert caught.value.code == 143
