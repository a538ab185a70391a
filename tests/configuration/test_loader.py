import tarfile

import pytest
import yaml

from tabweave.configuration.loader import TabweaveConfigLoader
from tabweave.errors import ConfigError
from tabweave.project_setup.environment import ARTIFACT_FOLDERS
from tabweave.settings import CONFIG_LOADER_ARGS

DATA = {"id": "i", "label": "y", "text": ["t"], "train_filename": "mine.csv"}
CATALOG = {
    "model": {"type": "x", "path": "${layer:06_models}/model"},
    "raw": {
        "type": "x",
        "filename": "${parameter:data.train_filename}",
        "none": "${parameter:data.val_filename}",
        "other": "${parameter:data.val_filename,${layer:06_models}/x.csv}",
        "deep": "${parameter:data.id.deeper}",
        "columns": "${parameter:data.text}",
    },
}


def put(conf, folder, **files):
    (conf / folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = conf / folder / f"{name}.yml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")


def encoder_folder(path, *names):
    path.mkdir(parents=True)
    for name in names or ("config.json", "model.safetensors"):
        (path / name).write_text("{}")
    return path


@pytest.fixture
def conf(tmp_path):
    """A configuration with two environments of its own."""
    put(tmp_path / "conf", "base", catalog=CATALOG, parameters={"data": DATA})
    put(tmp_path / "conf", "local")
    put(tmp_path / "conf", "mine", parameters={"data": {"train_filename": "new.csv"}})
    put(tmp_path / "conf", "other")
    (tmp_path / "pyproject.toml").write_text("[tool.kedro]\n", encoding="utf-8")
    return tmp_path / "conf"


def loader(conf, env=None, **params):
    return TabweaveConfigLoader(conf, env, params or None, **CONFIG_LOADER_ARGS)


@pytest.mark.parametrize(
    ("env", "path"),
    [
        (None, "data/06_models/model"),
        ("", "data/06_models/model"),
        ("base", "data/06_models/model"),
        ("local", "data/06_models/model"),
        ("mine", "data/06_models/mine/model"),
    ],
)
def test_an_environment_of_its_own_has_layers_of_its_own(conf, env, path):
    assert loader(conf, env)["catalog"]["model"]["path"] == path


def test_two_loaders_of_one_process_do_not_mix(conf):
    first, second = loader(conf), loader(conf, "mine")
    for _ in range(2):
        assert first["catalog"]["model"]["path"] == "data/06_models/model"
        assert second["catalog"]["model"]["path"] == "data/06_models/mine/model"
        assert first["catalog"]["raw"]["filename"] == "mine.csv"
        assert second["catalog"]["raw"]["filename"] == "new.csv"


def test_a_catalog_entry_reads_a_parameter(conf):
    entry = loader(conf)["catalog"]["raw"]
    assert entry["filename"] == "mine.csv"
    assert entry["columns"] == ["t"]
    assert entry["none"] is None
    assert entry["other"] == "data/06_models/x.csv"
    assert entry["deep"] is None


def test_an_environment_changes_single_keys_and_params_win(conf):
    assert loader(conf, "mine")["parameters"]["data"] == {
        **DATA,
        "train_filename": "new.csv",
    }
    won = loader(conf, "mine", data={"train_filename": "best.csv"})
    assert won["parameters"]["data"]["train_filename"] == "best.csv"
    assert won["catalog"]["raw"]["filename"] == "best.csv"


def test_parameters_are_checked_before_anything_runs(conf):
    put(conf, "base", parameters={"data": {**DATA, "labl": "y"}, "txt": {}})
    with pytest.raises(ConfigError, match=r"data\.labl: unknown key") as caught:
        loader(conf)["parameters"]
    assert "txt: unknown group. Did you mean 'text'?" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"training": {"batch_size": 0}}, {"traning": {}}])
def test_params_of_the_command_line_are_checked_too(conf, wrong):
    with pytest.raises(ConfigError, match=r"traini?ng"):
        loader(conf, **wrong)["parameters"]


