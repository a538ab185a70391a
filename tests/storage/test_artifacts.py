import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import ArtifactError, MissingDataError, WriteError
from tabweave.storage.artifacts import (
    Provenance,
    content_hash,
    differences,
    dump_json,
    free_space,
    number_or_none,
    read_json,
    remove_unfinished,
    replacing,
    replacing_folder,
    scratch_folder,
    write_bytes,
    write_json,
)
from tabweave.storage.processes import Process

OLD, NEW = b"old " * 1000, b"new " * 1000


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def python(code, *arguments, check=True):
    """Runs code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=check,
        timeout=60,
    )


# Files


def test_a_file_appears_under_its_name_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "x.bin"
    write_bytes(path, lambda file: file.write(NEW))
    assert contents(path.parent) == {"x.bin": NEW}


@pytest.mark.parametrize(
    "error", [RuntimeError("bug"), KeyboardInterrupt(), SystemExit(1), MemoryError()]
)
@pytest.mark.parametrize("there", [True, False])
def test_a_writer_that_fails_half_way_leaves_the_old_file_alone(tmp_path, error, there):
    path = tmp_path / "x.bin"
    if there:
        path.write_bytes(OLD)

    def write(file):
        file.write(NEW[:50])
        raise error

    with pytest.raises(type(error)) as caught:
        write_bytes(path, write)
    assert caught.value is error
    assert contents(tmp_path) == ({"x.bin": OLD} if there else {})


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(OLD)
    with replacing(path) as part:
        part.write_bytes(NEW)
        assert path.read_bytes() == OLD
        assert part.parent == path.parent, "a rename across disks is no single step"
    assert contents(tmp_path) == {"x.bin": NEW}


def test_an_error_of_ours_in_the_writer_stays_what_it_is(tmp_path):
    # MissingDataError is an OSError too, but not one of this file.
    with (
        pytest.raises(MissingDataError, match="no such input"),
        replacing(tmp_path / "x"),
    ):
        raise MissingDataError("no such input")
    with (
        pytest.raises(MissingDataError, match="no such input"),
        replacing_folder(tmp_path / "x"),
    ):
        raise MissingDataError("no such input")
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_is_reported_with_the_path_and_the_free_space(tmp_path, kind):
    target = tmp_path / "x"
    if kind == "file":
        target.write_bytes(OLD)
    else:
        target.mkdir()
        (target / "a").write_bytes(OLD)
    done = python(
        """
        import resource, sys
        from pathlib import Path
        from tabweave.storage.artifacts import replacing_folder, write_bytes
        from tabweave.errors import ArtifactError
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        target, kind = Path(sys.argv[1]), sys.argv[2]
        try:
            if kind == "file":
                write_bytes(target, lambda file: file.write(b"n" * 100_000))
            else:
                with replacing_folder(target) as part:
                    (part / "a").write_bytes(b"n" * 4000)
                    (part / "b").write_bytes(b"n" * 100_000)
        except ArtifactError as error:
            print(error)
        """,
        target,
        kind,
    )
    assert done.stdout.startswith(f"Cannot write {target}: File too large. ")
    assert re.search(
        rf"\. [\d,]+ of [\d,]+ bytes are free in {tmp_path}\.", done.stdout
    )
    assert names(tmp_path) == ["x"]
    assert (target if kind == "file" else target / "a").read_bytes() == OLD


def test_a_failure_is_an_error_of_the_system_too_and_says_what_that_said(tmp_path):
    path = tmp_path / "x.bin"
    full = OSError(errno.ENOSPC, "in the words of a library")
    with pytest.raises(OSError, match=r"x\.bin: No space left on device") as caught:
        write_bytes(path, lambda _: (_ for _ in ()).throw(full))
    assert isinstance(caught.value, WriteError)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.__cause__ is full


@pytest.mark.parametrize(
    ("number", "todo"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (None, "Free some space"),
        (errno.EACCES, "Check the name and the permissions"),
        (errno.ENAMETOOLONG, "Check the name and the permissions"),
    ],
)
def test_a_failure_says_what_helps_against_its_reason(tmp_path, number, todo):
    given = (number, "said") if number else ("said",)
    with pytest.raises(WriteError) as caught, replacing(tmp_path / "x.bin"):
        raise OSError(*given)
    assert str(caught.value).endswith(f" is unchanged. {todo}, then run it again.")
    assert ("bytes are free" in str(caught.value)) == (todo == "Free some space")


def test_a_file_of_a_folder_is_called_as_it_would_be(tmp_path):
    path = tmp_path / "model" / "config.json"
    message = rf"^Cannot write {path}: No space .* are free in {path.parent}\. "
    with (
        pytest.raises(WriteError, match=message),
        replacing_folder(path.parent) as part,
        replacing(part / path.name),
    ):
        raise OSError(errno.ENOSPC, "full")
    assert names(tmp_path) == []


def test_free_space_of_a_folder_that_is_not_there_is_that_above(tmp_path):
    said = free_space(tmp_path / "a" / "b")
    assert re.fullmatch(rf"[\d,]+ of [\d,]+ bytes are free in {tmp_path}\.", said)


@pytest.mark.parametrize("write", [replacing, replacing_folder])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, write):
    (tmp_path / "data").write_bytes(OLD)
    path = tmp_path / "data" / "deep" / "x"
    match = r"Cannot write .*deep/x: Not a directory"
    with pytest.raises(ArtifactError, match=match), write(path):
        pass
    assert contents(tmp_path) == {"data": OLD}


def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(OLD)
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(ArtifactError, match=r"Cannot write .*folder: Is a directory"):
        write_bytes(tmp_path / "folder", lambda file: file.write(NEW))
    with (
        pytest.raises(ArtifactError, match=r"Cannot write .*file: Not a directory"),
        replacing_folder(tmp_path / "file") as part,
    ):
        (part / "a").write_bytes(NEW)
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == OLD
    assert contents(tmp_path / "folder") == {"a": OLD}


WRITER = """
    import sys
    from pathlib import Path
    from tabweave.storage.artifacts import replacing_folder, write_bytes
    target, kind = Path(sys.argv[1]), sys.argv[2]
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        content = b"%d " % number * 50_000
        if kind == "file":
            write_bytes(target, lambda file: [file.write(b) for b in (content, content)])
        else:
            with replacing_folder(target) as part:
                for name in "abc":
                    (part / name).write_bytes(content)
