import contextlib
import subprocess
import sys

import pyarrow as pa
import pytest

from tabweave.errors import ArtifactError, ConfigError, InUseError, WriteError
from tabweave.scoring.parts import claimed_paths, opened_parts, parts_folder

RECORD = {"input": "a", "bundle": "b", "options": {"window_rows": 4}}
TABLE = pa.table(
    {"prob_no": pa.array([0.5, None], pa.float32()), "predicted": ["x", None]}
)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.csv"


class Stopped(Exception):
    """What stands for a kill inside one process."""


def interrupted(output, record=RECORD, *, rows=(0,), claims=()):
    with (
        contextlib.suppress(Stopped),
        opened_parts(output, record, overwrite=False) as parts,
    ):
        for row in rows:
            parts.write(row, TABLE)
        if claims:
            parts.claim(claims)
        raise Stopped


def test_parts_are_there_for_the_next_run_and_gone_after_success(output):
    interrupted(output, rows=(0, 2))
    with opened_parts(output, RECORD, overwrite=False) as parts:
        assert 0 in parts
        assert 2 in parts
        assert 4 not in parts
        assert parts.read(2, 2).equals(TABLE)
    assert list(output.parent.iterdir()) == []


def test_parts_of_another_scoring_are_refused_with_what_differs(output):
    interrupted(output)
    other = {**RECORD, "options": {"window_rows": 5}}
    with (
        pytest.raises(ConfigError, match="window_rows: 4 -> 5") as caught,
        opened_parts(output, other, overwrite=False),
    ):
        pass
    assert "--overwrite" in str(caught.value)
    with opened_parts(output, RECORD, overwrite=False) as parts:
        assert 0 in parts


def test_parts_of_another_scoring_are_removed_on_request(output):
    interrupted(output)
    with opened_parts(output, {**RECORD, "input": "z"}, overwrite=True) as parts:
        assert 0 not in parts


def test_overwrite_goes_on_with_parts_that_fit(output):
    interrupted(output)
    with opened_parts(output, RECORD, overwrite=True) as parts:
        assert 0 in parts


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_someone_else_stays(output, overwrite):
    folder = parts_folder(output)
    folder.mkdir()
    (folder / "mine").write_text("x")
    with (
        pytest.raises(ArtifactError, match="is in the way"),
        opened_parts(output, RECORD, overwrite=overwrite),
    ):
        pass
    assert (folder / "mine").read_text() == "x"


def test_a_link_in_the_place_of_the_parts_is_refused(output, tmp_path):
    interrupted(output)
    folder = parts_folder(output)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    with (
        pytest.raises(ArtifactError, match="is in the way"),
        opened_parts(output, RECORD, overwrite=True),
    ):
        pass


def damage(path, kind):
    content = path.read_bytes()
    if kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        path.write_bytes(b"no arrow file")
    elif kind == "gone":
        path.unlink()
    else:
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        table = table.replace_schema_metadata({})
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)


@pytest.mark.parametrize("kind", ["cut", "text", "gone", "no facts"])
def test_a_damaged_part_is_named(output, kind):
    interrupted(output)
    damage(parts_folder(output) / "row-000000000000.arrow", kind)
    with (
        pytest.raises(ArtifactError, match=r"row-0+\.arrow is missing, damaged or"),
        opened_parts(output, RECORD, overwrite=False) as parts,
    ):
        parts.read(0, 2)


def test_a_part_of_other_rows_or_another_run_is_refused(output, tmp_path):
    interrupted(output)
    other = tmp_path / "other.csv"
    interrupted(other, {**RECORD, "input": "z"})
    name = "row-000000000000.arrow"
    with opened_parts(output, RECORD, overwrite=False) as parts:
        with pytest.raises(ArtifactError, match="damaged"):
            parts.read(0, 3)
        (parts.folder / name).rename(parts.folder / "row-000000000002.arrow")
        with pytest.raises(ArtifactError, match="damaged"):
            parts.read(2, 2)
        (parts_folder(other) / name).rename(parts.folder / name)
        with pytest.raises(ArtifactError, match="damaged"):
            parts.read(0, 2)


@pytest.mark.parametrize("record", [{}, RECORD], ids=["the same", "another"])
def test_two_processes_do_not_score_into_one_output(output, record):
    code = (
        "import sys; from pathlib import Path\n"
        "from tabweave.scoring.parts import opened_parts\n"
        "with opened_parts(Path(sys.argv[1]), {}, overwrite=False):\n"
        "    print('open', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "open\n"
        with (
            pytest.raises(
                InUseError, match=f"process {process.pid} .* writes it since"
            ),
            opened_parts(output, record, overwrite=True),
        ):
            pass
        assert (parts_folder(output) / "record.json").read_text() == "{}\n"
        process.communicate("")
    assert process.returncode == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    output = tmp_path / "file" / "out.csv"
    with (
        pytest.raises(WriteError, match=r"Cannot write .*/file/out\.csv: "),
        opened_parts(output, RECORD, overwrite=False),
    ):
        pass


def test_files_are_claimed_before_they_are_written(output):
    assert claimed_paths(output) == set()
    interrupted(output, claims=[output])
    assert claimed_paths(output) == {output.resolve()}


def test_an_empty_folder_is_what_a_killed_run_left(output):
    parts_folder(output).mkdir()
    interrupted(output)
    with opened_parts(output, RECORD, overwrite=False) as parts:
        assert 0 in parts


def test_processes_that_come_and_go_never_share_a_folder(output):
    """Each opens, notes that it is alone, and ends; nobody sees another's note."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from tabweave.errors import InUseError\n"
        "from tabweave.scoring.parts import opened_parts\n"
        "alone = Path(sys.argv[1]).with_name('alone'); done = 0\n"
        "end = time.time() + 2\n"
        "while time.time() < end:\n"
        "    try:\n"
        "        with opened_parts(Path(sys.argv[1]), {'n': sys.argv[2]},\n"
        "                          overwrite=True):\n"
        "            alone.touch(exist_ok=False); alone.unlink(); done += 1\n"
        "    except InUseError:\n"
        "        pass\n"
        "print(done)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(output), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        said, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert int(said) > 0