def test_an_unknown_environment_is_refused_with_the_known_ones(conf):
    with pytest.raises(ConfigError, match="no environment 'mien'") as caught:
        loader(conf, "mien")
    message = str(caught.value)
    assert f"{conf / 'mien'} does not exist. Did you mean 'mine'?" in message
    assert "Environments: ['base', 'local', 'mine', 'other']." in message
    assert "tabweave init" in message


@pytest.fixture
def archive(conf):
    """The same configuration as `kedro package` writes it."""
    path = conf.parent / "conf-tabweave.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        file.add(conf, "conf")
    return path


def test_an_archive_is_read_like_the_folder(conf, archive):
    for env in (None, "mine"):
        for key in ("parameters", "catalog"):
            assert loader(archive, env)[key] == loader(conf, env)[key]


def test_an_archive_knows_its_environments(archive):
    with pytest.raises(ConfigError, match="no environment 'mien'") as caught:
        loader(archive, "mien")
    assert "Environments: ['base', 'local', 'mine', 'other']." in str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_configuration_from_elsewhere_counts_from_where_one_stands(
    conf, archive, tmp_path_factory, monkeypatch, kind
):
    put(conf, "base", parameters={"data": DATA, "text": {"encoder": "models/minilm"}})
    with tarfile.open(archive, "w:gz") as file:
        file.add(conf, "conf")
    (conf.parent / "pyproject.toml").unlink()
    here = tmp_path_factory.mktemp("here")
    encoder_folder(here / "models" / "minilm")
    monkeypatch.chdir(here)
    found = loader(conf if kind == "folder" else archive)["parameters"]["text"]
    assert found["encoder"] == str(here / "models" / "minilm")
    # From a folder inside a project it is the project, as for the paths of its data.
    (here / "pyproject.toml").write_text("[tool.kedro]\n", encoding="utf-8")
    (here / "deeper").mkdir()
    monkeypatch.chdir(here / "deeper")
    assert loader(archive)["parameters"]["text"] == found


@pytest.mark.parametrize("name", sorted(ARTIFACT_FOLDERS))
def test_an_environment_cannot_take_the_name_of_a_folder_of_artifacts(conf, name):
    put(conf, name)
    with pytest.raises(ConfigError, match=f"'{name}' cannot name an environment"):
        loader(conf, name)


@pytest.mark.parametrize("kind", ["folder", "archive"])
@pytest.mark.parametrize(
    "name", ["../conf/base", "/etc", ".", "..", "mine/", "mine/../other", " ", "a\0b"]
)
def test_a_path_is_no_environment(conf, archive, name, kind):
    with pytest.raises(ConfigError, match="cannot name an environment: use up"):
        loader(conf if kind == "folder" else archive, name)


def test_without_a_conf_folder_there_is_no_environment_to_miss(tmp_path):
    assert loader(tmp_path / "conf", "mine").env == "mine"


@pytest.mark.parametrize("place", ["group", "field"])
def test_a_relative_encoder_folder_counts_from_the_project_root(
    conf, tmp_path, monkeypatch, place
):
    encoder_folder(tmp_path / "models" / "minilm")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    encoder = {"encoder": "models/minilm"}
    text = encoder if place == "group" else {"fields": [{"name": "t", **encoder}]}
    put(conf, "base", parameters={"data": DATA, "text": text})
    found = loader(conf)["parameters"]["text"]
    holder = found if place == "group" else found["fields"][0]
    assert holder["encoder"] == str(tmp_path / "models" / "minilm")


def test_scratch_and_hub_ids_and_whole_paths_stay(conf, tmp_path):
    (tmp_path / "scratch").mkdir()
    encoder_folder(tmp_path / "away")
    whole = str(tmp_path / "away")
    for encoder in ("scratch", "org/model", whole):
        put(conf, "base", parameters={"data": DATA, "text": {"encoder": encoder}})
        assert loader(conf)["parameters"]["text"]["encoder"] == encoder


