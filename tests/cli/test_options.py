import click
import pytest

from tabweave.cli.options import (
    check_runner,
    read_config_file,
    read_endpoint,
    read_params,
)
from tabweave.errors import ConfigError

RUN = click.Context(click.Command("run"), info_name="run")
PARAMS = click.Option(["--runner-params"])


def test_params_are_read_or_refused_by_the_name_of_their_option():
    assert read_params(RUN, PARAMS, None) == {}
    assert read_params(RUN, PARAMS, {"a": 1}) == {"a": 1}
    assert read_params(RUN, PARAMS, "a.b=[1,2]") == {"a": {"b": [1, 2]}}
    with pytest.raises(click.UsageError, match="--runner-params cannot be read"):
        read_params(RUN, PARAMS, "a")


def config_file(tmp_path, content):
    path = tmp_path / "run.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    ctx = click.Context(click.Command("run"), info_name="run")
    read_config_file(ctx, PARAMS, str(path))
    return ctx.default_map


def test_a_file_of_options_gives_what_the_line_would(tmp_path):
    content = "run:\n  env: 2024\n  pipelines: text,train\n  params: {a: {b: 1}}\n"
    assert config_file(tmp_path, content) == {
        "env": "2024",
        "pipelines": "text,train",
        "params": {"a": {"b": 1}},
    }


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"\xff\xfe", "cannot be read"),
        ("- run", "must hold keys and values"),
        ("run: [", "line 1"),
        ("", "must hold the options under the key 'run'"),
        ("walk: {env: x}", "must hold the options under the key 'run'"),
        ("run: text", "must hold the options under the key 'run'"),
        ("run: {evn: x}", "'evn' is no option. Did you mean 'env'?"),
        ("run: {pipelines: [text, train]}", "several names with commas between"),
        ("run: {env: {a: 1}}", "env must be text"),
        ("run: {env: '${nothing}'}", "cannot be read"),
        ("run: {config: x}", "'config' is no option"),
    ],
)
def test_a_file_that_holds_no_options_is_refused(tmp_path, content, part):
    with pytest.raises(ConfigError, match="--config") as caught:
        config_file(tmp_path, content)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "params", "part"),
    [
        ("Nope", {}, "Runners: SequentialRunner, ThreadRunner, ParallelRunner"),
        ("SequentialRuner", {}, "Did you mean 'SequentialRunner'?"),
        ("nope.Nope", {}, "No module named 'nope'"),
        ("", {"a": 1}, "names 'a', but SequentialRunner takes is_async"),
        (".", {}, "cannot be found"),
        ("pathlib", {}, "cannot be found"),
        ("os.sep", {}, "no class of a runner"),
        ("ThreadRunner", {"max_workers": 0}, "whole number from 1 to 1024"),
        ("ThreadRunner", {"max_workers": True}, "whole number from 1 to 1024"),
        ("ThreadRunner", {"max_workers": "x"}, "whole number from 1 to 1024"),
    ],
)
def test_a_runner_that_cannot_run_is_refused(name, params, part):
    with pytest.raises(ConfigError, match="--runner") as caught:
        check_runner(name, params)
    assert part in str(caught.value)


def test_runners_of_kedro_are_found():
    check_runner(None, {})
    check_runner("ThreadRunner", {"max_workers": 2})
    check_runner("kedro.runner.SequentialRunner", {"is_async": False})


@pytest.mark.parametrize(
    "text", ["", "x", "x:", ":1", "x:0", "x:65536", "x:99999", "x:-1", "a b:1", "x:²"]
)
def test_a_place_that_is_no_host_and_port_is_refused(text):
    with pytest.raises(click.BadParameter, match="is not HOST:PORT"):
        read_endpoint(RUN, PARAMS, text)
    assert read_endpoint(RUN, PARAMS, "10.0.0.5:29500") == "10.0.0.5:29500"
