"""The models of 8-bit integers: by option, judged on val, used by choice."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

FILES = ("model.int8.onnx", "pipeline.int8.onnx")
ON = "export.int8=true"


pytestmark = pytest.mark.slow


def scored(project, output, *options):
    source = project.data("01_raw/test/marketplace.csv")
    bundle = project.data("07_model_output/bundle")
    return project.python(
        *("-m", "tabweave", "score", str(bundle), str(source), str(output), *options)
    )


def report(project, name):
    path = project.data(f"08_reporting/{name}.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def exported(make_project, tmp_path_factory):
    """A run whose word embeddings are large enough to be worth int8."""
    project = make_project(tmp_path_factory.mktemp("int8") / "project")
    settings = project.path / "conf" / "local" / "parameters.yml"
    params = yaml.safe_load(settings.read_text(encoding="utf-8"))
    params["text"]["vocabulary_size"] = 800
    params["export"]["int8_limits"] = {"min_rows": 50}
    settings.write_text(yaml.safe_dump(params), encoding="utf-8")
    project.ran(f"--params={ON}")
    return project


def test_both_files_are_written_and_smaller(exported):
    assert report(exported, "int8_report")["refused"] is None
    for name in FILES:
        written = exported.data(f"06_models/{name}").read_bytes()
        fp32 = exported.data(f"06_models/{name.replace('.int8', '')}").read_bytes()
        assert len(written) < len(fp32)
        bundled = exported.data(f"07_model_output/bundle/{name}").read_bytes()
        assert bundled == written
    models = report(exported, "export_report")["models"]
    assert {*FILES, "PyTorch", "model.onnx", "pipeline.onnx"} == set(models)
    assert all(one["p50_ms"] > 0 for one in models.values())


def test_a_scoring_uses_them_when_it_is_told_to(exported, tmp_path):
    outputs = [tmp_path / "fp32.csv", tmp_path / "int8.csv"]
    for output, options in zip(outputs, ([], ["--int8"]), strict=True):
        done = scored(exported, output, *options)
        assert done.code == 0, done.text
    fp32, int8 = (pd.read_csv(output)["prob_1"].to_numpy() for output in outputs)
    far = np.abs(fp32 - int8).max()
    assert 1e-7 < far < 0.1, "other answers, but close ones"
    expected = report(exported, "export_report")["largest_difference"]
    assert expected["pipeline.int8.onnx"] > 1e-7


def test_without_the_option_they_go(exported, tmp_path):
    project = exported.copy(tmp_path / "project")
    project.ran("--pipelines=export")
    # That they are not there is no reason to refuse a part of the stage.
    project.ran("--pipelines=export", "--nodes=make_bundle,draw_export")
    # Nor are other seconds of timing: nothing was made with them.
    later = "--params=export.timing_seconds=0.1"
    project.ran("--pipelines=export", "--nodes=draw_export", later)
    for name in FILES:
        assert not project.data(f"06_models/{name}").exists()
        assert not project.data(f"07_model_output/bundle/{name}").exists()
    done = scored(project, tmp_path / "out.csv", "--int8")
    assert done.code != 0
    assert "export.int8 is false." in done.text
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", ["pipeline.onnx", "model.int8.onnx"])
@pytest.mark.parametrize("record", ["kept", "gone"])
def test_a_file_that_was_lost_is_missed(exported, tmp_path, name, record):
    project = exported.copy(tmp_path / "project")
    project.data(f"06_models/{name}").unlink()
    if record == "gone":
        project.data(f"06_models/{name}.provenance.json").unlink()
    bundle = project.data("07_model_output/bundle/manifest.json").read_bytes()
    done = project.run("--pipelines=export", "--nodes=make_bundle", f"--params={ON}")
    assert done.code != 0
    assert f"{name} does not exist" in done.text
    assert "Traceback" not in done.text
    assert project.data("07_model_output/bundle/manifest.json").read_bytes() == bundle


def test_beyond_a_limit_they_are_refused_with_the_figures(exported, tmp_path):
    project = exported.copy(tmp_path / "project")
    strict = "export.int8_limits.min_rows=81"
    done = project.ran("--pipelines=export", f"--params={ON},{strict}")
    found = report(project, "int8_report")
    assert "val has 80 rows, too few" in found["refused"]
    assert found["pipeline.int8.onnx"]["largest_difference"] > 0
    assert "No int8 model is written." in done.text
    for name in FILES:
        assert not project.data(f"06_models/{name}").exists()
    manifest = project.data("07_model_output/bundle/manifest.json").read_text()
    assert json.loads(manifest)["parity"]["int8"]["refused"] == found["refused"]
