"""Stages that run alone, from what earlier runs have left."""

from dataclasses import replace

import pytest

TRAIN = (
    "06_models/model",
    "06_models/checkpoints/",
    "06_models/tensorboard/",
    "08_reporting/training_history",
)
# "model" also begins these, which are the export's.
AFTER_TRAIN = (
    "06_models/model.onnx",
    "06_models/model.pth",
    "06_models/model_artifacts.pth",
)
EVALUATE_AND_EXPORT = (
    "06_models/model.onnx",
    "06_models/preparation.json",
    "06_models/pipeline.onnx",
    "06_models/model.pth",
    "06_models/model_artifacts.pth",
    "06_models/impute_dict.",
    "06_models/risk_table_map.",
    "07_model_output/",
    "08_reporting/baseline_report.json",
    "08_reporting/metrics.json",
    "08_reporting/comprehensive_metrics.json",
    "08_reporting/roc_curve.png",
    "08_reporting/pr_curve.png",
    "08_reporting/tensorboard_eval",
    "08_reporting/parity_report.json",
    "08_reporting/pipeline_report.json",
    "08_reporting/int8_report.json",
    "08_reporting/export_report.",
)


def written(project, since):
    """Files whose modification time or existence changed, below data."""
    now = times(project)
    return {name for name in {*now, *since} if now.get(name) != since.get(name)}


def times(project):
    return {
        str(p.relative_to(project.data(""))): p.lstat().st_mtime_ns
        for p in project.data("").rglob("*")
        if p.is_file() or p.is_symlink()
    }


def only(names, allowed, *, but=()):
    foreign = {n for n in names if not n.startswith(allowed) or n.startswith(but)}
    assert foreign == set()
    for start in allowed:
        assert any(name.startswith(start) for name in names), f"{start} is as it was"


def check_train(project, *options):
    """Runs the training alone; gives the weights before and after."""
    weights = project.data("06_models/model/model.safetensors")
    since, before = times(project), weights.read_bytes()
    done = project.ran(*options)
    assert done.out.splitlines()[0].endswith("environment base: train")
    only(written(project, since), TRAIN, but=AFTER_TRAIN)
    return before, weights.read_bytes()


def test_train_runs_alone_and_writes_only_its_own_files(copied):
    before, after = check_train(copied, "--pipelines=train")
    # The same seed gives the same model, so everything after it is still valid.
    assert before == after


@pytest.mark.slow
def test_the_older_spelling_and_another_seed(copied):
    before, after = check_train(copied, "--pipeline=train", "--params=training.seed=7")
    assert before != after


@pytest.mark.slow
def test_evaluate_and_export_run_alone_and_write_only_their_own_files(copied):
    since, before = times(copied), copied.files()
    done = copied.ran("--pipelines=evaluate,export")
    assert done.out.splitlines()[0].endswith("environment base: evaluate, export")
    only(written(copied, since), EVALUATE_AND_EXPORT)
    for name in ("metrics.json", "roc_curve.png", "pr_curve.png"):
        assert copied.files()[f"08_reporting/{name}"] == before[f"08_reporting/{name}"]


def test_a_stage_without_its_inputs_says_which_stages_to_run(make_project, tmp_path):
    project = make_project(tmp_path / "project")
    done = project.run("--pipelines=train")
    assert done.code == 1
    assert "train_tokens.arrow does not exist (stage text)" in done.err
    assert "Re-run: python -m kedro run --pipelines=load,text,tabular,train" in done.err
    assert len(done.text.splitlines()) < 25
    assert not [n for n in project.files() if not n.startswith("01_raw")]


def test_a_part_that_kedro_picks_is_quiet(copied):
    """As kedro-viz proposes it beside a dataset: everything that leads to it."""
    for option in ("--to-outputs=scaler", "--tags=load", "--from-nodes=fit_scaler"):
        to = ("--to-outputs=scaler",) if option.startswith("--from") else ()
        done = copied.ran(option, *to)
        assert done.err == ""
        assert "total" in done.out


def test_a_sub_folder_shows_the_same_plain_lines(copied):
    """Kedro itself looks for conf/logging.yml in the current folder only."""

    def first_words(project):
        text = project.ran("--pipelines=tabular").out
        # Kedro tells how it starts before the project has a say.
        return [
            line.split()[0] for line in text[text.index("tabweave ") :].splitlines()
        ]

    inside = replace(copied, path=copied.path / "src")
    assert (
        first_words(inside) == first_words(copied) == ["tabweave", "tabular", "total"]
    )
