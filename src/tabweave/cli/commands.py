"""The commands: `kedro run` with errors that fit one screen, `tabweave init`, and more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import configure_project
from kedro.framework.startup import bootstrap_project
from kedro.utils import find_kedro_project
from omegaconf import OmegaConf

import tabweave
from tabweave.cli.kedro_errors import KedroCommand
from tabweave.cli.options import (
    READERS,
    check_runner,
    check_tags,
    read_endpoint,
    read_params,
)
from tabweave.cli.score import LocalPath, score
from tabweave.errors import ConfigError
from tabweave.hooks import PROGRESS, rerun_command, started_by
from tabweave.hooks.lineage_view import keep_to_this_machine
from tabweave.running.signals import interruptible, run_again
from tabweave.storage.processes import typed_command, typed_program
from tabweave.training.config import MOST_MACHINES, MOST_PROCESSES


@click.group(name="tabweave")
def cli() -> None:
    """Train, evaluate and export classifiers for rows that combine text with a table."""


def _log_as_the_project() -> None:
    """Kedro looks for conf/logging.yml in the current folder, which may be a sub-folder."""
    root = find_kedro_project(Path.cwd())
    if root is None or Path(root) == Path.cwd() or "KEDRO_LOGGING_CONFIG" in os.environ:
        return
    if (Path(root) / "conf" / "logging.yml").exists():
        from tabweave.sagemaker.container import configure_logging

        configure_logging(Path(root) / "conf")


def _check_configuration(source: str | None) -> None:
    """Outside a project nothing says where the configuration is but the option.

    Raises:
        ConfigError: There is none.
    """
    here = Path.cwd()
    if source is None and not (find_kedro_project(here) or (here / "conf").is_dir()):
        raise ConfigError(
            f"There is no configuration: {here} is not inside a tabweave project and has "
            "no folder conf, so change into the project's folder, or name a folder or the "
            "archive that `kedro package` writes with --conf-source."
        )


def _with_own_callback(param: click.Parameter) -> click.Parameter:
    """An option of `kedro run`, read by our own reader where there is one."""
    reader = READERS.get(param.name or "")
    if reader is None:
        return param
    ours = copy(param)
    ours.callback = reader
    return ours


def _run(**options: Any) -> dict[str, Any]:
    # The old spelling stays welcome and gives no warning.
    if options["pipeline"] and not options["pipelines"]:
        options["pipelines"], options["pipeline"] = [options["pipeline"]], None
    # A function of Python's that starts a run was not typed as a command.
    typed = click.get_current_context(silent=True) is not None
    program = typed_program() if typed else "kedro"
    source = options.get("conf_source")
    with started_by(program, source), interruptible(partial(_go_on, options)):
        check_runner(options["runner"], options["runner_params"])
        _check_configuration(source)
        _log_as_the_project()
        if options.get("tags"):
            check_tags(options["tags"])
        result: dict[str, Any] = kedro_run.callback(**options)  # type: ignore[misc]
    return result


def _go_on(options: Mapping[str, Any]) -> str:
    """How a run that was ended by a signal goes on: with the stages that are left."""
    resume = {"training": {"resume": "auto"}} if PROGRESS.training else {}
    chosen = {name for name, value in options.items() if value}
    if chosen <= {"env", "params", "pipelines", "conf_source"}:
        params = OmegaConf.merge(options["params"] or {}, resume)
        given = {
            "env": options["env"],
            "runtime_params": OmegaConf.to_container(params),
        }
        again = (
            rerun_command(PROGRESS.left, given) if PROGRESS.left else typed_command()
        )
        return f"Nothing is half-written. Run again: {again}"
    hint = "With training.resume=auto in --params, training goes on from last.ckpt. "
    return f"{hint if resume else ''}{run_again()}"


cli.add_command(
    KedroCommand(
        "run",
        params=[_with_own_callback(param) for param in kedro_run.params],
        callback=_run,
        help=kedro_run.help,
    )
)

cli.add_command(score)

# `kedro viz` loads kedro-viz between the settings and this module; its server, a process
# of its own, loads the settings last.
keep_to_this_machine()


@cli.command(cls=KedroCommand)
@click.option(
    "--data", "data_dir", required=True, type=LocalPath(), help="Folder of your files."
)
@click.option("--label", required=True, help="Column to predict.")
@click.option("--text", required=True, multiple=True, help="Text column; repeatable.")
@click.option("--id", "id_column", help="Column that names a row; found if left out.")
@click.option(
    "--quoting",
    type=click.Choice(["standard", "none"]),
    help="Whether cells of a CSV or TSV may be in quotes; found out if left out.",
)
@click.option("--name", help="Name of the environment; by default that of the folder.")
def init(
    data_dir: str,
    label: str,
    text: tuple[str, ...],
    id_column: str | None,
    quoting: Literal["standard", "none"] | None,
    name: str | None,
) -> None:
    """Write a commented conf/<name>/ for your own train, val and test files."""
    from tabweave.project_setup import infer_roles, write_environment

    root = project_root()
    folder = Path(data_dir)
    name = name or folder.resolve().name
    roles = infer_roles(
        folder, label=label, text=text, id_column=id_column, quoting=quoting
    )
    # The project root is where relative folders count from.
    given = data_dir if (root / data_dir).is_dir() else str(folder.resolve())
    written = write_environment(root / "conf", name, given, roles)
    for path in written:
        click.echo(f"wrote {path.relative_to(root)}")
    click.echo(f"Read it, then run: kedro run --env={name}")


@cli.command(cls=KedroCommand)
@click.option(
    "--hyperparameters",
    required=True,
    type=LocalPath(),
    help="File hyperparameters.json.",
)
@click.option(
    "--data", required=True, type=LocalPath(), help="Folder of train, val and test."
)
@click.option(
    "--model-dir", required=True, type=LocalPath(), help="Folder for the model."
)
@click.option(
    "--output-dir",
    required=True,
    type=LocalPath(),
    help="Folder for predictions and reports.",
)
@click.option(
    "--checkpoint-dir", required=True, type=LocalPath(), help="Folder for checkpoints."
)
@click.option(
    "--artifacts",
    type=LocalPath(),
    help="Folder of impute_dict and risk_table_map to take.",
)
@click.option("--params", callback=read_params, help="Win over the hyperparameters.")
def train(
    hyperparameters: str,
    data: str,
    model_dir: str,
    output_dir: str,
    checkpoint_dir: str,
    artifacts: str | None,
    params: dict[str, Any],
) -> None:
    """Train from hyperparameters.json as a container does, load to export."""
    from tabweave.sagemaker import container

    inputs = {"input_path": data, "hyperparameters_s3_uri": hyperparameters}
    if artifacts is not None:
        inputs["model_artifacts_input"] = artifacts
    outputs = {
        "model_output": model_dir,
        "evaluation_output": output_dir,
        "checkpoints": checkpoint_dir,
    }
    with interruptible(container.go_on):
        container.train(inputs, outputs, os.environ, params)


@cli.command(cls=KedroCommand)
@click.option(
    "--rendezvous",
    required=True,
    callback=read_endpoint,
    help="HOST:PORT of the machine that runs.",
)
@click.option(
    "--node",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of this machine.",
)
@click.option(
    "--num-nodes",
    type=click.IntRange(2, MOST_MACHINES),
    default=2,
    show_default=True,
    help="Machines in all.",
)
@click.option(
    "--devices",
    type=click.IntRange(1, MOST_PROCESSES),
    help="Processes here; by default one per GPU.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, MOST_PROCESSES),
    help="Compute threads of each process.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.IntRange(1, 10**6),
    default=300,
    show_default=True,
    help="Seconds to wait.",
)
@click.option(
    "--logs",
    default="rank_logs",
    type=LocalPath(),
    show_default=True,
    help="Folder of logs.",
)
def join(
    rendezvous: str,
    node: int,
    num_nodes: int,
    devices: int | None,
    threads: int | None,
    timeout_s: int,
    logs: str,
) -> None:
    """Train along with `kedro run` on another machine, which writes all artifacts.

    The other machine has training.num_nodes and training.rendezvous set alike. Both see
    the project's files under the same paths.
    """
    if node >= num_nodes:
        raise click.UsageError(
            f"--node is {node}, but of {num_nodes} machines the last one has the number "
            f"{num_nodes - 1}; the one that runs has 0. See --num-nodes."
        )
    from tabweave.training.processes.launch import Ranks, launch, local_devices

    ranks = Ranks(
        devices=devices or local_devices(),
        nodes=num_nodes,
        node=node,
        rendezvous=rendezvous,
        timeout_s=timeout_s,
        threads=threads,
    )
    launch(None, ranks, Path(logs).resolve())


def project_root() -> Path:
    """The root of the Kedro project around the current folder.

    Raises:
        click.ClickException: There is none.
    """
    root = find_kedro_project(Path.cwd())
    if root is None:
        raise click.ClickException(
            "This is not inside a tabweave project: no pyproject.toml with [tool.kedro] "
            "in this folder or above. Change into the project's folder."
        )
    return Path(root)


def main() -> None:
    """Entry point of the `tabweave` command."""
    root = find_kedro_project(Path.cwd())
    if root is not None:
        bootstrap_project(Path(root))
    else:  # an installed package, whose configuration --conf-source names
        configure_project(tabweave.__name__)
    cli()
