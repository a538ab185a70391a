"""Whole runs whose training is shared by two processes, however they are started."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.slow

SHORT = (
    "training.devices=2,training.threads=1,training.max_epochs=1,training.max_steps=6,"
    "training.val_check_interval=1.0"
)
CLI = "from tabweave.cli.commands import main; main()"


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


@contextmanager
def linked_machines():
    """Two network namespaces with a cable between them: prefixes of commands, address."""
    names = [f"tw{os.getpid()}{side}" for side in "ab"]
    cables = [f"{name}c" for name in names]
    steps = [["netns", "add", name] for name in names]
    steps.append(["link", "add", cables[0], "type", "veth", "peer", "name", cables[1]])
    for number, (name, cable) in enumerate(zip(names, cables, strict=True), 1):
        inside = ["-n", name]
        steps += [
            ["link", "set", cable, "netns", name],
            [*inside, "addr", "add", f"10.83.0.{number}/24", "dev", cable],
            [*inside, "link", "set", cable, "up"],
            [*inside, "link", "set", "lo", "up"],
        ]
    tool = shutil.which("ip")
    try:
        for step in steps:
            command = [tool or "", *step]
            if not tool or subprocess.call(command, stderr=subprocess.DEVNULL):
                pytest.skip("needs the right to make network namespaces (and ip)")
        yield [[tool, "netns", "exec", name] for name in names], "10.83.0.1"
    finally:
        for name in names if tool else ():
            subprocess.call([tool, "netns", "del", name], stderr=subprocess.DEVNULL)


@contextmanager
def one_machine_twice():
    """Two launchers that meet on the loopback interface."""
    yield [[], []], "127.0.0.1"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("machines", [one_machine_twice, linked_machines])
def test_two_machines_give_the_same(sequential, finished, tmp_path, machines):
    project = finished.project.copy(tmp_path / "project")
    with machines() as ((first, second), host):
        place = f"{host}:{free_port()}"
        logs = f"--logs={tmp_path / 'other'}"
        command = [sys.executable, "-c", CLI, "join", "--rendezvous", place, logs]
        other = subprocess.Popen(
            [*second, *command, "--threads=1", "--devices=1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        here = SHORT.replace("devices=2", "devices=1")
        here += f",training.num_nodes=2,training.rendezvous={place}"
        run = [*first, sys.executable, "-m", "kedro", "run", "--pipelines=train"]
        try:
            done = subprocess.run(
                [*run, f"--params={here}"],
                cwd=project.path,
                env=project.environment(),
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
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
