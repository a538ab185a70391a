"""Every parameter group by name, and the check that finds all mistakes at once."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from tabweave.errors import ConfigError, Problems, did_you_mean, shorten
from tabweave.evaluation.config import DECISIVE, EvaluationConfig, is_decisive
from tabweave.export.config import ExportConfig
from tabweave.fabrication import FabricationConfig
from tabweave.local_paths import local_path
from tabweave.models.config import ModelConfig
from tabweave.schema import DataConfig, Parameters
from tabweave.scoring.config import ScoreConfig
from tabweave.splitting.config import SplitConfig
from tabweave.tabular.config import TabularConfig
from tabweave.text.config import TextConfig
from tabweave.training.config import TrainingConfig

PARAMETER_TYPES: dict[str, type[Parameters]] = {
    "data": DataConfig,
    "text": TextConfig,
    "tabular": TabularConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "export": ExportConfig,
    "score": ScoreConfig,
    "fabricate": FabricationConfig,
    "split": SplitConfig,
}
# Read by the catalog, not by a node.
PATHS = ("data_dir", "checkpoint_dir", "layers", "model_artifacts_input")


def check_parameters(parameters: dict[str, Any]) -> None:
    """Checks names, types and values of all groups.

    Raises:
        ConfigError: Lists every parameter that is unknown or has an impossible value.
    """
    problems = Problems("The parameters are not valid")
    known = (*PARAMETER_TYPES, *PATHS)
    for name, values in parameters.items():
        if name in PATHS:
            _check_paths(name, values, problems)
            continue
        if name not in PARAMETER_TYPES:
            groups = ", ".join(known)
            problems.add(
                f"{name}: unknown group.{did_you_mean(str(name), known)} Known: {groups}"
            )
        elif not isinstance(values, dict):
            problems.add(
                f"{name}: must hold keys and values, but is {shorten(values)}; to set one "
                f"key, write {name}.<key>"
            )
        else:
            _check_group(name, values, problems)
            if name == "training":
                _check_decisive_metric(values.get("early_stop_metric"), problems)
    if problems:
        raise ConfigError(
            f"{problems}\nParameters come from conf/base, conf/<env> and --params; the "
            "later wins."
        )


def _check_paths(name: str, values: Any, problems: Problems) -> None:
    """Paths that the catalog reads: one, or one for each layer."""
    named = values if isinstance(values, dict) else {"": values}
    for key, path in named.items():
        try:
            local_path(str(path))
        except ValueError as error:
            problems.add(f"{'.'.join(filter(None, (name, str(key))))}: {error}")


def _check_decisive_metric(metric: object, problems: Problems) -> None:
    """A misspelt metric would be noticed only when the first epoch has been paid for."""
    if isinstance(metric, str) and not is_decisive(metric):
        problems.add(
            f"training.early_stop_metric: no metric is called {metric!r}."
            f"{did_you_mean(metric, DECISIVE)} Known: {', '.join(DECISIVE)}, "
            "val/average_precision/<class>"
        )


def _check_group(name: str, values: dict[str, Any], problems: Problems) -> None:
    try:
        PARAMETER_TYPES[name](**values)
    except ValidationError as error:
        for fault in error.errors():
            path = [str(part) for part in fault["loc"]]
            where = ".".join([name, *path])
            if fault["type"] == "extra_forbidden":
                fields = _fields(PARAMETER_TYPES[name], path[:-1])
                hint = did_you_mean(path[-1], fields)
                problems.add(f"{where}: unknown key.{hint} Known: {', '.join(fields)}")
                continue
            message = fault["msg"].removeprefix("Value error, ")
            got = (
                ""
                if fault["type"] == "value_error"
                else f", got {shorten(fault['input'])}"
            )
            problems.add(f"{where}: {message[0].lower()}{message[1:]}{got}")
    except TypeError:
        problems.add(f"{name}: keys must be text, but are {shorten(list(values))}")


def _fields(kind: type[BaseModel], path: list[str]) -> list[str]:
    """Names of the fields that a nested key could have had."""
    for part in path:
        field = kind.model_fields.get(part)
        if field is None:
            continue
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [a for a in inner if isinstance(a, type) and issubclass(a, BaseModel)]
        if models:
            kind = models[0]
    return list(kind.model_fields)
