"""A disk that is full while a file is scored: one message, and the command goes on."""

import re
import subprocess

import pytest
from artifact_kinds import everything_in
from click.testing import CliRunner

from tabweave.cli.score import score

pytestmark = pytest.mark.slow

ROWS, WINDOW = 20_000, 4096


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Five windows of rows; some of the rows cannot be scored."""
    path = tmp_path_factory.mktemp("rows") / "in.csv"
    lines = (
        f"{n},{'aeio'[: n % 5]},{'ab'[n % 2]},{n % 7 if n % 500 else 'dear'}\n"
        for n in range(ROWS)
    )
    path.write_text("id,note,shop,price\n" + "".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def call(good_bundle, source):
    """Scores into a folder."""

    def run(folder):
        out, left = str(folder / "out.csv"), str(folder / "left.csv")
        options = ["--quiet", "--threads=1", "--rejects", left]
        return CliRunner().invoke(score, [str(good_bundle), str(source), out, *options])

    return run


@pytest.fixture(scope="module")
def whole(call, tmp_path_factory):
    """The files of a scoring that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert call(folder).exit_code == 0
    return everything_in(folder)


# Sizes at which the disk is full with nothing there, and then with one file more each.
@pytest.mark.parametrize(
    ("kibibytes", "target", "resumed"),
    [
        (32, r"out\.csv\.parts/row-000000000000\.arrow", 0),
        (160, r"out\.csv\.parts/row-000000008192\.arrow", 2 * WINDOW),
        (328, r"left\.csv", ROWS),
        (400, r"out\.csv", ROWS),
    ],
)
def test_a_full_disk_stops_a_scoring_and_room_lets_it_go_on(
    mount, call, whole, tmp_path, kibibytes, target, resumed
):
    disk = tmp_path / "disk"
    with mount(disk, kibibytes):
        done = call(disk)
        assert done.exit_code == 1, done.output
        found = re.fullmatch(
            rf"Error: Cannot write ({disk}/{target}): No space left on device\. "
            r"[\d,]+ of ([\d,]+) bytes are free in (.*)\. What was there before is "
            r"unchanged\. Free some space, then run it again\.\n",
            done.stderr,
        )
        assert found, done.stderr
        assert int(found[2].replace(",", "")) == kibibytes * 1024
        there = everything_in(disk)
        assert found[1].removeprefix(f"{disk}/") not in there
        assert "out.csv" not in there
        assert there.get("left.csv") in (None, whole["left.csv"])
        assert [name for name in there if name.endswith(".part")] == []

        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        done = call(disk)
        assert done.exit_code == 0, done.output
        assert (f"{resumed:,} were there from before" in done.stdout) == (resumed > 0)
        assert everything_in(disk) == whole
