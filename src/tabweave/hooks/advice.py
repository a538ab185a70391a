"""The command that mends an error: with the environment and the parameters of the run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kedro.framework.hooks import hook_impl

from tabweave.configuration.overrides import format_overrides
from tabweave.errors import own_error

CONTAINER = "container"
"""Environment of a run from hyperparameters.json, whose stages have no command."""


@dataclass
class _Start:
    """How the run of this process was started; one from Python is shown as `kedro run`."""

    program: str = "kedro"
    conf_source: str | None = None


_start = _Start()


@contextmanager
def started_by(program: str, conf_source: str | None) -> Iterator[None]:
    """Lets the commands that are told inside be of one program and configuration.

    Args:
        program: ``kedro`` or ``tabweave``, as it was typed.
        conf_source: Value of the option ``--conf-source``, if it was given.
    """
    before = vars(_start).copy()
    vars(_start).update(program=program, conf_source=conf_source)
    try:
        yield
    finally:
        vars(_start).update(before)


def rerun_command(
    stages: Sequence[str], run_params: Mapping[str, Any], params: str = ""
) -> str:
    """The command that runs stages in the environment and parameters of a run.

    Args:
        stages: Names of the stages, in their order.
        run_params: ``env`` and ``runtime_params`` of the run, as Kedro's hooks get them.
        params: Parameters beside those, as ``--params`` takes them.
    """
    env, given = run_params.get("env"), run_params.get("runtime_params") or {}
    every = ",".join(part for part in (format_overrides(given), params) if part)
    source = _start.conf_source
    words = [f"{_start.program} run"]
    words += [f"--conf-source={shlex.quote(source)}"] if source else []
    words += [f"--env={shlex.quote(env)}"] if env else []
    words += [f"--pipelines={','.join(stages)}"]
    words += [shlex.quote(f"--params={every}")] if every else []
    return " ".join(words)


class AdviceHooks:
    """Puts the whole command into an error that says which stages to run again."""

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any]) -> None:
        """Sets the advice of the error; the error itself goes its way."""
        ours = own_error(error)
        if ours is None or not ours.stages:
            return
        if run_params.get("env") == CONTAINER:
            ours.advice = " Run again: every stage is made anew."
        else:
            command = rerun_command(ours.stages, run_params, ours.params)
            ours.advice = f"\nRe-run: {command}"
