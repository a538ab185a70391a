import argparse
import inspect
import json
import logging
from pathlib import Path

import pytest
from kedro.io import DataCatalog

from tabweave.configuration.loader import SWITCHES, TabweaveConfigLoader
from tabweave.errors import ConfigError, InUseError, MissingDataError, SchemaError
from tabweave.pipeline_registry import register_pipelines
from tabweave.running.run_locks import locked, writing
from tabweave.sagemaker import container
from tabweave.sagemaker.container import INPUTS, OUTPUTS
from tabweave.settings import CONFIG_LOADER_ARGS

EXAMPLES = json.loads(
    (Path(__file__).parents[1] / "specification_examples.json").read_text("utf-8")
)
BINARY = EXAMPLES["binary_bert"]
RESULTS = ("models", "model_output", "reporting")
HEADER = "message_id,dialogue_text,is_fraud,marketplace,seller_rating,price\n"


@pytest.fixture(autouse=True)
def _logging_stays():
    """The entry point sets up logging for its process; the next test wants its own."""
    names = (None, "tabweave", "kedro", "kedro.runner", "kedro.pipeline.node")
    loggers = [logging.getLogger(name) for name in names]
    state = [(list(one.handlers), one.level, one.propagate) for one in loggers]
    yield
    for one, (handlers, level, propagate) in zip(loggers, state, strict=True):
        one.handlers[:], one.level, one.propagate = handlers, level, propagate
    logging.getLogger("tabweave").manager._clear_cache()


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "data"
    for split in ("train", "val", "test"):
        (folder / split).mkdir(parents=True)
        (folder / split / "rows.csv").write_text(HEADER, encoding="utf-8")
    path = tmp_path / "hyperparameters.json"
    path.write_text(json.dumps(BINARY), encoding="utf-8")
    return {"input_path": str(folder), "hyperparameters_s3_uri": str(path)}


@pytest.fixture
def outputs(tmp_path):
    return {name: str(tmp_path / name) for name in OUTPUTS}


def failure(outputs):
    return Path(outputs["evaluation_output"]) / "failure"


def rewrite(inputs, **changes):
    path = Path(inputs["hyperparameters_s3_uri"])
    path.write_text(json.dumps(BINARY | changes), encoding="utf-8")


def test_the_entry_point_has_the_specification_s_signature():
    names = list(inspect.signature(container.main).parameters)
    assert names == ["input_paths", "output_paths", "environ_vars", "job_args"]


def test_the_paths_are_those_of_the_specification():
    assert {**INPUTS, **OUTPUTS} == {
        "input_path": "/opt/ml/input/data",
        "train": "/opt/ml/input/data/train",
        "val": "/opt/ml/input/data/val",
        "test": "/opt/ml/input/data/test",
        "hyperparameters_s3_uri": "/opt/ml/code/hyperparams/hyperparameters.json",
        "model_artifacts_input": "/opt/ml/input/data/model_artifacts_input",
        "model_output": "/opt/ml/model",
        "evaluation_output": "/opt/ml/output/data",
        "checkpoints": "/opt/ml/checkpoints",
    }
    assert set(SWITCHES) == {
        "USE_PRECOMPUTED_IMPUTATION",
        "USE_PRECOMPUTED_RISK_TABLES",
    }


def test_a_failure_ends_with_code_one_and_is_written_down(inputs, outputs):
    rewrite(inputs, model_class="no_model")
    with pytest.raises(SystemExit) as caught:
        container.main(inputs, outputs, {}, argparse.Namespace())
    assert caught.value.code == 1
    message, _, trace = failure(outputs).read_text("utf-8").partition("\n\n")
    assert message.startswith("Unknown model class: no_model")
    assert trace.startswith("Traceback (most recent call last)")
    assert "ConfigError" in trace
    assert not Path(outputs["model_output"]).exists()


def test_the_failure_of_an_earlier_run_goes_first(inputs, outputs):
    failure(outputs).parent.mkdir()
    failure(outputs).write_text("an old one", encoding="utf-8")
    with pytest.raises(ConfigError):
        container.train(inputs | {"hyperparameters_s3_uri": "nothing"}, outputs, {}, {})
    assert "an old one" not in failure(outputs).read_text("utf-8")


