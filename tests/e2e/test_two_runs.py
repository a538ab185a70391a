"""Two runs at once in one project: real commands, and a killed one."""

import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.slow

LONG = "--params=training.max_epochs=1000,training.early_stop_patience=1000"


@contextmanager
def training(project, *options):
    """A run that trains for long, from when it holds its files on."""
    with subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--pipelines=train", LONG, *options],
        cwd=project.path,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 120
        while not locks(project) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert locks(project), "the run has not started"
        try:
            yield process
        finally:
            process.kill()


def locks(project):
    return sorted(project.path.rglob("*.lock"))


def refused(project, process, path, *options):
    done = project.run(*options)
    assert done.code == 1, done.text
    assert "Traceback" not in done.text
    assert f"{project.data(path)} is in use by another run" in done.err
    who = rf"process {process.pid} on \S+ (writes|reads) it since 2\d+-\d\d-\d\d "
    assert re.search(who, done.err)
    assert "kedro run --pipelines=train" in done.err


def test_only_runs_that_write_other_files_go_on(copied):
    before = copied.files()
    with training(copied) as process:
        refused(copied, process, "05_model_input/row_vectors", "--pipelines=train")
        refused(copied, process, "05_model_input/train_tokens.arrow", "-p", "text")
        refused(copied, process, "06_models/model", "--pipelines=evaluate")
        # Another environment with the folder of this one.
        layers = "--params=layers.06_models=data/06_models"
        refused(copied, process, "06_models/model", "--env=trimodal", layers)
        done = copied.run("--nodes=fit_imputer")
        assert done.code == 0, done.text
        assert process.poll() is None
    process.wait()
    names = {"data/06_models/checkpoints", "data/06_models/tensorboard"}
    changed = {n for n, content in copied.files().items() if before.get(n) != content}
    assert all(
        name.endswith(".lock") or any(name.startswith(n[5:]) for n in names)
        for name in changed
    ), changed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_is_in_nobody_s_way(copied, number):
    with training(copied) as process:
        process.send_signal(number)
        process.wait(60)
    copied.ran("--pipelines=train")
    assert locks(copied) == []


@pytest.mark.parametrize("runner", ["ThreadRunner", "ParallelRunner"])
def test_other_runners_lock_check_and_tell_alike(copied, runner):
    before = copied.files()
    done = copied.ran("--pipelines=prepare", f"--runner={runner}")
    assert copied.files() == before
    stages = [line.split()[0] for line in done.text.splitlines()[1:]]
    assert sorted(stages) == ["load", "tabular", "text", "total"]
    done = copied.run(
        f"--runner={runner}", "-p", "train", "--params=text.max_sen_len=9"
    )
    assert done.code == 1
    assert "made with other parameters, text.max_sen_len: 64 -> 9" in done.err
    with training(copied) as process:
        refused(copied, process, "05_model_input/train_tokens.arrow", "-p", "text",
                f"--runner={runner}")  # fmt: skip


def test_the_processes_of_a_killed_parallel_run_end_with_it(copied):
    with training(copied, "--runner=ParallelRunner"):
        time.sleep(1)
    copied.ran("--pipelines=train")


def test_options_that_would_keep_what_is_stale_are_refused(copied):
    before = copied.files()
    other = "--params=text.max_sen_len=32"
    done = copied.run("--only-missing-outputs", other)
    assert done.code == 1
    assert "--only-missing-outputs is refused" in done.err
    again = f"kedro run --pipelines=text,train,evaluate,export {other}"
    assert f"Run instead: python -m {again}" in done.err
    done = copied.run("--load-versions=model:2026-01-01T00.00.00.000Z")
    assert done.code == 1
    assert "'model', which have no versions" in done.err
    assert copied.files() == before


def test_an_address_makes_no_folder(copied):
    there = sorted(path.name for path in copied.path.iterdir())
    for given in ("layers.08_reporting=gs://bucket/y", "data_dir=s3://bucket/x"):
        done = copied.run(f"--params={given}")
        assert done.code == 1
        assert (
            f"{given.partition('=')[0]}: '{given.partition('=')[2]}' is an" in done.err
        )
    assert sorted(path.name for path in copied.path.iterdir()) == there
