"""On the demo, text and table together beat either alone, by more than chance."""

import json
import shutil

import pytest

pytestmark = pytest.mark.slow

FULL = {"train": 3000, "val": 600, "test": 1500}
# Enough for the text model to learn its words; the demo itself trains longer.
PARAMS = "training.max_epochs=3,text.max_sen_len=256,text.max_total_chunks=1"


@pytest.fixture(scope="module")
def comparison(make_project, tmp_path_factory, root):
    project = make_project(tmp_path_factory.mktemp("fusion") / "project", rows=FULL)
    (project.path / "conf" / "local" / "parameters.yml").unlink()
    shutil.copytree(root / "benchmarks", project.path / "benchmarks")
    project.ran("--pipelines=prepare", f"--params={PARAMS}")
    done = project.python("-m", "benchmarks.fusion", "--params", PARAMS, timeout=900)
    assert done.code == 0, done.text
    return json.loads(done.out.splitlines()[-1])


@pytest.mark.parametrize("alone", ["text", "table"])
def test_fusion_beats_each_part_alone(comparison, alone):
    difference = comparison[f"fused_minus_{alone}"]
    assert comparison["rows"] == FULL["test"]
    assert comparison["fused_auroc"] > comparison[f"{alone}_auroc"] > 0.65
    assert difference["low"] > 0
    assert difference["estimate"] == pytest.approx(
        comparison["fused_auroc"] - comparison[f"{alone}_auroc"], abs=1e-6
    )
