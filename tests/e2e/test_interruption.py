"""A run that is killed leaves whole files, and the next run works."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

PATIENCE = 120
# Reads every artifact that is there as a later stage would, to its last row.
READ_ALL = """
import json, pathlib, sys
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from tabweave.storage.artifacts import Provenance, content_hash
from tabweave.hooks import artifact_path
from tabweave.tables.files import ArrowFile, RawTable, TableFile

def read(found):
    if isinstance(found, ArrowFile):
        found.open().validate(full=True)
    elif isinstance(found, TableFile):
        found.read().validate(full=True)
    elif isinstance(found, RawTable):
        assert sum(batch.num_rows for batch in found.batches())

project = pathlib.Path.cwd()
bootstrap_project(project)
with KedroSession.create(project) as session:
    catalog = session.load_context().catalog
whole, damaged = {}, {}
for name in sorted(pipelines["__default__"].all_outputs()):
    path = artifact_path(catalog, name)
    if not path.exists():
        continue
    try:
        read(catalog.load(name))
        record = Provenance.read(path)
        whole[name] = record is not None and record.content == content_hash(path)
    except Exception as error:
        damaged[name] = f"{type(error).__name__}: {error}"
json.dump({"whole": whole, "damaged": damaged}, sys.stdout)
"""


def kill_when(project, sign):
    """Starts ``kedro run`` in a group of its own and kills it once `sign` says so."""
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


def assert_whole(project, *, written=0):
    """Every artifact that is there can be read, and all but `written` match their record.

    Of a run that was killed, one artifact may be there whose record was not yet written.
    """
    done = project.python("-c", READ_ALL)
    assert done.code == 0, done.text
    found = json.loads(done.out.splitlines()[-1])
    assert found["damaged"] == {}
    other = [name for name, same in found["whole"].items() if not same]
    assert len(other) <= written, other
    return found["whole"]


@pytest.mark.parametrize(
    "sign", ["04_feature/tokenizer", "06_models/checkpoints/last.ckpt"]
)
def test_a_killed_run_leaves_whole_files_and_the_next_run_works(
    make_project, tmp_path, finished, sign
):
    project = make_project(tmp_path / "project")
    kill_when(project, project.data(sign).exists)
    assert "train.table" in assert_whole(project, written=1)
    assert not project.data("06_models/model").exists()
    # What comes later refuses to start from what is not there.
    assert project.run("--pipelines=evaluate").code == 1
    if sign.startswith("06"):
        project.ran()
        weights = "06_models/model/model.safetensors"
        assert project.files()[weights] == finished.project.files()[weights]
        assert {"model", "test.predictions"} <= set(assert_whole(project))


def test_a_run_that_is_killed_over_older_files_leaves_whole_files(copied):
    """The second run writes the same names again, with one more token per chunk."""
    path = copied.data("05_model_input/val_tokens.arrow")
    settings = copied.path / "conf" / "local" / "parameters.yml"
    text = settings.read_text(encoding="utf-8")
    assert "max_sen_len: 64" in text
    settings.write_text(text.replace("max_sen_len: 64", "max_sen_len: 63"), "utf-8")
    before = path.stat().st_ino
    kill_when(copied, lambda: path.stat().st_ino != before)
    names = assert_whole(copied, written=1)
    # Files of stages that were not reached are still there.
    assert {"model", "test.predictions", "onnx_model"} <= set(names)


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("04_feature/scaler.json", "scaler"),
        ("05_model_input/val_tokens.arrow", "val.tokens"),
        ("02_intermediate/train.parquet", "train.table"),
        ("06_models/model/model.safetensors", "model"),
    ],
)
def test_the_check_sees_a_file_that_was_cut(copied, name, dataset):
    path = copied.data(name)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 9 // 10)
    # Not even where other content is allowed may a file be cut.
    with pytest.raises(AssertionError, match=f"'{dataset}': '"):
        assert_whole(copied, written=1)


def test_the_check_sees_whole_content_that_has_no_record(copied):
    path = copied.data("04_feature/scaler.json")
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="'scaler'"):
        assert_whole(copied)
    assert_whole(copied, written=1)
