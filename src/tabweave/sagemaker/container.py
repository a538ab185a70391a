"""The specification's entry point: fixed folders in, fixed folders out, one exit code.

``python -m tabweave.sagemaker.container`` reads ``/opt/ml/input`` and writes
``/opt/ml/model``, ``/opt/ml/output/data`` and ``/opt/ml/checkpoints``. All stages run in
one Kedro session; what lies between them is in a temporary folder that goes with the run.
"""

from __future__ import annotations

import argparse
import logging
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

import tabweave
from tabweave.configuration.overrides import parse_overrides
from tabweave.configuration.parameters import check_parameters
from tabweave.errors import (
    ConfigError,
    InUseError,
    Problems,
    SchemaError,
    WriteError,
    did_you_mean,
    shorten,
)
from tabweave.running.run_locks import locked, writing
from tabweave.running.signals import interruptible, run_again
from tabweave.sagemaker.hyperparameters import (
    Hyperparameters,
    from_parameters,
    notes,
    read_hyperparameters,
    to_parameters,
)
from tabweave.schema import SPLITS
from tabweave.storage.artifacts import scratch_folder, write_bytes, write_json
from tabweave.storage.local_paths import check_local_paths
from tabweave.tables.headers import check_header
from tabweave.tables.lookup import find_in_folder, find_split
from tabweave.tables.parted_tables import open_table
from tabweave.text.config import SCRATCH

logger = logging.getLogger(
    "tabweave.sagemaker.container"
)  # its name when run as __main__

INPUTS = {
    "input_path": "/opt/ml/input/data",
    "train": "/opt/ml/input/data/train",
    "val": "/opt/ml/input/data/val",
    "test": "/opt/ml/input/data/test",
    "hyperparameters_s3_uri": "/opt/ml/code/hyperparams/hyperparameters.json",
    "model_artifacts_input": "/opt/ml/input/data/model_artifacts_input",
}
OUTPUTS = {
    "model_output": "/opt/ml/model",
    "evaluation_output": "/opt/ml/output/data",
    "checkpoints": "/opt/ml/checkpoints",
}
OPTIONS = {
    "model_output": "--model-dir",
    "evaluation_output": "--output-dir",
    "checkpoints": "--checkpoint-dir",
}
REQUIRED_INPUTS = ("input_path", "hyperparameters_s3_uri")
HYPERPARAMETERS, FAILURE, ENVIRONMENT = "hyperparameters.json", "failure", "container"


def main(
    input_paths: Mapping[str, str],
    output_paths: Mapping[str, str],
    environ_vars: Mapping[str, str],
    job_args: argparse.Namespace,
) -> None:
    """Trains, evaluates and exports; returns on success.

    Args:
        input_paths: ``input_path`` and ``hyperparameters_s3_uri``; train, val, test and
            model_artifacts_input where they lie elsewhere. All are local paths.
        output_paths: ``model_output``, ``evaluation_output`` and ``checkpoints``.
        environ_vars: ``USE_PRECOMPUTED_IMPUTATION`` and ``USE_PRECOMPUTED_RISK_TABLES``,
            "true" or "false"; other variables are passed over.
        job_args: May hold ``params``, parameters that win over the hyperparameters.

    Raises:
        SystemExit: With code 1, when anything failed; ``evaluation_output/failure`` holds
            the message and the traceback.
    """
    try:
        train(
            input_paths,
            output_paths,
            environ_vars,
            getattr(job_args, "params", None) or {},
        )
    except Exception as error:
        logger.error("%s", _message(error))
        raise SystemExit(1) from error


def train(
    input_paths: Mapping[str, str],
    output_paths: Mapping[str, str],
    environ_vars: Mapping[str, str],
    overrides: Mapping[str, Any],
) -> None:
    """As `main`, but lets the error through after it has written it down.

    Raises:
        ConfigError: A path is not named, or the hyperparameters cannot be used.
        SchemaError: The data is not what the hyperparameters say.
    """
    outputs = _named(output_paths, OUTPUTS, tuple(OUTPUTS), "output_paths")
    with _failure_noted(outputs["evaluation_output"]):
        configure_logging(conf_source())
        inputs = _named(input_paths, INPUTS, REQUIRED_INPUTS, "input_paths")
        hyperparameters = _read_hyperparameters(inputs["hyperparameters_s3_uri"])
        parameters = to_parameters(hyperparameters)
        parameters["data"] |= _file_names(inputs, parameters["data"])
        parameters["tabular"] |= _precomputed(environ_vars, inputs)
        said = from_parameters(parameters)
        parameters = _with_overrides(parameters, overrides)
        used = from_parameters(parameters)
        _check_headers(hyperparameters, parameters["data"], inputs["input_path"])
        folders = _folders(inputs, outputs)
        with scratch_folder() as work:
            _run_stages(work, parameters | folders)
        every = hyperparameters.model_dump(mode="json", exclude_none=True)
        # What was asked for stays as it was written, unless an override changed it; of
        # the rest, some defaults count only when they are written down.
        asked = hyperparameters.model_fields_set
        every |= {k: v for k, v in used.items() if k not in asked or v != said.get(k)}
        write_json(outputs["model_output"] / HYPERPARAMETERS, every)