"""


def is_whole(content):
    numbers = content.split()
    return len(numbers) in (50_000, 100_000) and len(set(numbers)) == 1


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("seconds", [0.003, 0.02, 0.071, 0.13])
def test_a_killed_writer_leaves_the_old_or_the_new_whole(tmp_path, kind, seconds):
    target = tmp_path / "x"
    code = textwrap.dedent(WRITER)
    with subprocess.Popen(
        [sys.executable, "-c", code, target, kind], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 20
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
    found = [target] if kind == "file" else sorted(target.iterdir())
    assert [p.name for p in found] == (["x"] if kind == "file" else ["a", "b", "c"])
    values = [path.read_bytes() for path in found]
    assert all(is_whole(value) for value in values)
    assert len(set(values)) == 1

    # The next writer takes away what the killed one left.
    if kind == "file":
        write_bytes(target, lambda file: file.write(NEW))
    else:
        with replacing_folder(target) as part:
            (part / "a").write_bytes(NEW)
    assert names(tmp_path) == ["x"]


def test_a_reader_beside_a_writer_sees_whole_files_only(tmp_path):
    target = tmp_path / "x"
    code = textwrap.dedent(WRITER)
    seen = set()
    with subprocess.Popen([sys.executable, "-c", code, target, "file"]) as writer:
        deadline = time.monotonic() + 20
        while len(seen) < 20 and time.monotonic() < deadline:
            if target.exists():
                content = target.read_bytes()
                assert is_whole(content)
                seen.add(content[:9])
        writer.kill()
    assert len(seen) == 20


def test_another_writer_that_may_still_be_at_work_is_left_alone(tmp_path, dead_writer):
    """One that runs, one of another machine, and what is no temporary file of ours."""
    running = replace(Process.here(), number=os.getppid())
    ended = Process.parse(dead_writer)
    foreign = replace(ended, host="00000000")
    other_boot = replace(ended, boot="00000000")  # a container beside this one
    mine = [f".x.{one}.part" for one in (running, foreign, other_boot)]
    mine += [f".x.{ended.number}.part", ".x.backup", f".xy.{ended}.part"]
    for name in [*mine, f".x.{ended}.part"]:
        (tmp_path / name).write_bytes(OLD)
    write_bytes(tmp_path / "x", lambda file: file.write(NEW))
    assert names(tmp_path) == sorted([*mine, "x"])


@pytest.mark.parametrize("kind", ["part", "old"])
def test_what_an_earlier_boot_of_this_machine_left_is_removed(
    tmp_path, dead_writer, kind
):
    """Its process number may be that of another process by now."""
    before = replace(Process.here(), boot="00000000", number=os.getppid())
    left = tmp_path / f".x.{before}.{kind}"
    left.mkdir()
    (left / "a").write_bytes(OLD)
    os.utime(left, (1, 1))
    with replacing_folder(tmp_path / "x") as part:
        (part / "a").write_bytes(NEW)
        assert (tmp_path / "x").exists() is (kind == "old"), "half a swap is undone"
    assert names(tmp_path) == ["x"]
    assert contents(tmp_path / "x") == {"a": NEW}


def test_a_name_with_pattern_characters_is_only_a_name(tmp_path, dead_writer):
    other = tmp_path / f".a.{dead_writer}.part"
    other.write_bytes(OLD)
    write_bytes(tmp_path / "[a]*", lambda file: file.write(NEW))
    assert names(tmp_path) == sorted([other.name, "[a]*"])


# Folders


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "deep" / "x"
    with replacing_folder(target) as part:
        (part / "a").write_bytes(OLD)
        (part / "gone").write_bytes(OLD)
    with replacing_folder(target) as part:
        (part / "a").write_bytes(NEW)
        assert contents(target) == {"a": OLD, "gone": OLD}
    assert contents(target) == {"a": NEW}
    assert names(target.parent) == ["x"]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_a_failed_folder_leaves_the_old_one(tmp_path, error):
    target = tmp_path / "x"
    target.mkdir()
    (target / "a").write_bytes(OLD)

    def write():
        with replacing_folder(target) as part:
            (part / "a").write_bytes(NEW)
            raise error

    with pytest.raises(type(error)):
        write()
    assert contents(target) == {"a": OLD}
    assert names(tmp_path) == ["x"]


# A system that cannot swap two names in one step, and a kill at the n-th rename.
TWO_STEPS = """
    import os, signal, sys
    from pathlib import Path
    import tabweave.storage.artifacts as artifacts

    class NoSwap:
        def __init__(self, name): pass

    artifacts.ctypes.CDLL = NoSwap
    rename, left = os.rename, int(sys.argv[2])

    def dying(source, target):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.rename = dying
    with artifacts.replacing_folder(Path(sys.argv[1])) as part:
        (part / "a").write_bytes(b"new")
