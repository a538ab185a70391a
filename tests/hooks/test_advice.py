import shlex

import pytest

from tabweave.configuration.overrides import parse_overrides
from tabweave.errors import ArtifactError, ConfigError
from tabweave.hooks.advice import AdviceHooks, rerun_command, started_by


@pytest.mark.parametrize(
    ("run_params", "command"),
    [
        ({}, "kedro run --pipelines=text,train"),
        ({"env": "mine"}, "kedro run --env=mine --pipelines=text,train"),
        (
            {"env": None, "runtime_params": {"text": {"max_sen_len": 64}}},
            "kedro run --pipelines=text,train --params=text.max_sen_len=64",
        ),
        (
            {"runtime_params": {"data_dir": "my files", "data": {"text": ["a"]}}},
            "kedro run --pipelines=text,train '--params=data_dir=my files,data.text=[a]'",
        ),
    ],
)
def test_the_command_has_the_environment_and_the_parameters_of_the_run(
    run_params, command
):
    assert rerun_command(("text", "train"), run_params) == command


def test_the_command_is_of_the_program_and_the_configuration_of_the_run():
    with started_by("tabweave", "my conf.tar.gz"):
        assert rerun_command(("text",), {"env": "mine"}) == (
            "tabweave run --conf-source='my conf.tar.gz' --env=mine --pipelines=text"
        )
        with started_by("kedro", None):
            assert rerun_command(("text",), {}) == "kedro run --pipelines=text"
    assert rerun_command(("text",), {}) == "kedro run --pipelines=text"


def test_a_shell_gives_the_parameters_back():
    given = {"data_dir": "it's, a $HOME;", "data": {"group": None, "text": ["a,b"]}}
    words = shlex.split(rerun_command(("load",), {"runtime_params": given}))
    assert parse_overrides(words[-1].removeprefix("--params=")) == given


def told(error, **run_params):
    AdviceHooks().on_pipeline_error(error, run_params)
    return str(error)


def test_an_error_with_stages_tells_the_whole_command():
    error = ArtifactError(
        "x is damaged.", stages=("export",), params="export.int8=true"
    )
    assert str(error) == (
        "x is damaged. Re-run the stage export with --params=export.int8=true."
    )
    assert told(error, env="mine", runtime_params={"training": {"lr": 1e-3}}) == (
        "x is damaged.\nRe-run: kedro run --env=mine --pipelines=export "
        "--params=training.lr=0.001,export.int8=true"
    )


def test_the_error_of_ours_behind_another_one_is_told():
    ours, outer = ArtifactError("x.", stages=("load", "text")), RuntimeError("y")
    outer.__cause__ = ours
    told(outer, env="mine")
    assert str(ours).endswith("Re-run: kedro run --env=mine --pipelines=load,text")


def test_a_container_has_no_command_for_a_stage():
    error = ArtifactError("x.", stages=("export",))
    assert told(error, env="container") == "x. Run again: every stage is made anew."


@pytest.mark.parametrize("error", [ConfigError("x."), ValueError("x.")])
def test_an_error_without_stages_stays_as_it_is(error):
    assert told(error, env="mine") == "x."
