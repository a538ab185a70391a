"""No block of six statements stands in two files, and the checker would see one."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKER = Path(__file__).with_name("blocks.py")

SIX = """
def total(rows, limit):
    "Adds up."
    import math
    seen = set()
    result = 0
    for row in rows:
        if row.size > limit:
            result += row.size
        seen.add(row.name)
    return result, seen
"""


def check(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        (sys.executable, str(CHECKER), str(folder)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return done.returncode, done.stdout


def test_the_source_holds_no_block_twice(root):
    code, shown = check(root / "src")
    assert code == 0, shown


@pytest.mark.parametrize(
    "other",
    [
        SIX,
        SIX.replace("result", "found").replace("rows", "parts").replace("0", "7"),
        SIX.replace('    "Adds up."\n    import math\n', "    begun = start()\n"),
        "class Adder:" + SIX.replace("\n", "\n    "),
        SIX.replace("def ", "async def "),
    ],
)
def test_a_block_in_two_files_is_found(tmp_path, other):
    (tmp_path / "one.py").write_text(SIX, encoding="utf-8")
    (tmp_path / "other.py").write_text(other, encoding="utf-8")
    code, shown = check(tmp_path)
    assert code == 1
    assert shown.startswith(f"{tmp_path}/one.py:5 and {tmp_path}/other.py:")


@pytest.mark.parametrize(
    "other",
    [
        SIX.replace("row.size > limit", "row.width > limit"),
        SIX.replace("seen.add(row.name)", "pass"),
        SIX.replace("        seen.add(row.name)\n", ""),
        "import math\n" * 10,
    ],
)
def test_what_does_something_else_is_no_copy(tmp_path, other):
    (tmp_path / "one.py").write_text(SIX + SIX, encoding="utf-8")
    (tmp_path / "other.py").write_text(other, encoding="utf-8")
    assert check(tmp_path)[0] == 0


def test_helpers_that_are_named_once_are_counted(tmp_path):
    (tmp_path / "helpers.py").write_text(
        "def _once(): ...\ndef _twice(): ...\ndef _never(): ...\ndef open_(): _once()\n"
        "class A:\n    def __init__(self): self._way(_twice(), _twice())\n"
        "    def _way(self, *_): ...\n\n\n\n",
        encoding="utf-8",
    )
    assert check(tmp_path) == (
        0,
        "200.0 private helpers per 1,000 lines are used once.\n",
    )
