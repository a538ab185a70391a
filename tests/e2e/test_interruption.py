"""A run that is killed leaves whole files, and the next run works."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tabweave.artifacts import Provenance, content_hash

PATIENCE = 120


def kill_when(project, sign):
    """Starts ``kedro run`` in a group of its own and kills it once `sign` is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", "run"],
        cwd=project.path,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not sign() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL


def assert_whole(project):
    """Whatever has a record matches it, or was written again after the record was."""
    for record in project.data("").rglob("*.provenance.json"):
        path = record.with_name(record.name.removesuffix(".provenance.json"))
        found = Provenance(**json.loads(record.read_text(encoding="utf-8")))
        if content_hash(path) != found.content:
            assert path.stat().st_mtime_ns >= record.stat().st_mtime_ns, path


@pytest.mark.parametrize(
    "sign", ["04_feature/tokenizer", "06_models/checkpoints/last.ckpt"]
)
def test_a_killed_run_leaves_whole_files_and_the_next_run_works(
    make_project, tmp_path, finished, sign
):
    project = make_project(tmp_path / "project")
    kill_when(project, project.data(sign).exists)
    assert_whole(project)
    assert not project.data("06_models/model").exists()
    # What comes later refuses to start from what is not there.
    assert project.run("--pipelines=evaluate").code == 1
    if sign.startswith("06"):
        project.ran()
        weights = "06_models/model/model.safetensors"
        assert project.files()[weights] == finished.project.files()[weights]
        assert_whole(project)
