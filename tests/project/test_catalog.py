import pytest
from kedro.io import DataCatalog

from tabweave.configuration.loader import TabweaveConfigLoader
from tabweave.errors import ConfigError
from tabweave.project_setup.environment import ARTIFACT_FOLDERS

LAYER_FOLDERS = {
    "raw": "01_raw",
    "intermediate": "02_intermediate",
    "primary": "03_primary",
    "feature": "04_feature",
    "model_input": "05_model_input",
    "models": "06_models",
    "model_output": "07_model_output",
    "reporting": "08_reporting",
}
# Where users, other tools and the documentation expect the files.
PATHS = {
    "train.table": "02_intermediate/train.parquet",
    "val.table": "02_intermediate/val.parquet",
    "test.table": "02_intermediate/test.parquet",
    "selected_schema": "04_feature/selected_schema.json",
    "imputer": "04_feature/imputer.json",
    "risk_tables": "04_feature/risk_tables.json",
    "scaler": "04_feature/scaler.json",
    "preparation": "06_models/preparation.json",
    "tokenizer": "04_feature/tokenizer",
    "train.tokens": "05_model_input/train_tokens.arrow",
    "val.tokens": "05_model_input/val_tokens.arrow",
    "test.tokens": "05_model_input/test_tokens.arrow",
    "train.features": "05_model_input/train_features.arrow",
    "val.features": "05_model_input/val_features.arrow",
    "test.features": "05_model_input/test_features.arrow",
    "model": "06_models/model",
    "checkpoints": "06_models/checkpoints",
    "onnx_model": "06_models/model.onnx",
    "val.predictions": "07_model_output/val_predictions.parquet",
    "test.predictions": "07_model_output/test_predictions.parquet",
    "val.scored": "07_model_output/predictions/val.csv",
    "test.scored": "07_model_output/predictions/test.csv",
    "metrics": "08_reporting/metrics.json",
    "roc_curve": "08_reporting/roc_curve.png",
    "pr_curve": "08_reporting/pr_curve.png",
    "data_report": "08_reporting/data_report.json",
    "data_report_figure": "08_reporting/data_report.png",
    "tabular_report": "08_reporting/tabular_report.json",
    "training_history": "08_reporting/training_history.json",
    "training_history_figure": "08_reporting/training_history.png",
    "parity_report": "08_reporting/parity_report.json",
    "export_report": "08_reporting/export_report.json",
    "export_report_figure": "08_reporting/export_report.png",
    "pipeline_onnx": "06_models/pipeline.onnx",
    "int8_model": "06_models/model.int8.onnx",
    "int8_pipeline": "06_models/pipeline.int8.onnx",
    "tensorboard_eval": "08_reporting/tensorboard_eval",
}


