import os
import resource
import socket
from pathlib import Path

import pytest

from scoring_fixtures import as_someone_else
from tabweave.bundle import folder as module
from tabweave.bundle.folder import opened_folder
from tabweave.errors import ArtifactError


@pytest.fixture
def place(tmp_path):
    root = tmp_path / "bundle"
    (root / "a" / "b").mkdir(parents=True)
    (root / "one").write_bytes(b"one")
    (root / "a" / "b" / "two").write_bytes(b"two")
    return root


def fault(call):
    with pytest.raises(ArtifactError) as caught:
        call()
    return str(caught.value)


def names(root):
    with opened_folder(root) as opened:
        return opened.names()


def read(root, name, limit=100):
    with opened_folder(root) as opened:
        return opened.read(name, limit)


def test_files_are_listed_and_read(place):
    assert names(place) == {"one", "a/b/two"}
    assert read(place, "a/b/two") == b"two"


def test_a_link_to_the_folder_itself_is_followed(place, tmp_path):
    (tmp_path / "latest").symlink_to(place)
    assert read(tmp_path / "latest", "one") == b"one"


@pytest.mark.parametrize("target", ["one", "nowhere", "a"])
def test_links_are_never_followed(place, target):
    (place / "link").symlink_to(place / target)
    assert "'link' is a link" in fault(lambda: names(place))
    assert "cannot be opened as a file of its own" in fault(lambda: read(place, "link"))


def test_a_link_to_a_folder_on_the_way_is_not_followed(place, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "two").write_bytes(b"secret")
    (place / "c").symlink_to(tmp_path / "outside")
    assert "cannot be opened" in fault(lambda: read(place, "c/two"))


def test_a_second_name_elsewhere_is_refused(place, tmp_path):
    os.link(place / "one", tmp_path / "other")
    assert "hard link" in fault(lambda: read(place, "one"))


def test_a_pipe_is_refused_and_nobody_waits(place):
    os.mkfifo(place / "pipe")
    assert "'pipe' is a named pipe" in fault(lambda: names(place))
    assert "'pipe' is a named pipe" in fault(lambda: read(place, "pipe"))


def test_a_socket_is_refused(place, monkeypatch):
    monkeypatch.chdir(place)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("s")
        assert "'s' is a socket" in fault(lambda: names(place))


def test_a_folder_in_the_place_of_a_file_is_refused(place):
    assert "is a folder" in fault(lambda: read(place, "a"))


def test_folders_that_no_bundle_has_are_refused(place):
    (place / "empty").mkdir()
    assert names(place) == {"one", "a/b/two", "empty/"}
    (place / "a" / "b" / "c").mkdir()
    assert "deeper than any bundle" in fault(lambda: names(place))


def test_too_many_files_are_refused(place, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 1)
    assert "more than 1 files" in fault(lambda: names(place))


def test_what_is_missing_or_too_large_is_named(place):
    assert "'gone' is missing" in fault(lambda: read(place, "gone"))
    assert "'x/gone' is missing" in fault(lambda: read(place, "x/gone"))
    assert read(place, "one", 3) == b"one"
    assert "has 3 bytes, not 2" in fault(lambda: read(place, "one", 2))


def test_what_is_no_folder_is_no_bundle(place):
    assert "is not a bundle" in fault(lambda: names(place / "gone"))
    assert "is not a bundle" in fault(lambda: names(place / "one"))


@pytest.mark.parametrize(
    ("folder", "mode", "words"),
    [
        ("a", 0o000, r"'a/' cannot be read: Permission denied\. Check the permissions"),
        ("a/b", 0o000, r"'a/b/' cannot be read: Permission denied"),
        ("a", 0o444, r"'a/b' cannot be read: Permission denied"),
    ],
)
def test_a_folder_that_may_not_be_looked_into_is_named(place, folder, mode, words):
    with opened_folder(place) as opened:
        (place / folder).chmod(mode)
        with as_someone_else(), pytest.raises(ArtifactError, match=f"{place}: {words}"):
            opened.names()
        with as_someone_else(), pytest.raises(ArtifactError, match="Permission denied"):
            opened.read("a/b/two", 100)
        (place / folder).chmod(0o755)


def test_a_file_that_the_disk_does_not_give_is_named():
    """The memory of a process is a regular file, whose first page cannot be read."""
    words = r"/proc/self: 'mem' cannot be read: Input/output error\. .* the disk"
    with pytest.raises(ArtifactError, match=words):
        read(Path("/proc/self"), "mem")


def test_a_process_that_may_open_no_more_files_says_so(place):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with opened_folder(place) as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened.handle + 1, hard))
        try:
            said = [fault(lambda: opened.read("one", 9)), fault(opened.names)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert said[0].startswith(f"{place}: 'one' cannot be read: Too many open files. ")
    assert said[1].startswith(f"{place} cannot be read: Too many open files. ")


def test_nothing_stays_open(place):
    before = len(os.listdir("/proc/self/fd"))
    for name in ("one", "a/b/two"):
        read(place, name)
    names(place)
    fault(lambda: read(place, "a/gone"))
    fault(lambda: read(place, "a"))
    fault(lambda: read(place, "one", 2))
    assert len(os.listdir("/proc/self/fd")) == before