def test_a_folder_may_hold_the_hyperparameters(inputs, outputs, tmp_path):
    rewrite(inputs, model_class="no_model")
    with pytest.raises(ConfigError, match="no_model"):
        container.train(
            inputs | {"hyperparameters_s3_uri": str(tmp_path)}, outputs, {}, {}
        )


@pytest.mark.parametrize(
    ("paths", "part"),
    [
        ({"input_path": "x"}, "'hyperparameters_s3_uri' is missing"),
        ({"imput_path": "x"}, "Did you mean 'input_path'?"),
    ],
)
def test_inputs_are_checked_by_name(paths, part, outputs):
    with pytest.raises(ConfigError) as caught:
        container.train(paths, outputs, {}, {})
    assert part in str(caught.value)
    assert failure(outputs).exists()


def test_without_a_place_for_the_failure_there_is_still_a_code(inputs, outputs):
    del outputs["evaluation_output"]
    with pytest.raises(SystemExit) as caught:
        container.main(inputs, outputs, {}, argparse.Namespace())
    assert caught.value.code == 1


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({"USE_PRECOMPUTED_IMPUTATION": "1"}, "is '1'; allowed: true, false"),
        ({"USE_PRECOMPUTED_RISK_TABLES": "true"}, "which is no folder"),
    ],
)
def test_switches_are_checked(variables, part, inputs, outputs):
    with pytest.raises(ConfigError, match=part):
        container.train(inputs, outputs, variables, {})


def test_the_process_and_the_caller_may_not_differ(inputs, outputs, monkeypatch):
    monkeypatch.setenv("USE_PRECOMPUTED_IMPUTATION", "true")
    with pytest.raises(ConfigError, match="Set one of the two"):
        container.train(inputs, outputs, {"USE_PRECOMPUTED_IMPUTATION": "false"}, {})


def test_a_column_of_the_full_list_must_be_in_every_file(inputs, outputs):
    rewrite(inputs, full_field_list=[*BINARY["full_field_list"], "sellr_rating"])
    with pytest.raises(SchemaError) as caught:
        container.train(inputs, outputs, {}, {})
    text = str(caught.value)
    assert text.count("Column 'sellr_rating' not found in dataset.") == 3
    assert "'seller_rating'?" in text


def test_a_split_without_a_file(inputs, outputs):
    (Path(inputs["input_path"]) / "val" / "rows.csv").unlink()
    with pytest.raises(MissingDataError, match=r"^No supported data file"):
        container.train(inputs, outputs, {}, {})


def test_a_split_may_lie_elsewhere(inputs, outputs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "other.csv"
    path.write_text("message_id\n1\n", encoding="utf-8")
    for given in (path, path.parent):
        with pytest.raises(SchemaError) as caught:
            container.train(inputs | {"val": str(given)}, outputs, {}, {})
        assert f"{path}: Column" in str(caught.value)
        assert str(Path(inputs["input_path"]) / "train") not in str(caught.value)


def test_the_parts_of_a_split_are_checked_wherever_they_lie(inputs, outputs, tmp_path):
    (Path(inputs["input_path"]) / "train" / "rows.csv").unlink()
    for folder in (Path(inputs["input_path"]) / "train", tmp_path / "elsewhere"):
        folder.mkdir(exist_ok=True)
        for number in range(2):
            (folder / f"part-{number}.csv").write_text(HEADER, encoding="utf-8")
    last = tmp_path / "elsewhere" / "part-1.csv"
    last.write_text("message_id\n1\n", encoding="utf-8")
    with pytest.raises(SchemaError) as caught:
        container.train(inputs | {"val": str(last.parent)}, outputs, {}, {})
    assert f"{last}: lacks the columns 'dialogue_text'" in str(caught.value)


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ({"training": {"max_epoch": 1}}, "'max_epochs'?"),
        ({"data_dir": "x"}, "data_dir"),
        ({"fabricate": {"seed": 1}}, "fabricate"),
    ],
)
def test_overrides_are_parameters_of_the_stages(params, part, inputs, outputs):
    with pytest.raises(SystemExit):
        container.main(inputs, outputs, {}, argparse.Namespace(params=params))
    assert part in failure(outputs).read_text("utf-8")


def test_the_configuration_is_found(root):
    assert container.conf_source() == root / "conf"


