import sys
from importlib.machinery import ModuleSpec

import click
import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines

from tabweave.cli.commands import _run, cli, project_root
from tabweave.hooks import rerun_command


@pytest.fixture(autouse=True, scope="module")
def _registry():
    pipelines.configure("tabweave.pipeline_registry")


def test_run_has_the_options_of_kedro_s_own():
    ours = cli.commands["run"]
    assert [p.name for p in ours.params] == [p.name for p in kedro_run.params]
    assert ours.help == kedro_run.help


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ({"pipeline": "train", "pipelines": []}, (None, ["train"])),
        ({"pipeline": None, "pipelines": ["text", "train"]}, (None, ["text", "train"])),
        ({"pipeline": None, "pipelines": []}, (None, [])),
    ],
)
def test_the_older_spelling_is_the_newer_one(monkeypatch, given, passed):
    seen = {}
    monkeypatch.setattr(kedro_run, "callback", lambda **options: seen.update(options))
    _run(**given, runner=None, runner_params={})
    assert (seen["pipeline"], list(seen["pipelines"])) == passed


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that Kedro takes for a project."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.kedro]\npackage_name = "tabweave"\nproject_name = "t"\n'
        'kedro_init_version = "1.0"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("program", "started", "module"),
    [
        ("kedro", "/a/bin/kedro", None),
        ("tabweave", "/a/bin/tabweave", None),
        ("python -m tabweave", "/a/tabweave/__main__.py", "tabweave.__main__"),
        # Kedro puts another name into sys.argv.
        ("python -m kedro", "python -m kedro", "kedro.__main__"),
    ],
)
def test_what_is_to_be_typed_again_is_as_it_was_typed(
    project, monkeypatch, program, started, module
):
    spec = module and ModuleSpec(module, None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    monkeypatch.setattr(sys, "argv", [started, "run"])
    told = []
    monkeypatch.setattr(
        kedro_run, "callback", lambda **_: told.append(rerun_command(("text",), {}))
    )
    for given in ([], ["--conf-source=conf"]):
        done = CliRunner().invoke(cli, ["run", *given])
        assert done.exit_code == 0, done.output
    assert told == [
        f"{program} run --pipelines=text",
        f"{program} run --conf-source={project}/conf --pipelines=text",
    ]


def user_files(folder):
    folder.mkdir(parents=True)
    for split, rows in (("train", 60), ("val", 20), ("test", 20)):
        lines = ["id,note,total,bad"]
        lines += [f"{split}{i},some words {i} here,{i}.5,{i % 2}" for i in range(rows)]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def init(*options):
    return CliRunner().invoke(cli, ["init", *options])


def test_init_names_the_environment_after_the_folder(project):
    user_files(project / "data" / "notes")
    done = init("--data=data/notes", "--label=bad", "--text=note")
    assert done.exit_code == 0, done.output
    assert "wrote conf/notes/parameters.yml" in done.output
    assert "kedro run --env=notes" in done.output
    settings = yaml.safe_load((project / "conf/notes/globals.yml").read_text())
    assert settings == {"data_dir": "data/notes"}


def test_init_from_a_folder_inside_the_project(project, monkeypatch):
    """A relative folder counts from where one stands; it is written for the project."""
    user_files(project / "sub" / "notes")
    monkeypatch.chdir(project / "sub")
    done = init("--data=notes", "--label=bad", "--text=note", "--name=mine")
    assert done.exit_code == 0, done.output
    settings = yaml.safe_load((project / "conf/mine/globals.yml").read_text())
    assert settings["data_dir"] == str(project / "sub" / "notes")


def test_init_with_a_column_that_is_not_there(project):
    user_files(project / "notes")
    done = init("--data=notes", "--label=baad", "--text=note")
    assert done.exit_code == 1
    assert "'bad'" in done.output
    assert not (project / "conf" / "notes").exists()


def test_init_needs_its_options(project):
    done = init("--data=notes")
    assert done.exit_code == 2
    assert "--label" in done.output


def test_train_needs_no_params(tmp_path, monkeypatch):
    """In the form that docs/specification.md shows; `run` has the option's default."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.json").write_text('{"model_class": "bert"}')
    shown = "train --hyperparameters h.json --data d --model-dir m --output-dir o"
    done = CliRunner().invoke(cli, f"{shown} --checkpoint-dir c".split())
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit), done.exception
    assert "id_name is missing" in done.output


def test_outside_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.ClickException, match="not inside a tabweave project"):
        project_root()


TRAIN = {
    "--hyperparameters": "h.json",
    "--data": "d",
    "--model-dir": "m",
    "--output-dir": "o",
    "--checkpoint-dir": "c",
    "--artifacts": "a",
}


@pytest.mark.parametrize("option", TRAIN)
def test_train_refuses_an_address_before_anything_is_written(project, option):
    before = sorted(project.rglob("*"))
    given = TRAIN | {option: "s3://bucket/x"}
    done = CliRunner().invoke(cli, ["train", *(f"{k}={v}" for k, v in given.items())])
    assert done.exit_code == 2
    assert f"Invalid value for '{option}': 's3://bucket/x' is an address" in done.stderr
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize(
    "given",
    [
        ["init", "--data=gs://bucket/x", "--label=a", "--text=b"],
        ["join", "--rendezvous=localhost:1", "--logs=gs://bucket/x"],
    ],
)
def test_other_commands_refuse_an_address(project, given):
    before = sorted(project.rglob("*"))
    done = CliRunner().invoke(cli, given)
    assert done.exit_code == 2
    assert "'gs://bucket/x' is an address" in done.stderr
    assert sorted(project.rglob("*")) == before


def test_run_without_any_configuration_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["run"])
    assert done.exit_code == 1
    assert f"{tmp_path} is not inside a tabweave project" in done.output
    assert "--conf-source" in done.output
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    "option", ["--pipelines=", "--nodes=", "--tags= ,", "--from-nodes=", "--env="]
)
def test_an_empty_selection_is_not_everything(project, option):
    done = CliRunner().invoke(cli, ["run", option])
    assert done.exit_code == 2
    assert f"{option.partition('=')[0]} is empty, which names nothing" in done.stderr


def test_a_misspelt_tag_beside_a_right_one_is_refused(project):
    done = CliRunner().invoke(cli, ["run", "--tags=tabular,tabluar"])
    assert done.exit_code == 1
    assert "no node has the tag 'tabluar'. Did you mean 'tabular'?" in done.stderr
