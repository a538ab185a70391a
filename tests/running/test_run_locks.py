import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tabweave.errors import InUseError, WriteError
from tabweave.running.run_locks import (
    RunLocks,
    above,
    filling,
    locked,
    reading,
    writing,
)
from tabweave.storage.artifacts import content_hash, write_bytes
from tabweave.tables.lookup import find_first_data_file

# Holds locks until its input ends: `<kind> <path>` each.
HOLDER = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from tabweave.running.run_locks import RunLocks, filling, reading, writing
    kinds = {"writes": writing, "reads": reading, "fills": filling}
    given = sys.argv[1:]
    locks = RunLocks()
    locks.hold(kinds[k](Path(p)) for k, p in zip(given[::2], given[1::2]))
    if "FORK" in os.environ and os.fork() == 0:
        sys.exit()  # a copy of the process that ends in an orderly way
    print("holds", flush=True)
    sys.stdin.read()
    """
)


@pytest.fixture
def holder():
    """Starts processes that hold locks; `stop` ends them in an orderly way."""
    running = []

    def start(*given, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, *map(str, given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )
        running.append(process)
        assert process.stdout.readline() == "holds\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def stop(process):
    process.communicate("", timeout=30)
    assert process.returncode == 0


def hidden(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(".*"))


def refused(*claims):
    with pytest.raises(InUseError) as caught, locked(claims):
        pass
    return str(caught.value)


@pytest.mark.parametrize(
    ("held", "wanted", "free"),
    [
        ("writes", writing, False),
        ("writes", reading, False),
        ("reads", writing, False),
        ("reads", reading, True),
    ],
)
def test_one_writes_or_many_read(holder, tmp_path, held, wanted, free):
    path = tmp_path / "model"
    process = holder(held, path)
    if free:
        with locked([wanted(path)]):
            pass
        assert hidden(tmp_path) == [".model.lock"], "the other still reads"
    else:
        message = refused(wanted(path))
        assert message.startswith(f"{path} is in use by another run")
        assert f"process {process.pid} on " in message
        assert f" {held} it since 2" in message
        assert "started as '-c writes" in message or "started as '-c reads" in message
    stop(process)
    assert hidden(tmp_path) == []
    with locked([wanted(path)]):
        assert hidden(tmp_path) == [".model.lock"]
    assert hidden(tmp_path) == []


def test_a_folder_that_is_filled_has_its_lock_inside(holder, tmp_path):
    folder = tmp_path / "checkpoints"
    process = holder("fills", folder)
    assert hidden(tmp_path) == ["checkpoints/.lock"]
    assert str(process.pid) in refused(filling(folder))
    stop(process)
    assert list(tmp_path.iterdir()) == [], "and goes with it if nothing was written"


def test_other_files_are_free(holder, tmp_path):
    holder("writes", tmp_path / "a", "reads", tmp_path / "b")
    with locked([writing(tmp_path / "c"), reading(tmp_path / "b")]):
        pass


def test_two_ways_to_one_folder_are_one(holder, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    holder("writes", tmp_path / "real" / "x")
    refused(writing(tmp_path / "link" / "x"))
    refused(reading(tmp_path / "real" / ".." / "link" / "x"))


def test_whoever_gets_one_lock_of_several_gets_none(holder, tmp_path):
    holder("writes", tmp_path / "b")
    refused(*(writing(tmp_path / name) for name in "abc"))
    assert hidden(tmp_path) == [".b.lock"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_holds_nothing(holder, tmp_path, number):
    path = tmp_path / "model"
    process = holder("writes", path)
    refused(writing(path))
    process.send_signal(number)
    process.wait(30)
    assert hidden(tmp_path) == [".model.lock"], "what is left means nothing"
    with locked([writing(path)]):
        pass
    assert hidden(tmp_path) == []


def test_of_several_readers_only_those_that_run_are_named(holder, tmp_path):
    path = tmp_path / "model"
    first, second = holder("reads", path), holder("reads", path)
    first.kill()
    first.wait()
    message = refused(writing(path))
    assert f"process {second.pid} " in message
    assert f"process {first.pid} " not in message


def test_a_copy_of_the_holder_that_ends_lets_go_of_nothing(holder, tmp_path):
    path = tmp_path / "model"
    process = holder("writes", path, FORK="1")
    time.sleep(0.3)
    refused(writing(path))
    stop(process)


def test_one_of_many_that_start_at_once_gets_all(tmp_path):
    """Each in another order; with a lock it is alone, and some come through."""
    code = """
        import sys, time
        from pathlib import Path
        from tabweave.errors import InUseError
        from tabweave.running.run_locks import locked, writing
        folder, names = Path(sys.argv[1]), sys.argv[2:]
        end, done = time.time() + 1.5, 0
        while time.time() < end:
            try:
                with locked([writing(folder / name) for name in names]):
                    (folder / "alone").touch(exist_ok=False)
                    (folder / "alone").unlink()
                    done += 1
            except InUseError:
                pass
        print(done)
    """
    orders = ["abcd", "dcba", "bxd"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), *names],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for names in orders
    ]
    for process in running:
        said, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert int(said) > 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_takes_a_lock_for_data(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "b.csv").write_text("x\n")
    before = content_hash(tmp_path / "train" / "b.csv")
    with locked([writing(tmp_path / "train" / "a.csv")]):
        assert find_first_data_file(tmp_path / "train").name == "b.csv"
        write_bytes(tmp_path / "train" / "a.csv", lambda file: file.write(b"x\n"))
        assert (tmp_path / "train" / ".a.csv.lock").exists()
    assert content_hash(tmp_path / "train" / "a.csv") == before


def test_locks_can_be_taken_again(tmp_path):
    locks = RunLocks()
    for _ in range(2):
        locks.hold([writing(tmp_path / "x"), reading(tmp_path / "x")])
        assert hidden(tmp_path) == [".x.lock"]
        locks.release()
        locks.release()
    assert hidden(tmp_path) == []


def test_a_place_that_cannot_be_written_is_said_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(
            WriteError, match=r"Cannot write .*file/model: (File exists|Not a dir)"
        ),
        locked([writing(tmp_path / "file" / "model")]),
    ):
        pass
    # Nobody writes there, so there is nobody to wait for.
    with locked([reading(tmp_path / "file" / "model"), reading(tmp_path / "no" / "x")]):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_folders_that_were_made_for_a_lock_go_with_it(holder, tmp_path):
    holder("writes", tmp_path / "b")
    refused(writing(tmp_path / "a" / "deep" / "x"), writing(tmp_path / "b"))
    assert sorted(p.name for p in tmp_path.iterdir()) == [".b.lock"]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, caplog):
    def unable(handle, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unable)
    with locked([writing(tmp_path / "a"), writing(tmp_path / "b")]):
        assert hidden(tmp_path) == []
    (record,) = caplog.records
    assert f"The file system of {tmp_path} cannot lock files" in record.getMessage()
    assert "one run write to it at a time" in record.getMessage()


def test_a_folder_that_is_written_is_held_against_files_in_it(holder, tmp_path):
    file = tmp_path / "out" / "deep" / "x.csv"
    assert [*above(file)] == []
    process = holder("writes", tmp_path / "out")
    assert f"{tmp_path / 'out'} is in use" in refused(writing(file), *above(file))
    stop(process)
    with locked([writing(file), *above(file)]):
        pass
    assert hidden(tmp_path) == []
