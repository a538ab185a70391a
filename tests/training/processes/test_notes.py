import os
import time

import pytest

from tabweave.errors import SchemaError, TrainingError
from tabweave.training.processes.notes import Note, read_notes


def failed(folder, error):
    """What is read of a process that ended with an error."""
    note = Note(folder, 0, 0)
    note.started()
    try:
        raise error
    except type(error) as caught:
        note.failed(caught)
    (found,) = read_notes(folder)
    return found


def test_processes_are_told_in_the_order_of_their_ranks(tmp_path):
    assert read_notes(tmp_path) == []
    for local, rank in ((1, 7), (0, 6), (2, 8)):
        Note(tmp_path, local, rank).started()
    (tmp_path / "elastic").mkdir()  # the launcher's own files lie beside
    assert [note["rank"] for note in read_notes(tmp_path)] == [6, 7, 8]
    assert {note["pid"] for note in read_notes(tmp_path)} == {os.getpid()}
    assert {note["state"] for note in read_notes(tmp_path)} == {"started"}


def test_a_process_has_one_state(tmp_path):
    note = Note(tmp_path, 0, 3)
    for say, state in ((note.started, "started"), (note.done, "done")):
        say()
        assert read_notes(tmp_path) == [{"rank": 3, "pid": os.getpid(), "state": state}]


def test_a_failure_is_told_with_its_traceback_and_its_time(tmp_path):
    before = time.time()
    found = failed(tmp_path, ZeroDivisionError("by nothing"))
    assert (found["state"], found["kind"]) == ("failed", "ZeroDivisionError")
    assert found["message"] == "by nothing"
    assert "raise error" in found["traceback"]
    assert found["traceback"].endswith("ZeroDivisionError: by nothing\n")
    assert before <= found["time"] <= time.time()
    assert found["exit_code"] == 1
    assert not found["expected"]
    assert not found["lost_another"]


def test_an_exit_keeps_its_code(tmp_path):
    assert failed(tmp_path, SystemExit(143))["exit_code"] == 143


@pytest.mark.parametrize("kind", [TrainingError, SchemaError])
def test_an_error_of_ours_is_an_expected_one(tmp_path, kind):
    found = failed(tmp_path, kind("the socket of column Connection reset by peer"))
    assert found["expected"]
    assert found["kind"] == kind.__name__
    assert not found["lost_another"]


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[gloo/pair.cc:553] Connection closed by peer [::1]"), True),
        (RuntimeError("Read error [::1]:1: Connection reset by peer"), True),
        (RuntimeError("Timed out waiting 15000ms for recv operation"), True),
        (RuntimeError("Broken pipe"), True),
        (RuntimeError("NCCL communicator was aborted"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("Connection closed by peer"), False),
    ],
)
def test_a_process_that_lost_another_is_told_from_one_that_failed(
    tmp_path, error, lost
):
    assert failed(tmp_path, error)["lost_another"] == lost
