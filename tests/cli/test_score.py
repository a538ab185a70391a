import csv
import subprocess
import sys
from typing import get_args

import pytest
from click.testing import CliRunner

from tabweave.cli import cli
from tabweave.cli.score import score
from tabweave.schema import Quoting

LINES = "note,shop,price\na,a,1\nb,b,dear\nc,a,2\n"


@pytest.fixture
def call(good_bundle, tmp_path):
    """Runs the command on a small file; `{}` in an option is the folder of the files."""
    (tmp_path / "in.csv").write_text(LINES.replace("dear", "3"), encoding="utf-8")
    (tmp_path / "bad.csv").write_text(LINES, encoding="utf-8")

    def run(source, *options, command=score, bundle=good_bundle):
        files = [str(bundle), str(tmp_path / source), str(tmp_path / "out.csv")]
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


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (
            "--threads=0",
            "'--threads': Input should be greater than or equal to 1, got 0.",
        ),
        ("--threads=10000000000", "'--threads': Input should be less than"),
        ("--threads=x", "'--threads': 'x' is not a valid integer."),
        ("--rejects=", "'--rejects': String should have at least 1 character, got ''."),
        ("--nothing", "No such option"),
    ],
)
def test_options_are_checked(call, tmp_path, option, words):
    done = call("in.csv", option)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "out.csv").exists()


def test_all_options_that_are_refused_are_named(call):
    said = call("in.csv", "--threads=0", "--rejects=").stderr
    assert "'--threads'" in said
    assert "'--rejects'" in said


def test_int8_is_a_choice(call, int8_bundle, bundle_kit, tmp_path):
    assert call("in.csv", bundle=int8_bundle).exit_code == 0
    assert call("in.csv", "--int8", "--overwrite", bundle=int8_bundle).exit_code == 0
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        found = [float(row["prob_yes"]) for row in csv.DictReader(file)]
    rows = [("a", "a", 1), ("b", "b", 3), ("c", "a", 2)]
    wanted = [bundle_kit.answer(*row, bundle_kit.int8_weight)[1] for row in rows]
    assert found == pytest.approx(wanted, abs=1e-6)


def test_a_bundle_without_int8_is_a_plain_error(call, tmp_path):
    done = call("in.csv", "--int8")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert "holds no pipeline.int8.onnx" in done.stderr
    assert not (tmp_path / "out.csv").exists()


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


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_address_is_refused_before_anything_is_written(tmp_path, monkeypatch, at):
    monkeypatch.chdir(tmp_path)
    given = ["bundle", "in.csv", "out.csv"]
    given[at] = "gs://bucket/x.csv"
    done = CliRunner().invoke(score, given)
    assert done.exit_code == 2
    assert "'gs://bucket/x.csv' is an address" in done.stderr
    done = CliRunner().invoke(score, ["b", "in.csv", "out.csv", "--rejects=s3://x"])
    assert "Invalid value for '--rejects': 's3://x' is an address" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_quoting_is_said_as_everywhere_else(call, tmp_path):
    (tmp_path / "stray.csv").write_text('note,shop,price\n"a,a,1\nb",b,2\nc,a,3\n')
    refused = call("stray.csv", "--quiet")
    assert refused.exit_code == 1
    assert "2 rows if cells may be in quotes, 3 if" in refused.stderr
    done = call("stray.csv", "--quiet", "--quoting=none")
    assert "3 of 3 rows scored" in done.stdout
    assert (
        (tmp_path / "out.csv").read_text("utf-8").splitlines()[1].startswith('"a,a,1')
    )
    choices = next(p.type.choices for p in score.params if p.name == "quoting")
    assert tuple(choices) == get_args(Quoting)


def test_a_folder_and_a_pattern_are_scored_into_a_folder(good_bundle, tmp_path):
    for name in ("part-0", "part-1", "other"):
        path = tmp_path / "in" / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("note,shop,price\na,a,1\n", encoding="utf-8")

    def run(source, out):
        files = [str(good_bundle), str(tmp_path / source), str(tmp_path / out)]
        return CliRunner().invoke(score, [*files, "--threads=1"])

    done = run("in/part-*", "out")
    assert done.exit_code == 0, done.output
    assert "out: 2 of 2 rows scored in 2 files; " in done.stdout
    assert "scoring: 100%" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "part-0.csv",
        "part-1.csv",
    ]
    done = run("in", "more")
    assert done.exit_code == 1
    assert "not parts of one table by their names" in done.stderr
    assert run("gone", "more").exit_code == 1
