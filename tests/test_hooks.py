import json
import logging
import warnings
from dataclasses import replace

import pyarrow as pa
import pytest
from kedro.framework.project import pipelines
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from tabweave.artifacts import STAGE_FORMATS, Provenance, content_hash, write_json
from tabweave.datasets.files import FolderDataset, JsonDataset
from tabweave.datasets.tables import MappedTableDataset, RawTableDataset
from tabweave.errors import ArtifactError
from tabweave.hooks import (
    STAGES,
    ProvenanceHooks,
    SummaryHooks,
    artifact_path,
    stage_of,
)
from tabweave.tabular.config import TabularConfig


@pytest.fixture(autouse=True, scope="module")
def _registry():
    """The hooks ask the registry which stage writes an artifact."""
    pipelines.configure("tabweave.pipeline_registry")


@pytest.fixture
def catalog(tmp_path):
    """Entries of the names that the tabular stage has, in one folder."""
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.csv").write_text("id,n\n1,2\n")
    features = {
        f"{split}.features": MappedTableDataset(path=str(tmp_path / f"{split}.arrow"))
        for split in ("train", "val")
    }
    return DataCatalog(
        {
            "train.raw": RawTableDataset(path=str(tmp_path), split="train"),
            "schema": JsonDataset(path=str(tmp_path / "schema.json")),
            "imputer": JsonDataset(path=str(tmp_path / "imputer.json")),
            "scaler": JsonDataset(path=str(tmp_path / "scaler.json")),
            "checkpoints": FolderDataset(path=str(tmp_path / "checkpoints")),
            "params:tabular": MemoryDataset(TabularConfig()),
            "params:export": MemoryDataset({}),
            **features,
        }
    )


def nothing(*_):
    """A function for nodes that the tests run by hand."""