def _named(
    paths: Mapping[str, str],
    known: Mapping[str, str],
    required: tuple[str, ...],
    where: str,
) -> dict[str, Path]:
    """The paths that are named, made absolute."""
    problems = Problems(f"{where} is not valid")
    for name in paths:
        if name not in known:
            hint = did_you_mean(name, known)
            problems.add(f"{name!r} is unknown.{hint} Known: {', '.join(known)}.")
    found = {name: Path(paths[name]).absolute() for name in known if paths.get(name)}
    for name in required:
        if name not in found:
            problems.add(f"{name!r} is missing; in a container it is {known[name]}.")
    problems.raise_as(ConfigError)
    check_local_paths({name: paths.get(name) for name in known})
    for name, path in found.items() if known is OUTPUTS else ():
        there = next(one for one in (path, *path.parents) if os.path.lexists(one))
        if not there.is_dir():
            problems.add(
                f"{name} ({OPTIONS[name]}) is {str(paths[name])!r}, but {there} is no "
                "folder. Name one, or one that is to be made."
            )
    problems.raise_as(ConfigError)
    return found


@contextmanager
def _failure_noted(folder: Path) -> Iterator[None]:
    """Writes ``failure`` when something goes wrong; an old one goes first.

    Raises:
        InUseError: Another run is at work there; what lies there is left alone.
    """
    path = folder / FAILURE
    with locked([writing(path)]):
        path.unlink(missing_ok=True)
        try:
            yield
        except InUseError:
            raise  # one of the folders belongs to the run that is at work in it
        except Exception as error:
            _write_failure(path, error)
            raise


def _write_failure(path: Path, error: Exception) -> None:
    text = f"{_message(error)}\n\n{traceback.format_exc()}"
    try:
        write_bytes(path, lambda file: file.write(text.encode("utf-8", "replace")))
    except WriteError as full:  # what went wrong first is what the user must know
        logger.error("%s", full)


def _message(error: Exception) -> str:
    from tabweave.errors import own_error

    return str(own_error(error) or f"{type(error).__name__}: {error}")