@pytest.fixture(autouse=True)
def _nothing_is_there(tmp_path, monkeypatch):
    """Relative paths lead to an empty folder, whatever a run has left in data/."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def entries(configuration):
    return configuration("base")["catalog"]


def folder_of(path, env):
    """``data/<layer folder>[/<env>]/rest`` -> layer folder and rest."""
    top, layer, *rest = path.split("/")
    assert top == "data", path
    if env is not None:
        assert rest[0] == env, path
        rest = rest[1:]
    return layer, "/".join(rest)


def test_every_dataset_of_a_pipeline_is_an_explicit_entry(dataset_names, catalog_of):
    catalog = catalog_of("base")
    resolver = catalog.config_resolver
    for name in dataset_names:
        explicit = name in catalog.config_resolver.config
        assert explicit or resolver.match_dataset_pattern(name), f"{name} is in memory"
        assert type(catalog.get(name)).__module__.startswith("tabweave.datasets."), name


def test_no_entry_and_no_pattern_is_unused(dataset_names, entries):
    resolver = DataCatalog.from_config(entries).config_resolver
    used = {resolver.match_dataset_pattern(name) or name for name in dataset_names}
    assert sorted(set(entries) - used) == []


def test_a_pattern_takes_only_splits(dataset_names, catalog_of):
    resolver = catalog_of("base").config_resolver
    for name in dataset_names:
        if resolver.match_dataset_pattern(name):
            assert name.split(".")[0] in ("train", "val", "test"), name


def test_no_entry_runs_code_when_it_is_loaded(entries):
    for name, entry in entries.items():
        text = str(entry).lower()
        # Its reader takes plain values and runs nothing; a test of its own shows that.
        restricted = "tabweave.datasets.compatibility.PickleDataset"
        if entry["type"] == restricted:
            continue
        assert "pickle" not in text, name
        assert ".pkl" not in text, name
        assert "memorydataset" not in text, name


def test_every_entry_has_a_layer(entries):
    for name, entry in entries.items():
        assert entry["metadata"]["kedro-viz"]["layer"] in LAYER_FOLDERS, name


def test_files_lie_in_the_folder_of_their_layer(dataset_names, catalog_of, env):
    own = None if env in ("base", "local") else env
    catalog = catalog_of(env)
    for name in dataset_names:
        dataset = catalog.get(name)
        expected = LAYER_FOLDERS[dataset.metadata["kedro-viz"]["layer"]]
        if expected == "01_raw":
            continue
        if name == "bundle":  # what is deployed: the model's output and its reports
            expected = "07_model_output"
        assert folder_of(str(dataset.path), own)[0] == expected, name


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_the_contract(name, catalog_of):
    assert str(catalog_of("base").get(name).path) == f"data/{PATHS[name]}"


@pytest.mark.parametrize("name", PATHS)
def test_another_environment_writes_below_its_own_name(name, catalog_of):
    layer, _, rest = PATHS[name].partition("/")
    found = str(catalog_of("trimodal").get(name).path)
    assert found == f"data/{layer}/trimodal/{rest}"


def test_only_the_demo_and_splits_are_written_to_the_raw_layer(pipelines, catalog_of):
    catalog = catalog_of("base")
    for pipeline in pipelines.values():
        for name in pipeline.all_outputs():
            layer = catalog.get(name).metadata["kedro-viz"]["layer"]
            raw = name.endswith(".demo") or name == "split_files"
            assert (layer == "raw") == raw, name


def test_two_entries_never_share_a_path(dataset_names, catalog_of):
    catalog = catalog_of("base")
    written = [n for n in dataset_names if not n.endswith((".raw", ".demo"))]
    paths = [str(catalog.get(name).path) for name in written]
    assert len(set(paths)) == len(paths)


def test_no_file_lies_inside_the_folder_of_another_entry(dataset_names, catalog_of):
    """A folder is hashed and replaced whole, so it must hold only its own files."""
    catalog = catalog_of("base")
    names = [n for n in dataset_names if not n.endswith((".raw", ".demo"))]
    paths = {name: catalog.get(name).path for name in names}
    for name, path in paths.items():
        for other, folder in paths.items():
            assert folder not in path.parents, f"{name} lies inside {other}"


def test_no_environment_can_write_into_a_folder_of_base(dataset_names, catalog_of):
    """data/06_models/<env> must not be data/06_models/model."""
    catalog = catalog_of("base")
    paths = [str(catalog.get(n).path) for n in dataset_names if not n.endswith(".raw")]
    below_layer = {path.split("/")[2] for path in paths if "01_raw" not in path}
    assert {name for name in below_layer if "." not in name} == set(ARTIFACT_FOLDERS)


@pytest.mark.parametrize("name", ARTIFACT_FOLDERS)
def test_an_environment_of_such_a_name_is_refused(name, tmp_path):
    (tmp_path / "conf" / name).mkdir(parents=True)
    (tmp_path / "conf" / "base").mkdir()
    with pytest.raises(ConfigError, match="cannot name an environment"):
        TabweaveConfigLoader(str(tmp_path / "conf"), env=name, base_env="base")
