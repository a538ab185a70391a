import os

import pytest

from tabweave.errors import ArtifactError, SchemaError
from tabweave.storage.file_state import FileState, while_unchanged


def replaced(path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def appended(path):
    with open(path, "ab") as file:
        file.write(b"more")


def rewritten(path):
    path.write_bytes(b"12345678")
    os.utime(path, ns=(1, 1))


CHANGES = [
    replaced,
    appended,
    rewritten,
    lambda path: os.truncate(path, 3),
    lambda path: path.unlink(),
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"abcdefgh")
    return path


@pytest.mark.parametrize("change", CHANGES)
def test_every_kind_of_change_is_noticed_with_the_last_batch(path, change):
    def batches():
        yield 1
        change(path)
        yield 2

    found = []
    with pytest.raises(ArtifactError, match=f"{path} changed while it was read"):
        found.extend(while_unchanged(path, FileState.of(path), batches()))


@pytest.mark.parametrize("change", CHANGES)
def test_a_fault_that_a_change_made_is_told_as_the_change(path, change):
    def batches():
        change(path)
        raise SchemaError("row 7 is short")
        yield

    with pytest.raises(ArtifactError, match="changed while it was read") as caught:
        list(while_unchanged(path, FileState.of(path), batches()))
    assert isinstance(caught.value.__context__, SchemaError | OSError)


def test_a_file_that_stays_is_read_and_its_faults_are_its_own(path):
    state = FileState.of(path)
    path.read_bytes()
    assert list(while_unchanged(path, state, iter([1, 2]))) == [1, 2]

    def broken():
        raise SchemaError("row 7 is short")
        yield

    with pytest.raises(SchemaError, match="row 7 is short"):
        list(while_unchanged(path, state, broken()))


def test_the_sizes_are_told(path):
    state = FileState.of(path)
    os.truncate(path, 3)
    with pytest.raises(ArtifactError, match="from 8 to 3 bytes"):
        state.check(path)