@pytest.mark.parametrize("encoder", ["./minilm", "../minilm", "minilm"])
@pytest.mark.parametrize("place", ["group", "field"])
def test_a_relative_encoder_folder_that_is_only_elsewhere_is_refused(
    conf, tmp_path, monkeypatch, encoder, place
):
    """It would mean another folder, or none, for the next run from another place."""
    for name in ("elsewhere/minilm", "elsewhere/deeper"):
        (tmp_path / name).mkdir(parents=True)
    here = "elsewhere/deeper" if encoder.startswith("..") else "elsewhere"
    monkeypatch.chdir(tmp_path / here)
    text = {"encoder": encoder}
    text = text if place == "group" else {"fields": [{"name": "t", **text}]}
    put(conf, "base", parameters={"data": DATA, "text": text})
    with pytest.raises(ConfigError, match="relative folder, but") as caught:
        loader(conf)["parameters"]
    assert repr(encoder) in str(caught.value)
    assert str(tmp_path / encoder) in str(caught.value)


def test_no_text_group_is_no_fault(conf):
    assert "text" not in loader(conf)["parameters"]


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("USE_PRECOMPUTED_IMPUTATION", "precomputed_imputation"),
        ("USE_PRECOMPUTED_RISK_TABLES", "precomputed_risk_tables"),
    ],
)
@pytest.mark.parametrize("value", ["true", "false"])
def test_a_variable_of_the_process_sets_a_parameter(
    conf, monkeypatch, variable, name, value
):
    put(
        conf,
        "base",
        catalog={**CATALOG, "own": {"used": f"${{parameter:tabular.{name}}}"}},
        parameters={"data": DATA, "tabular": {"seed": 3}},
    )
    assert loader(conf)["parameters"]["tabular"] == {"seed": 3}
    assert loader(conf)["catalog"]["own"] == {"used": None}
    monkeypatch.setenv(variable, value)
    wanted = value == "true"
    # It wins over files and over --params, and the catalog sees it as well.
    found = loader(conf, tabular={name: not wanted})
    assert found["parameters"]["tabular"] == {"seed": 3, name: wanted}
    assert found["catalog"]["own"] == {"used": wanted}
    put(conf, "base", parameters={"data": DATA})
    assert loader(conf)["parameters"]["tabular"] == {name: wanted}


@pytest.mark.parametrize("value", ["", "True", "1", "yes", "false "])
def test_a_variable_that_is_neither_true_nor_false_is_refused(conf, monkeypatch, value):
    monkeypatch.setenv("USE_PRECOMPUTED_IMPUTATION", value)
    monkeypatch.setenv("USE_PRECOMPUTED_RISK_TABLES", "maybe")
    with pytest.raises(ConfigError, match="must be 'true' or 'false'") as caught:
        loader(conf)["parameters"]
    assert f"USE_PRECOMPUTED_IMPUTATION is {value!r}" in str(caught.value)
    assert "USE_PRECOMPUTED_RISK_TABLES is 'maybe'" in str(caught.value)


def test_a_group_that_is_no_group_is_named_in_spite_of_a_variable(conf, monkeypatch):
    monkeypatch.setenv("USE_PRECOMPUTED_IMPUTATION", "true")
    put(conf, "base", parameters={"data": DATA, "tabular": "mean"})
    with pytest.raises(ConfigError, match="tabular: must hold keys and values"):
        loader(conf)["parameters"]


def test_a_variable_that_leaves_a_parameter_without_effect_is_refused(
    conf, monkeypatch
):
    monkeypatch.setenv("USE_PRECOMPUTED_RISK_TABLES", "true")
    put(conf, "base", parameters={"data": DATA, "tabular": {"group": "seller"}})
    with pytest.raises(ConfigError, match="group 'seller' has no effect"):
        loader(conf)["parameters"]


