"""Every benchmark runs to its end on few rows: figures need an idle machine, code none."""

import re
import shutil

import pytest
from benchmarks.all import benchmarks

# Started by others: the process of an arm, or of a part that is measured alone.
ARMS = {"benchmarks.hugging_face", "benchmarks.preparation", "benchmarks.rank_memory"}


@pytest.fixture
def workshop(make_project, root, tmp_path):
    """A small project with the benchmarks in it, for those that run its stages."""
    project = make_project(tmp_path / "project")
    shutil.copytree(
        root / "benchmarks",
        project.path / "benchmarks",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return project


@pytest.mark.e2e
def test_every_benchmark_runs(workshop, reviews, small_encoder):
    given = ["--quick", "--encoder", str(small_encoder), "--data", str(reviews)]
    done = workshop.python("-m", "benchmarks.all", *given)
    assert done.code == 0, done.text
    named = set(re.findall(r"^\| (\w+) ", done.out, re.MULTILINE)) - {"benchmark"}
    runs = benchmarks(small_encoder, reviews, 1, quick=True)
    assert named == {module.partition(".")[2] for module, *_ in runs}


def test_no_benchmark_is_left_out(root, reviews, small_encoder):
    commands = {
        f"benchmarks.{path.stem}"
        for path in (root / "benchmarks").glob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    for quick in (True, False):
        runs = benchmarks(small_encoder, reviews, 1, quick=quick)
        found = {module for module, *_ in runs} | ARMS | {"benchmarks.all"}
        assert found == commands
