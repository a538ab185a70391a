"""What the options of the commands hold, read with errors that say what to write."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines
from kedro.utils import load_obj
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tabweave.configuration.overrides import parse_overrides
from tabweave.configuration.yaml_text import yaml_fault
from tabweave.errors import ConfigError, Problems, did_you_mean, shorten, some_of
from tabweave.training.config import endpoint

RUNNERS = ("SequentialRunner", "ThreadRunner", "ParallelRunner")


def read_params(
    ctx: click.Context, param: click.Parameter, value: str | dict[str, Any] | None
) -> dict[str, Any]:
    """The nested parameters of ``--params``; a file of ``--config`` gives them nested."""
    if isinstance(value, dict):
        return value
    try:
        return parse_overrides(value or "")
    except ConfigError as error:
        said = str(error).replace("--params", param.opts[0], 1)
        raise click.UsageError(said, ctx) from error


def read_endpoint(_: click.Context, __: click.Parameter, value: str) -> str:
    """HOST:PORT where machines meet."""
    try:
        return endpoint(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def read_config_file(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> str | None:
    """Takes the options of a file of ``--config``; those on the command line win.

    Raises:
        ConfigError: The file cannot be read, or holds what is no option of the command.
    """
    if value:
        options = _options_in(Path(value), ctx.info_name or "run")
        ctx.default_map = {**(ctx.default_map or {}), **options}
    return value


def _options_in(path: Path, section: str) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"--config {path} is no file.")
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path} cannot be read: {error}.") from error
    fault = yaml_fault(text, mapping=True)
    if fault:
        raise ConfigError(f"--config {path}: {fault}")
    try:
        content: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError(f"--config {path} cannot be read: {error}") from error
    options = content.get(section) if isinstance(content, dict) else None
    if not isinstance(options, dict):
        raise ConfigError(
            f"--config {path} must hold the options under the key {section!r}, for "
            f"example:\n{section}:\n  env: local\n  pipelines: text,train"
        )
    known = [str(p.name) for p in kedro_run.params if p.name != "config"]
    problems = Problems(f"--config {path} is not valid")
    for name, given in options.items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            problems.add(
                f"{shorten(name)} is no option.{hint} Options: {', '.join(known)}."
            )
        elif isinstance(given, list) or (
            isinstance(given, dict) and name not in ("params", "runner_params")
        ):
            problems.add(
                f"{name} must be text as on the command line, several names with commas "
                f"between, but is {shorten(given)}."
            )
    problems.raise_as(ConfigError)
    return {
        name: given if isinstance(given, bool | dict | None) else str(given)
        for name, given in options.items()
    }


READERS: Mapping[str, Callable[..., Any]] = {
    "config": read_config_file,
    "params": read_params,
    "runner_params": read_params,
}


def check_runner(name: str | None, params: Mapping[str, Any]) -> None:
    """Refuses a runner that is not there, or that does not take its parameters.

    Raises:
        ConfigError: Names the runners that Kedro has, or the parameters of this one.
    """
    name = name or RUNNERS[0]
    try:
        runner = load_obj(name, "kedro.runner")
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"--runner {shorten(name)} cannot be found: {error}."
            f"{did_you_mean(name, RUNNERS)} Runners: {', '.join(RUNNERS)}, or the whole "
            "name of a class of yours."
        ) from error
    if not isinstance(runner, type):
        raise ConfigError(f"--runner {shorten(name)} is no class of a runner.")
    allowed = [p for p in inspect.signature(runner).parameters if p != "self"]
    stray = [key for key in params if key not in allowed]
    if stray:
        raise ConfigError(
            f"--runner-params names {some_of(stray)}, but {name} takes "
            f"{', '.join(allowed) or 'none'}."
        )
    workers = params.get("max_workers")
    if workers is not None and not (type(workers) is int and 1 <= workers <= 1024):
        raise ConfigError(
            f"--runner-params: max_workers is {shorten(workers)}, but must be a whole "
            "number from 1 to 1024."
        )


def check_tags(tags: Iterable[str]) -> None:
    """Refuses a tag that no node has: Kedro would run the others without a word.

    Raises:
        ConfigError: Names each of them, and the tags there are.
    """
    known = sorted({tag for p in pipelines.values() for n in p.nodes for tag in n.tags})
    problems = Problems("--tags cannot be used")
    for tag in tags:
        if tag not in known:
            problems.add(
                f"no node has the tag {shorten(tag)}.{did_you_mean(tag, known)}"
            )
    if problems:
        raise ConfigError(f"{problems}\nTags: {', '.join(known)}.")