def conf_source() -> Path:
    """The folder of the configuration: inside the installed package, or the checkout's."""
    package = Path(tabweave.__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def choose_logging() -> None:
    """Lets Kedro, not imported yet, log as a project of ours does where there is none."""
    if not Path("conf/logging.yml").exists():
        os.environ.setdefault(
            "KEDRO_LOGGING_CONFIG", str(conf_source() / "logging.yml")
        )


def configure_logging(conf: Path) -> None:
    """Lets Kedro, imported already, log as the logging.yml of a configuration says."""
    from kedro.framework.project import LOGGING

    text = (conf / "logging.yml").read_text(encoding="utf-8")
    LOGGING.configure(yaml.safe_load(text))


def _read_hyperparameters(source: Path) -> Hyperparameters:
    path = source / HYPERPARAMETERS if source.is_dir() else source
    hyperparameters = read_hyperparameters(path)
    for note in notes(hyperparameters):
        logger.warning("%s", note)
    return hyperparameters


def _file_names(inputs: Mapping[str, Path], data: Mapping[str, Any]) -> dict[str, str]:
    """Parameters that name the files of splits that do not lie in ``input_path``."""
    named: dict[str, str] = {}
    for split in SPLITS:
        folder = inputs.get(split)
        if folder is None or folder == inputs["input_path"] / split:
            continue
        filename = data[f"{split}_filename"]
        if filename is not None:
            named[f"{split}_filename"] = str(find_split(folder, split, filename).path)
            continue
        if not folder.is_file():
            find_in_folder(folder)
        named[f"{split}_filename"] = str(folder)
    return named


def _precomputed(
    environ_vars: Mapping[str, str], inputs: Mapping[str, Path]
) -> dict[str, bool]:
    """Parameters of the group tabular that say which artifacts are taken as they are."""
    from tabweave.configuration.loader import SWITCHES

    problems = Problems("The environment variables are not valid")
    found: dict[str, bool] = {}
    artifacts = inputs.get("model_artifacts_input")
    for variable, parameter in SWITCHES.items():
        process = os.environ.get(variable, "false")
        value = str(environ_vars.get(variable, process)).strip().lower()
        if os.environ.get(variable, value).lower() != value:
            problems.add(
                f"{variable} is {value} in environ_vars, but {process} in the process, "
                "where the stages read it. Set one of the two."
            )
        elif value not in ("true", "false"):
            problems.add(f"{variable} is {shorten(value)}; allowed: true, false.")
        elif value == "true" and (artifacts is None or not artifacts.is_dir()):
            problems.add(
                f"{variable} is true, but model_artifacts_input is {artifacts}, which is "
                "no folder."
            )
        found[parameter] = value == "true"
    problems.raise_as(ConfigError)
    if artifacts is not None and (artifacts / "selected_features.json").is_file():
        logger.info("columns are those of %s", artifacts / "selected_features.json")
        found["selected_features"] = True
    return found


def _with_overrides(
    parameters: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters after the overrides; a relative encoder folder counts from here."""
    merged = OmegaConf.to_container(OmegaConf.merge(parameters, overrides))
    assert isinstance(merged, dict)
    stray = sorted(set(overrides) - set(parameters), key=str)
    if stray:
        raise ConfigError(
            f"params names {stray}; a run in a container takes {', '.join(parameters)}. "
            "Folders have options of their own."
        )
    check_parameters(merged)
    encoder = merged["text"]["encoder"]
    if encoder != SCRATCH and Path(encoder).is_dir():
        merged["text"]["encoder"] = str(Path(encoder).absolute())
    return merged


def _check_headers(
    hyperparameters: Hyperparameters, data: Mapping[str, Any], folder: Path
) -> None:
    """Every name of full_field_list must be in the header of every file."""
    problems = Problems("The files do not have the columns of full_field_list")
    for split in SPLITS:
        found = find_split(folder, split, data[f"{split}_filename"])
        table = open_table(found, split)
        check_header(table, hyperparameters.full_field_list, problems)
    problems.raise_as(SchemaError)


def _folders(inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> dict[str, Any]:
    """The parameters that the catalog reads."""
    reports = str(outputs["evaluation_output"])
    folders: dict[str, Any] = {
        "data_dir": str(inputs["input_path"]),
        "checkpoint_dir": str(outputs["checkpoints"]),
        "layers": {
            "06_models": str(outputs["model_output"]),
            "07_model_output": reports,
            "08_reporting": reports,
        },
    }
    artifacts = inputs.get("model_artifacts_input")
    if artifacts is not None and artifacts.is_dir():
        folders["model_artifacts_input"] = str(artifacts)
    return folders


def _run_stages(work: Path, parameters: Mapping[str, Any]) -> None:
    """Runs load to export with `work` as the project."""
    from kedro.framework.project import configure_project
    from kedro.framework.session import KedroSession

    (work / ".telemetry").write_text("consent: false\n", encoding="utf-8")
    configure_project(tabweave.__name__)
    with KedroSession.create(
        project_path=work,
        env=ENVIRONMENT,
        conf_source=str(conf_source()),
        runtime_params=dict(parameters),
    ) as session:
        session.run(pipeline_names=["__default__"])


def command(arguments: list[str] | None = None) -> None:
    """``python -m tabweave.sagemaker.container``: `main` on the folders of a container."""
    parser = argparse.ArgumentParser(prog="python -m tabweave.sagemaker.container")
    parser.add_argument(
        "--params",
        default="",
        help="training.max_epochs=1,..., over hyperparameters.json",
    )
    job_args = parser.parse_args(arguments)
    choose_logging()
    try:
        job_args.params = parse_overrides(job_args.params)
    except ConfigError as error:
        parser.error(str(error))
    with interruptible(go_on):
        main(INPUTS, OUTPUTS, os.environ, job_args)


def go_on() -> str:
    """How a run that was ended by a signal goes on."""
    from tabweave.hooks import PROGRESS

    hint = "With training.resume=auto in --params, training goes on from last.ckpt. "
    return f"{hint if PROGRESS.training else ''}{run_again()}"


if __name__ == "__main__":
    command()
