"""Whole runs whose training is shared by two processes, however they are started."""

import json
import os
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SHORT = (
    "training.devices=2,training.threads=1,training.max_epochs=1,training.max_steps=6,"
    "training.val_check_interval=1.0"
)
CLI = "from tabweave.cli import main; main()"


def records(project):
    """What each validation of the training gave, but for the time it took."""
    history = json.loads(project.data("08_reporting/training_history.json").read_text())
    assert history["processes"] == 2
    return [
        {key: value for key, value in record.items() if key in ("step", "rows")}
        | {key: value for key, value in record.items() if key.startswith("val/")}
        for record in history["records"]
    ]


def weights(project):
    return project.data("06_models/model/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def sequential(finished, tmp_path_factory):
    """A run of train and evaluate in two processes."""
    project = finished.project.copy(tmp_path_factory.mktemp("two") / "project")
    done = project.ran("--pipelines=train,evaluate", f"--params={SHORT}")
    (project.path / "said.txt").write_text(done.text)
    return project


def test_stages_run_once_and_every_process_has_a_log(sequential):
    said = (sequential.path / "said.txt").read_text()
    lines = [line.split() for line in said.splitlines()]
    stages = [
        words[0] for words in lines if words and words[0] in ("train", "evaluate")
    ]
    assert sorted(stages) == ["evaluate", "train"]
    logs = sorted(sequential.data("06_models/rank_logs").iterdir())
    assert [log.name for log in logs] == ["rank_0.log", "rank_1.log"]
    assert "rank 1, pid" in logs[1].read_text()
    assert said.count("training: 100%") == 1


@pytest.mark.parametrize("runner", ["ThreadRunner", "ParallelRunner"])
def test_other_runners_give_the_same(sequential, finished, tmp_path, runner):
    project = finished.project.copy(tmp_path / "project")
    project.ran("--pipelines=train", f"--params={SHORT}", f"--runner={runner}")
    assert records(project) == records(sequential)
    assert weights(project) == weights(sequential)


def test_two_machines_give_the_same(sequential, finished, tmp_path):
    project = finished.project.copy(tmp_path / "project")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-c", CLI, "join", "--rendezvous", place, "--threads=1"]
    other = subprocess.Popen(
        [*command, "--devices=1", f"--logs={tmp_path / 'other'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    here = SHORT.replace("devices=2", "devices=1")
    here += f",training.num_nodes=2,training.rendezvous={place}"
    try:
        project.ran("--pipelines=train", f"--params={here}")
        said, _ = other.communicate(timeout=60)
    finally:
        other.kill()
    assert other.returncode == 0, said
    assert [log.name for log in (tmp_path / "other").iterdir()] == ["rank_1.log"]
    logs = project.data("06_models/rank_logs")
    assert [log.name for log in logs.iterdir()] == ["rank_0.log"]
    assert records(project) == records(sequential)
    assert weights(project) == weights(sequential)


def test_a_notebook_trains_in_two_processes(sequential, finished, tmp_path):
    project = finished.project.copy(tmp_path / "project")
    lines = [
        "from pathlib import Path",
        "from IPython.testing.globalipapp import start_ipython",
        "shell = start_ipython()",
        "shell.run_line_magic('load_ext', 'kedro.ipython')",
        f"shell.run_line_magic('reload_kedro', {str(project.path)!r})",
        "from kedro.framework.session import KedroSession",
        f"params = dict(training=dict(p.split('=') for p in {SHORT!r}"
        ".replace('training.', '').split(',')))",
        "import yaml",
        "params['training'] = {k: yaml.safe_load(v) "
        "for k, v in params['training'].items()}",
        f"with KedroSession.create(project_path=Path({str(project.path)!r}), "
        "runtime_params=params) as session:",
        "    session.run(pipeline_names=['train'])",
    ]
    script = "\n".join(lines)
    done = subprocess.run(
        [sys.executable, "-c", f"if __name__ == '__main__':\n  exec({script!r})"],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert records(project) == records(sequential)
    assert weights(project) == weights(sequential)


def test_an_export_of_split_weights_is_whole(sequential, finished, tmp_path):
    """The model that FSDP trained goes through the same comparison as any other."""
    project = finished.project.copy(tmp_path / "project")
    given = f"--params={SHORT},training.strategy=fsdp"
    done = project.ran("--pipelines=train,evaluate,export", given)
    assert "model.onnx differs from PyTorch by at most" in done.out
    for one, other in zip(records(project), records(sequential), strict=True):
        assert one["val/loss"] == pytest.approx(other["val/loss"], abs=1e-3)
