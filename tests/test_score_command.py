import subprocess
import sys

import pytest
from click.testing import CliRunner

from tabweave.cli import cli
from tabweave.score_command import score

LINES = "note,shop,price\na,a,1\nb,b,dear\nc,a,2\n"


@pytest.fixture
def call(good_bundle, tmp_path):
    """Runs the command on a small file; `{}` in an option is the folder of the files."""
    (tmp_path / "in.csv").write_text(LINES.replace("dear", "3"), encoding="utf-8")
    (tmp_path / "bad.csv").write_text(LINES, encoding="utf-8")

    def run(source, *options, command=score):
        files = [str(good_bundle), str(tmp_path / source), str(tmp_path / "out.csv")]
        filled = [option.format(tmp_path) for option in options]
        name = ["score"] if command is cli else []
        return CliRunner().invoke(command, [*name, *files, *filled])

    return run


@pytest.mark.parametrize("command", [score, cli])
def test_a_file_is_scored(call, tmp_path, command):
    done = call("in.csv", "--quiet", "--threads=1", command=command)
    assert done.exit_code == 0, done.output
    assert "out.csv: 3 of 3 rows scored; " in done.stdout
    assert len((tmp_path / "out.csv").read_text("utf-8").splitlines()) == 4


def test_the_bar_is_on_stderr(call):
    assert "scoring: 100%" in call("in.csv").stderr
    assert call("in.csv", "--quiet", "--overwrite").stderr == ""


def test_rejects_go_where_they_are_sent(call, tmp_path):
    done = call("bad.csv", "--rejects={}/left.csv")
    assert "2 of 3 rows scored, 1 rejected" in done.stdout
    assert "dear" in (tmp_path / "left.csv").read_text("utf-8")


def test_what_a_user_can_mend_fits_one_screen(call, tmp_path):
    done = call("bad.csv")
    assert done.exit_code == 1
    assert "row 2: 'dear'" in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "out.csv").exists()


def test_an_output_that_exists_needs_the_option(call):
    assert call("in.csv").exit_code == 0
    assert "--overwrite" in call("in.csv").stderr
    assert call("in.csv", "--overwrite").exit_code == 0


@pytest.mark.parametrize("option", ["--threads=0", "--nothing"])
def test_options_are_checked(call, option):
    assert call("in.csv", option).exit_code == 2


def test_help_comes_without_anything_heavy():
    code = (
        "import sys\nfrom tabweave.__main__ import main\n"
        "sys.argv = ['tabweave', 'score', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([n for n in ('kedro', 'pyarrow', 'numpy', 'pydantic', 'onnxruntime')"
        " if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "Usage: tabweave score [OPTIONS] BUNDLE IN OUT" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