def test_a_run_names_folders_for_layers(conf):
    params = {"layers": {"06_models": "/elsewhere"}}
    for env in (None, "mine"):
        found = loader(conf, env, **params)["catalog"]["model"]["path"]
        assert found == "/elsewhere/model"
    params = {"layers": {"08_reporting": "/elsewhere"}}
    assert loader(conf, **params)["catalog"]["model"]["path"] == "data/06_models/model"


@pytest.mark.parametrize("wrong", [{"06_model": "x"}, "x", None])
def test_a_layer_that_does_not_exist_is_refused(conf, wrong):
    with pytest.raises(ConfigError, match="layers must hold a folder"):
        loader(conf, layers=wrong)


def test_an_address_in_a_file_of_the_configuration_is_refused(conf):
    """data_dir of globals.yml, or a path of an entry of ours."""
    entry = {"type": "tabweave.datasets.files.JsonDataset"}
    catalog = {
        "raw": {**entry, "path": "${globals:data_dir}/x"},
        "model": {**entry, "path": "${layer:06_models}/model"},
        "theirs": {"type": "json.JSONDataset", "path": "s3://bucket/x"},
    }
    put(conf, "other", catalog=catalog, globals={"data_dir": "gs://bucket"})
    with pytest.raises(ConfigError) as caught:
        loader(conf, "other")["catalog"]
    _, *lines = str(caught.value).splitlines()
    (line,) = lines
    assert line.startswith("  - path of raw in the catalog: 'gs://bucket/x' is an addr")


def test_a_configuration_elsewhere_is_refused():
    with pytest.raises(ConfigError, match="--conf-source: 's3://bucket/conf' is an ad"):
        loader("s3://bucket/conf")


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["config.json", "pytorch_model.bin"], "a pickle, which is not read"),
        (["config.json", "pytorch_model-00001-of-00002.bin"], "a pickle, which"),
        (["adapter_config.json", "adapter_model.safetensors"], "it holds adapters"),
        (["config.json", "tokenizer.json"], "there are no weights"),
        (["model.safetensors"], "there is no config.json"),
    ],
)
@pytest.mark.parametrize("place", ["group", "field"])
def test_an_encoder_folder_that_cannot_be_trained_is_refused_at_once(
    conf, tmp_path, names, fault, place
):
    text = {"encoder": str(encoder_folder(tmp_path / "away", *names))}
    text = text if place == "group" else {"fields": [{"name": "t", **text}]}
    put(conf, "base", parameters={"data": DATA, "text": text})
    with pytest.raises(ConfigError, match="encoders cannot be used") as caught:
        loader(conf)["parameters"]
    assert fault in str(caught.value)
    # Where another encoder is trained, the folder gives the tokenizer alone.
    cnn = {"model": {"model_class": "multimodal_cnn"}}
    put(conf, "base", parameters={"data": DATA, "text": text, **cnn})
    assert loader(conf)["parameters"]["model"] == cnn["model"]


def test_a_pointer_of_git_lfs_is_not_the_weights(conf, tmp_path):
    folder = encoder_folder(tmp_path / "away")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec")
    put(conf, "base", parameters={"data": DATA, "text": {"encoder": str(folder)}})
    with pytest.raises(
        ConfigError, match=r"model\.safetensors is a pointer of Git LFS"
    ):
        loader(conf)["parameters"]


@pytest.mark.parametrize("content", ["a: [", "- 1", "a: &a [*a]", "data: \xff"])
@pytest.mark.parametrize("name", ["parameters", "catalog", "globals"])
def test_a_file_that_is_no_configuration_is_named(conf, name, content):
    path = conf / "base" / f"{name}.yml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match="The configuration cannot be read") as caught:
        loader(conf)
    assert str(path) in str(caught.value)


def test_a_fault_of_a_parameter_is_said_as_it_is_where_the_catalog_asks(conf):
    """Without the words of the interpolation that needed the parameter."""
    wrong = {"data": {**DATA, "labl": "y"}}
    put(conf, "base", catalog=CATALOG, parameters=wrong)
    with pytest.raises(ConfigError, match=r"^The parameters are not valid:\n  - data"):
        loader(conf)["catalog"]