"""


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_folder_killed_between_two_renames_comes_back(tmp_path, step):
    target = tmp_path / "x"
    target.mkdir()
    (target / "a").write_bytes(b"old")
    done = python(TWO_STEPS, target, step, check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.exists() is (step != 2)

    with pytest.raises(RuntimeError), replacing_folder(target):
        raise RuntimeError
    assert contents(target) == {"a": b"new" if step == 3 else b"old"}
    assert names(tmp_path) == ["x"]


def test_two_renames_do_the_same_where_a_swap_is_not_possible(tmp_path):
    target = tmp_path / "x"
    target.mkdir()
    (target / "b").write_bytes(b"old")
    python(TWO_STEPS, target, 0)
    assert contents(target) == {"a": b"new"}
    assert names(tmp_path) == ["x"]


# JSON

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(value=PLAIN)
@settings(max_examples=50, deadline=None)
def test_json_reads_back_equal(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "x.json"
    write_json(path, value)
    assert read_json(path) == value
    assert path.read_bytes().decode("utf-8") == f"{dump_json(value)}\n"


def test_equal_values_give_equal_bytes():
    assert dump_json({"b": 1, "a": [2]}) == dump_json({"a": [2], "b": 1})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_has_no_nan_and_the_old_file_stays(tmp_path, value):
    path = tmp_path / "x.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"metric": value})
    assert number_or_none(value) is None
    assert contents(tmp_path) == {"x.json": b"1\n"}


def test_a_number_stays_a_number():
    assert number_or_none(None) is None
    assert number_or_none(0.0) == 0.0
    assert type(number_or_none(3)) is float


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1} x', b"\xff\xfe{}", b"\x80"])
def test_a_damaged_json_file_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{path} is damaged: it is not JSON"):
        read_json(path)


def test_a_missing_json_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"x\.json does not exist"):
        read_json(tmp_path / "x.json")


# Hashes

FILES = st.dictionaries(
    st.text("ab0.é", min_size=1, max_size=3).filter(lambda name: name.strip(".")),
    st.binary(max_size=20),
    max_size=4,
)


def written(folder, files, order=1):
    folder.mkdir()
    for name, content in list(files.items())[::order]:
        (folder / name).write_bytes(content)
    return folder


@given(one=FILES, other=FILES)
@settings(max_examples=60, deadline=None)
def test_folders_have_one_hash_exactly_when_they_hold_the_same(
    tmp_path_factory, one, other
):
    root = tmp_path_factory.mktemp("hash")
    first = content_hash(written(root / "first", one))
    assert first == content_hash(written(root / "again", one, order=-1))
    second = content_hash(written(root / "second", other))
    assert (first == second) is (one == other)


def test_a_hash_knows_names_folders_and_bounds(tmp_path):
    def made(name, files):
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return content_hash(tmp_path / name)

    hashes = [
        made("1", {"a": b"xy", "b": b""}),
        made("2", {"a": b"x", "b": b"y"}),
        made("3", {"ab": b"xy"}),
        made("4", {"a/b": b"xy"}),
        made("5", {"a": b"xy"}),
    ]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_of_a_file_is_its_sha256_whatever_its_name_and_time(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert content_hash(path).startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")
    moved = shutil.copy(path, tmp_path / "y")
    os.utime(moved, (0, 0))
    assert content_hash(moved) == content_hash(path)


def test_a_name_that_is_not_utf8_has_a_hash(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    try:
        (tmp_path / name).write_bytes(b"x")
    except OSError:
        pytest.skip("needs a file system that takes any bytes as a name")
    one = content_hash(tmp_path)
    (tmp_path / name).rename(tmp_path / os.fsdecode(b"caf\xe8"))
    assert content_hash(tmp_path) != one


def test_nothing_has_no_hash(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        content_hash(tmp_path / "nothing")


# Provenance

RECORD = Provenance(
    dataset="train.tokens",
    stage="text",
    content="0" * 64,
    inputs={"train.table": "1" * 64},
    parameters={"text": {"max_sen_len": 128, "steps": ["tokenizer"], "lr": 0.1}},
    version="1.0",
    format=3,
)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_record_lies_beside_its_artifact_and_reads_back(tmp_path, kind):
    artifact = tmp_path / "x.arrow"
    artifact.mkdir() if kind == "folder" else artifact.write_bytes(b"")
    assert Provenance.read(artifact) is None
    before = content_hash(artifact)
    RECORD.write(artifact)
    assert Provenance.path_for(artifact) == tmp_path / "x.arrow.provenance.json"
    assert Provenance.read(artifact) == RECORD
    assert content_hash(artifact) == before


@pytest.mark.parametrize(
    "content", ["[]", "1", '"text"', "null", "{}", '{"dataset": "a", "foreign": 1}']
)
def test_a_record_that_is_none_is_refused_with_the_way_out(tmp_path, content):
    artifact = tmp_path / "x.arrow"
    Provenance.path_for(artifact).write_text(content)
    with pytest.raises(ArtifactError, match=r"not a provenance record .* Re-run"):
        Provenance.read(artifact)


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 128}, {"a": 256}, ["text.a: 128 -> 256"]),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, ["text.a.b: [1] -> [2]"]),
        ({"a": 1}, {"b": 2}, ["text.a: 1 -> None", "text.b: None -> 2"]),
        ({"a": {"b": 1}}, {"a": None}, ["text.a: {'b': 1} -> None"]),
        (None, {"a": 1}, ["text: None -> {'a': 1}"]),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["text.a: 1 -> 2", "text.b: 1 -> 2"]),
    ],
)
def test_differences_name_the_values_by_their_path(old, new, lines):
    assert differences(old, new, "text") == lines


@given(old=PLAIN, new=PLAIN)
def test_there_are_no_differences_exactly_between_equal_values(old, new):
    assert differences(old, old, "x") == []
    assert differences(old, json.loads(json.dumps(old)), "x") == []
    # A key that is absent and a key that is null say the same.
    assert bool(differences(old, new, "x")) is (pruned(old) != pruned(new))


def pruned(value):
    if not isinstance(value, dict):
        return value
    kept = {key: pruned(inner) for key, inner in value.items()}
    return {key: inner for key, inner in kept.items() if inner is not None}


def test_a_scratch_folder_goes_with_its_context_or_with_the_process(tmp_path):
    with scratch_folder() as folder:
        (folder / "large").write_text("large")
    assert not folder.exists()
    with replacing(tmp_path / "a") as part, scratch_folder() as folder:
        part.write_text("new")
        remove_unfinished()
        assert not part.exists()
        assert not folder.exists()
        part.write_text("new")
    assert (tmp_path / "a").read_text() == "new"