def test_kedro_logs_as_the_project_says_where_there_is_none(
    tmp_path, monkeypatch, root
):
    monkeypatch.setenv("KEDRO_LOGGING_CONFIG", "mine.yml")
    monkeypatch.chdir(tmp_path)
    container.choose_logging()
    assert container.os.environ["KEDRO_LOGGING_CONFIG"] == "mine.yml"
    monkeypatch.delenv("KEDRO_LOGGING_CONFIG")
    container.choose_logging()
    assert container.os.environ["KEDRO_LOGGING_CONFIG"] == str(
        root / "conf/logging.yml"
    )
    monkeypatch.delenv("KEDRO_LOGGING_CONFIG")
    monkeypatch.chdir(root)
    container.choose_logging()
    assert "KEDRO_LOGGING_CONFIG" not in container.os.environ


def test_every_result_lies_in_a_folder_of_the_caller(inputs, outputs, root):
    """Models, predictions and reports; the rest goes with the temporary folder."""
    given = {name: Path(path) for name, path in {**inputs, **outputs}.items()}
    loader = TabweaveConfigLoader(
        str(root / "conf"),
        env="container",
        runtime_params={"data": {"id": "i"}} | container._folders(given, given),
        **CONFIG_LOADER_ARGS,
    )
    catalog = DataCatalog.from_config(loader["catalog"])
    kept = {}
    for name in register_pipelines()["__default__"].all_outputs():
        dataset = catalog.get(name)
        if dataset.metadata["kedro-viz"]["layer"] in RESULTS:
            kept[name] = dataset.path
    assert len(set(kept.values())) == len(kept)
    folders = {name: given[name] for name in OUTPUTS}
    for name, path in kept.items():
        assert path.parent in (
            *folders.values(),
            folders["evaluation_output"] / "predictions",
        )
        assert path.is_relative_to(given["model_output"]) == (
            catalog.get(name).metadata["kedro-viz"]["layer"] == "models"
        ), name
    for name in ("checkpoints", "tensorboard_train"):
        assert catalog.get(name).path.is_relative_to(given["checkpoints"])


@pytest.mark.parametrize("name", [*INPUTS, *OUTPUTS])
def test_an_address_is_refused(name, inputs, outputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    address = {name: "s3://bucket/x"}
    given = inputs | (address if name in INPUTS else {})
    taken = outputs | (address if name in OUTPUTS else {})
    with pytest.raises(ConfigError, match=f"{name}: 's3://bucket/x' is an address"):
        container.train(given, taken, {}, {})
    # A failure is written down, where there is a folder for it.
    there = {path.name for path in tmp_path.iterdir()}
    assert there - before <= ({"evaluation_output"} if name in INPUTS else set())


def test_a_run_that_is_refused_leaves_the_other_s_folder_alone(
    inputs, outputs, monkeypatch
):
    """A file `failure` would say of the run at work that it has failed."""

    def held(work, parameters):
        raise InUseError("another run is at work")

    rewrite(inputs, full_field_list=HEADER.strip().split(","))
    monkeypatch.setattr(container, "_run_stages", held)
    with pytest.raises(InUseError):
        container.train(inputs, outputs, {}, {})
    assert not failure(outputs).exists()


def test_a_start_with_a_mistake_leaves_the_folder_of_a_run_at_work_alone(
    inputs, outputs
):
    failure(outputs).parent.mkdir()
    failure(outputs).write_text("of the run at work", encoding="utf-8")
    with locked([writing(failure(outputs))]), pytest.raises(InUseError):
        container.train(inputs | {"hyperparameters_s3_uri": "nothing"}, outputs, {}, {})
    assert failure(outputs).read_text("utf-8") == "of the run at work"
    assert [path.name for path in failure(outputs).parent.iterdir()] == ["failure"]


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("below", ["", "some/folder"])
def test_an_output_that_can_be_no_folder_is_named_as_it_was_given(
    name, below, inputs, outputs, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    given = str(Path("file", below))
    option = {"checkpoints": "checkpoint", "evaluation_output": "output"}.get(name)
    message = (
        rf"{name} \(--{option or 'model'}-dir\) is '{given}', but .*file is no fol"
    )
    with pytest.raises(ConfigError, match=message):
        container.train(inputs, outputs | {name: given}, {}, {})
    assert not (tmp_path / "evaluation_output").exists()
