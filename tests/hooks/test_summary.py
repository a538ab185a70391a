import json
import logging

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from hooks_fixtures import FIT, LOAD, USE, make_node
from tabweave.datasets.files import JsonDataset, ObjectDataset
from tabweave.hooks import SummaryHooks
from tabweave.tabular import Scaler
from tabweave.tabular.scaling import Scaling


def scaler_of(features):
    return Scaler({f"num:{n}": Scaling(0.0, 1.0) for n in range(features)})


@pytest.fixture
def summary(caplog):
    caplog.set_level(logging.INFO, logger="tabweave.hooks")
    hooks = SummaryHooks()

    def lines():
        return [record.getMessage() for record in caplog.records]

    return hooks, lines


def start(hooks, *nodes, env=None):
    hooks.before_pipeline_run(run_params={"env": env}, pipeline=Pipeline(list(nodes)))


def saved(hooks, node, name, data):
    hooks.after_dataset_saved(dataset_name=name, data=data, node=node)


def test_a_run_begins_with_what_will_run(summary):
    hooks, lines = summary
    start(hooks, USE, FIT, LOAD, env="mine")
    assert lines()[0].endswith("environment mine: load, tabular, train")


def test_a_stage_ends_with_its_last_output_and_one_line(summary):
    hooks, lines = summary
    node = make_node("a", ["scaler", "imputer"], "n", "tabular")
    start(hooks, node)
    saved(hooks, node, "scaler", scaler_of(3))
    assert len(lines()) == 1
    saved(hooks, node, "imputer", {})
    assert lines()[1].startswith("tabular")
    assert lines()[1].endswith("3 scaled features")


def test_seconds_go_to_the_stage_whose_output_they_led_to(summary, monkeypatch):
    hooks, lines = summary
    clock = iter([100.0, 101.0, 105.0, 105.5, 106.0])
    monkeypatch.setattr("tabweave.hooks.summary.time.monotonic", lambda: next(clock))
    first = make_node("a", "b", "one", "evaluate")
    train = make_node("c", "model", "two", "train")
    last = make_node("b", "d", "three", "evaluate")
    start(hooks, first, train, last)
    saved(hooks, first, "b", {})
    saved(hooks, train, "model", {})
    saved(hooks, last, "d", {})
    hooks.after_pipeline_run(
        pipeline=Pipeline([first, train, last]), catalog=DataCatalog({})
    )
    seconds = {line.split()[0]: float(line.split()[1]) for line in lines()[1:]}
    assert seconds == {"train": 4.0, "evaluate": 1.5, "total": 6.0}


def test_a_second_run_of_a_session_starts_from_nothing(summary):
    hooks, lines = summary
    for _ in range(2):
        start(hooks, LOAD)
        saved(hooks, LOAD, "schema", {})
    assert sum(line.startswith("load") for line in lines()) == 2


def test_the_end_shows_metrics_and_files(summary, tmp_path, monkeypatch):
    hooks, lines = summary
    monkeypatch.chdir(tmp_path)
    node = make_node("a", "metrics", "n", "evaluate")
    dataset = JsonDataset(path=str(tmp_path / "data" / "metrics.json"))
    values = {"val/auroc": 0.5, "test/auroc": 0.75}
    dataset.save(values)
    names = ("model", "onnx_model", "test.predictions", "test.scored")
    others = {name: JsonDataset(path=str(tmp_path / name)) for name in names}
    others["model"].save({})  # of an earlier run: not what these metrics are about
    start(hooks, node)
    saved(hooks, node, "metrics", values)
    catalog = DataCatalog({"metrics": dataset, **others})
    hooks.after_pipeline_run(pipeline=Pipeline([node]), catalog=catalog)
    text = "\n".join(lines())
    assert "test/auroc 0.7500" in text
    assert "0.7500" in text.splitlines()[-2]
    assert "onnx_model" not in text
    assert text.splitlines()[-1].split() == ["metrics", "data/metrics.json"]
    assert json.loads((tmp_path / "data" / "metrics.json").read_text()) == values


def test_metrics_that_are_all_undefined_are_said_to_be(summary):
    hooks, lines = summary
    node = make_node("a", "metrics", "n", "evaluate")
    start(hooks, node)
    saved(hooks, node, "metrics", {"test/auroc": None})
    assert lines()[-1].endswith("no metric of test is defined")


@pytest.mark.parametrize(
    ("severities", "notice"),
    [
        ([], ""),
        (["info"] * 3, ""),
        (["warning", "info", "warning"], "; 2 warnings, see data_report.json"),
        (["error", "warning"], "; 1 error, 1 warning, see data_report.json"),
    ],
)
def test_the_load_stage_tells_how_many_findings_there_are(summary, severities, notice):
    hooks, lines = summary
    node = make_node("train.raw", "data_report", "load", "load")
    start(hooks, node)
    splits = {split: {"rows": 1200} for split in ("train", "val", "test")}
    findings = [{"severity": severity} for severity in severities]
    saved(hooks, node, "data_report", {"splits": splits, "findings": findings})
    rows = "1,200 / 1,200 / 1,200 rows (train / val / test)"
    assert lines()[-1].endswith(f"{rows}{notice}")


def test_what_other_processes_have_saved_is_told_at_the_end(summary, tmp_path):
    """ParallelRunner saves in processes of its own; nobody knows their seconds."""
    hooks, lines = summary
    node = make_node("a", ["scaler", "imputer"], "n", "tabular")
    last = make_node("imputer", "metrics", "m", "evaluate")
    names = ("scaler", "imputer", "metrics")
    entries = {n: JsonDataset(path=str(tmp_path / f"{n}.json")) for n in names}
    path, holds = str(tmp_path / "scaler.json"), "tabweave.tabular.Scaler"
    entries["scaler"] = ObjectDataset(path=path, holds=holds)
    entries["scaler"].save(scaler_of(1))
    entries["metrics"].save({"test/auroc": 0.75})
    start(hooks, node, last)
    hooks.after_pipeline_run(
        pipeline=Pipeline([node, last]), catalog=DataCatalog(entries)
    )
    text = "\n".join(lines())
    assert "tabular              1 scaled features" in text
    assert "evaluate             test/auroc 0.7500" in text
    assert str(tmp_path / "metrics.json") in text


def test_a_process_that_did_not_see_the_start_says_nothing(summary):
    hooks, lines = summary
    start(hooks, LOAD)
    hooks.run.process += 1
    saved(hooks, LOAD, "schema", {})
    assert len(lines()) == 1


def test_a_run_that_did_nothing_says_so(summary):
    hooks, lines = summary
    start(hooks)
    hooks.after_pipeline_run(pipeline=Pipeline([]), catalog=DataCatalog({}))
    assert any(line.startswith("Nothing was run") for line in lines())