def make_node(inputs, outputs, name, tags=None):
    """A node; the dots in dataset names are meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One or more dataset names contain")
        return Node(nothing, inputs=inputs, outputs=outputs, name=name, tags=tags)


FIT = make_node(["schema", "params:tabular"], "imputer", "fit", "tabular")
LOAD = make_node("train.raw", "schema", "load", "load")
USE = make_node("imputer", "model", "use", "train")


def save(hooks, catalog, node, **values):
    """What Kedro does around one node."""
    inputs = {name: catalog.load(name) for name in node.inputs}
    hooks.before_node_run(node=node, catalog=catalog, inputs=inputs)
    for name, value in values.items():
        catalog.save(name, value)
        hooks.after_dataset_saved(dataset_name=name, node=node)


@pytest.fixture
def hooks(catalog):
    """Hooks that have seen the load and the fit."""
    seen = ProvenanceHooks()
    save(seen, catalog, LOAD, schema={"a": 1})
    save(seen, catalog, FIT, imputer={"mean": 2})
    return seen


def check(catalog, *nodes, **given):
    """A new run: hooks that have seen nothing."""
    run = ProvenanceHooks()
    run.before_pipeline_run(
        run_params={"runtime_params": given},
        pipeline=Pipeline(list(nodes)),
        catalog=catalog,
    )


def refusal(catalog, *nodes, **given):
    with pytest.raises(ArtifactError) as caught:
        check(catalog, *nodes, **given)
    return str(caught.value)


def test_a_record_says_what_an_artifact_was_made_from(hooks, catalog, tmp_path):
    record = Provenance.read(tmp_path / "imputer.json")
    assert (record.dataset, record.stage) == ("imputer", "tabular")
    assert record.content == content_hash(tmp_path / "imputer.json")
    assert record.inputs == {"schema": content_hash(tmp_path / "schema.json")}
    assert record.parameters == {"tabular": TabularConfig().model_dump(mode="json")}
    raw = Provenance.read(tmp_path / "schema.json").inputs
    assert raw == {"train.raw": content_hash(tmp_path / "train.csv")}


def test_fresh_inputs_pass(hooks, catalog):
    check(catalog, FIT)
    check(catalog, USE)
    # What the run makes itself need not be there.
    check(catalog, LOAD, FIT, USE)


def test_a_missing_input(catalog, tmp_path):
    message = refusal(catalog, USE)
    assert f"imputer: {tmp_path / 'imputer.json'} does not exist" in message
    assert message.endswith("Re-run: kedro run --pipelines=tabular,train")


def test_an_input_without_a_record(hooks, catalog, tmp_path):
    Provenance.path_for(tmp_path / "imputer.json").unlink()
    assert "has no record of what it was made from" in refusal(catalog, USE)


def test_an_input_with_the_record_of_another(hooks, catalog, tmp_path):
    record = Provenance.path_for(tmp_path / "schema.json").read_bytes()
    Provenance.path_for(tmp_path / "imputer.json").write_bytes(record)
    assert "has no record of what it was made from" in refusal(catalog, USE)


def test_an_input_that_was_changed(hooks, catalog, tmp_path):
    write_json(tmp_path / "imputer.json", {"mean": 3})
    message = refusal(catalog, USE)
    assert "was changed after it was written (stage tabular)" in message


def test_an_input_whose_own_input_was_changed(hooks, catalog, tmp_path):
    (tmp_path / "train.csv").write_text("id,n\n1,3\n")
    message = refusal(catalog, USE)
    assert "schema: made from another train.raw than" in message
    assert message.endswith("Re-run: kedro run --pipelines=load,tabular,train")


def test_an_input_made_from_an_older_version_of_another(hooks, catalog):
    save(hooks, catalog, LOAD, schema={"a": 2})
    message = refusal(catalog, USE)
    assert "imputer: made from another schema than" in message
    assert message.endswith("--pipelines=tabular,train")


def test_an_input_made_with_other_parameters(hooks, catalog):
    changed = MemoryDataset(TabularConfig(cross_fit=3))
    entries = {name: catalog.get(name) for name in ("schema", "imputer", "train.raw")}
    later = DataCatalog({**entries, "params:tabular": changed})
    message = refusal(later, USE)
    assert "made with other parameters, tabular.cross_fit: 5 -> 3" in message


def test_parameters_are_compared_with_their_defaults_filled_in(hooks, catalog):
    entries = {name: catalog.get(name) for name in ("schema", "imputer", "train.raw")}
    plain = MemoryDataset({"imputation": "mean"})
    check(DataCatalog({**entries, "params:tabular": plain}), USE)


def test_raw_files_that_are_gone_are_no_reason_but_are_told(
    hooks, catalog, tmp_path, caplog
):
    (tmp_path / "train.csv").unlink()
    assert artifact_path(catalog, "train.raw") is None
    check(catalog, USE, training={"max_epochs": 1}, data={"val_filename": "x.csv"})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("train.raw: cannot be compared with")
    assert str(tmp_path / "train") in record.getMessage()
    assert len(record.getMessage().splitlines()) == 1


def test_raw_files_that_are_there_are_not_told(hooks, catalog, tmp_path, caplog):
    check(catalog, USE, data_dir=str(tmp_path))
    assert caplog.records == []


@pytest.mark.parametrize(
    "given", [{"data_dir": "tpyo"}, {"data": {"train_filename": "tpyo.csv"}}]
)
def test_raw_files_that_this_run_names_must_be_there(
    hooks, catalog, tmp_path, caplog, given
):
    (tmp_path / "train.csv").unlink()
    lines = refusal(catalog, USE, **given).splitlines()
    # No stage need run again: what is wrong is the name.
    (line,) = lines[1:]
    assert line.startswith("  - train.raw: No supported data file")
    assert str(tmp_path / "train") in line
    assert caplog.records == []


def test_the_load_stage_itself_says_what_it_misses(catalog, tmp_path, caplog):
    (tmp_path / "train.csv").unlink()
    check(catalog, LOAD)
    check(catalog, LOAD, data_dir="tpyo")
    assert caplog.records == []


@pytest.mark.parametrize("then", [1, None])
def test_an_input_made_by_another_version_of_its_stage(
    hooks, catalog, tmp_path, monkeypatch, then
):
    record = Provenance.read(tmp_path / "imputer.json")
    assert record.format == STAGE_FORMATS["tabular"]
    replace(record, format=then).write(tmp_path / "imputer.json")
    monkeypatch.setitem(STAGE_FORMATS, "tabular", 2)
    message = refusal(catalog, USE)
    known = then or "unknown"
    assert f"made by another version of the stage tabular ({known}, now 2)" in message
    assert message.endswith("Re-run: kedro run --pipelines=tabular,train")


def test_an_older_record_has_no_format(hooks, catalog, tmp_path):
    path = Provenance.path_for(tmp_path / "imputer.json")
    record = json.loads(path.read_text())
    del record["format"]
    path.write_text(json.dumps(record))
    assert "another version of the stage tabular (unknown, now" in refusal(catalog, USE)


def test_every_fault_is_said_once_with_all_it_concerns(hooks, catalog, tmp_path):
    table = pa.table({"x": [1]})
    node = make_node(
        ["imputer", "params:tabular"],
        ["train.features", "val.features"],
        "transform",
        "tabular",
    )
    save(hooks, catalog, node, **{"train.features": table, "val.features": table})
    changed = MemoryDataset(TabularConfig(cross_fit=3))
    names = ("schema", "imputer", "train.raw", "train.features", "val.features")
    entries = {name: catalog.get(name) for name in names}
    later = DataCatalog({**entries, "params:tabular": changed})
    last = make_node(["train.features", "val.features"], "model", "n", "train")
    message = refusal(later, last)
    (line,) = [line for line in message.splitlines() if "cross_fit" in line]
    names, _, _ = line.removeprefix("  - ").partition(":")
    assert set(names.split(", ")) == {"imputer", "train.features", "val.features"}


def test_parameters_and_folders_that_a_node_fills_have_no_record(hooks, catalog):
    node = make_node("checkpoints", "scaler", "s", "train")
    save(hooks, catalog, node, scaler={})
    record = Provenance.read(artifact_path(catalog, "scaler"))
    assert record.inputs == {}


def test_a_node_belongs_to_the_stage_of_its_tag():
    assert stage_of(FIT) == "tabular"
    assert stage_of(make_node("a", "b", "mine")) == "mine"
    assert STAGES.index("load") < STAGES.index("train") < STAGES.index("export")


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
    saved(hooks, node, "scaler", {"features": [1, 2, 3]})
    assert len(lines()) == 1
    saved(hooks, node, "imputer", {})
    assert lines()[1].startswith("tabular")
    assert lines()[1].endswith("3 scaled features")


def test_seconds_go_to_the_stage_whose_output_they_led_to(summary, monkeypatch):
    hooks, lines = summary
    clock = iter([100.0, 101.0, 105.0, 105.5, 106.0])
    monkeypatch.setattr("tabweave.hooks.time.monotonic", lambda: next(clock))
    first = make_node("a", "b", "one", "evaluate")
    train = make_node("c", "model", "two", "train")
    last = make_node("b", "d", "three", "evaluate")
    start(hooks, first, train, last)
    saved(hooks, first, "b", {})
    saved(hooks, train, "model", {})
    saved(hooks, last, "d", {})
    hooks.after_pipeline_run(catalog=DataCatalog({}))
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
    hooks.after_pipeline_run(catalog=DataCatalog({"metrics": dataset, **others}))
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
