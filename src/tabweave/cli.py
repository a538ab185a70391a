"""The commands: `kedro run` with errors that fit one screen, `tabweave init`, and more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.startup import bootstrap_project
from kedro.io.core import DatasetError
from kedro.utils import find_kedro_project
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tabweave.errors import own_error
from tabweave.hooks import PROGRESS, command
from tabweave.score_command import score
from tabweave.signals import interruptible, run_again, typed

EXTRAS = {
    "train": (
        "torch",
        "lightning",
        "transformers",
        "torchmetrics",
        "safetensors",
        "onnx",
    ),
    "viz": ("kedro_viz",),
    "lora": ("peft",),
}


@click.group(name="tabweave")
def cli() -> None:
    """Train, judge and ship classifiers on rows that hold text and a table together."""


def _one_screen(error: Exception) -> str | None:
    """The message for an error that a user can mend; None for one that is ours."""
    ours = own_error(error)
    if ours is not None:
        return str(ours)
    if isinstance(error, OmegaConfBaseException | YAMLError):
        return f"The configuration cannot be read: {error}"
    if isinstance(error, ModuleNotFoundError):
        return _missing_extra(error)
    if isinstance(error, DatasetError):
        return str(error)
    if isinstance(error, ValueError):
        return _unknown_name(str(error))
    return None


def _unknown_name(message: str) -> str | None:
    """What may be named, when Kedro says that a pipeline, node or dataset is not there."""
    from kedro.framework.project import pipelines

    if message.startswith("Failed to find the pipeline"):
        known = ", ".join(name for name in pipelines if name != "__default__")
        return f"{message}\nPipelines: {known}; without --pipelines all stages run."
    if message.startswith("Pipeline does not contain nodes named"):
        names = sorted(node.name for node in pipelines["__default__"].nodes)
        return f"{message}\nNodes: {', '.join(names)}."
    return message if message.startswith("Pipeline does not contain") else None


def _missing_extra(error: ModuleNotFoundError) -> str | None:
    for extra, modules in EXTRAS.items():
        if (error.name or "").split(".")[0] in modules:
            return (
                f"{error.name} is not installed. This stage needs the extra "
                f"'{extra}': pip install 'tabweave[{extra}]'"
            )
    return None


@contextmanager
def one_screen_errors() -> Iterator[None]:
    """Turns an error that a user can mend into one screen and exit code 1.

    Any other error keeps its traceback: it is ours to mend.
    """
    try:
        yield
    except click.ClickException:
        raise
    except Exception as error:
        message = _one_screen(error)
        if message is None:
            raise
        raise click.ClickException(message) from error


def _log_as_the_project() -> None:
    """Kedro looks for conf/logging.yml in the current folder, which may be a sub-folder."""
    root = find_kedro_project(Path.cwd())
    if root is None or Path(root) == Path.cwd() or "KEDRO_LOGGING_CONFIG" in os.environ:
        return
    if (Path(root) / "conf" / "logging.yml").exists():
        from tabweave.container import configure_logging

        configure_logging(Path(root) / "conf")


def _run(**options: Any) -> dict[str, Any]:
    # The old spelling stays welcome and gives no warning.
    if options["pipeline"] and not options["pipelines"]:
        options["pipelines"], options["pipeline"] = [options["pipeline"]], None
    with one_screen_errors(), interruptible(partial(_go_on, options)):
        _log_as_the_project()
        result: dict[str, Any] = kedro_run.callback(**options)  # type: ignore[misc]
    return result


def _go_on(options: Mapping[str, Any]) -> str:
    """How a run that was ended by a signal goes on: with the stages that are left."""
    resume = {"training": {"resume": "auto"}} if PROGRESS.training else {}
    chosen = {name for name, value in options.items() if value}
    if chosen <= {"env", "params", "pipelines"}:
        params = OmegaConf.merge(options["params"] or {}, resume)
        given = {
            "env": options["env"],
            "runtime_params": OmegaConf.to_container(params),
        }
        again = command(PROGRESS.left, given) if PROGRESS.left else typed()
        return f"Nothing is half-written. Run again: {again}"
    hint = "With training.resume=auto in --params, training goes on from last.ckpt. "
    return f"{hint if resume else ''}{run_again()}"


cli.add_command(
    click.Command("run", params=kedro_run.params, callback=_run, help=kedro_run.help)
)

cli.add_command(score)


@cli.command()
@click.option("--data", "data_dir", required=True, help="Folder of your files.")
@click.option("--label", required=True, help="Column to predict.")
@click.option("--text", required=True, multiple=True, help="Text column; repeatable.")
@click.option("--id", "id_column", help="Column that names a row; found if left out.")
@click.option("--name", help="Name of the environment; by default that of the folder.")
def init(
    data_dir: str,
    label: str,
    text: tuple[str, ...],
    id_column: str | None,
    name: str | None,
) -> None:
    """Write a commented conf/<name>/ for your own train, val and test files."""
    from tabweave.project_setup import infer_roles, write_environment

    root = project_root()
    folder = Path(data_dir)
    name = name or folder.resolve().name
    with one_screen_errors():
        roles = infer_roles(folder, label=label, text=text, id_column=id_column)
        # The project root is where relative folders count from.
        given = data_dir if (root / data_dir).is_dir() else str(folder.resolve())
        written = write_environment(root / "conf", name, given, roles)
    for path in written:
        click.echo(f"wrote {path.relative_to(root)}")
    click.echo(f"Read it, then run: kedro run --env={name}")


# `--params` is read as `kedro run` reads it.
_kedro_params = next(p.callback for p in kedro_run.params if p.name == "params")


@cli.command()
@click.option("--hyperparameters", required=True, help="File hyperparameters.json.")
@click.option("--data", required=True, help="Folder of train, val and test.")
@click.option("--model-dir", required=True, help="Folder for the model.")
@click.option("--output-dir", required=True, help="Folder for predictions and reports.")
@click.option("--checkpoint-dir", required=True, help="Folder for checkpoints.")
@click.option("--artifacts", help="Folder of impute_dict and risk_table_map to take.")
@click.option("--params", callback=_kedro_params, help="Win over the hyperparameters.")
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
    from tabweave import container

    inputs = {"input_path": data, "hyperparameters_s3_uri": hyperparameters}
    if artifacts is not None:
        inputs["model_artifacts_input"] = artifacts
    outputs = {
        "model_output": model_dir,
        "evaluation_output": output_dir,
        "checkpoints": checkpoint_dir,
    }
    with one_screen_errors(), interruptible(container.go_on):
        container.train(inputs, outputs, os.environ, params)


@cli.command()
@click.option("--rendezvous", required=True, help="HOST:PORT of the machine that runs.")
@click.option("--node", default=1, show_default=True, help="Number of this machine.")
@click.option("--num-nodes", default=2, show_default=True, help="Machines in all.")
@click.option("--devices", type=int, help="Processes here; by default one per GPU.")
@click.option("--threads", type=int, help="Compute threads of each process.")
@click.option(
    "--timeout", "timeout_s", default=300, show_default=True, help="Seconds to wait."
)
@click.option("--logs", default="rank_logs", show_default=True, help="Folder of logs.")
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
    from tabweave.training.launch import Ranks, launch, local_devices

    ranks = Ranks(
        devices=devices or local_devices(),
        nodes=num_nodes,
        node=node,
        rendezvous=rendezvous,
        timeout_s=timeout_s,
        threads=threads,
    )
    with one_screen_errors():
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
    cli()
