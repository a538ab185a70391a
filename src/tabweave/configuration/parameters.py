"""Every parameter group by name, and the check that finds all mistakes at once."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from tabweave.errors import ConfigError, Problems, cut, did_you_mean, readable, shorten
from tabweave.evaluation.config import DECISIVE, EvaluationConfig, is_decisive
from tabweave.export.config import ExportConfig
from tabweave.fabrication import FabricationConfig
from tabweave.models.config import ModelConfig
from tabweave.schema import CONTRADICTION, DataConfig, Parameters, PathText
from tabweave.scoring.config import ScoreConfig
from tabweave.splitting.config import SplitConfig
from tabweave.storage.local_paths import local_path
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
SHOULD = "input should be "
OWN_WORDS = ("value_error", CONTRADICTION)
"""Faults whose message says what was got."""
LONGEST_FAULT, LONGEST_EXAMPLE = 1500, 80
_PATH = TypeAdapter(PathText)


def check_parameters(parameters: dict[str, Any]) -> None:
    """Checks names, types and values of all groups.

    Raises:
        ConfigError: Lists every parameter that is unknown or has an impossible value.
    """
    problems = Problems("The parameters are not valid")
    known = (*PARAMETER_TYPES, *PATHS)
    for name, values in parameters.items():
        if name in PATHS:
            _check_folders(name, values, problems)
            continue
        if name not in PARAMETER_TYPES:
            groups = ", ".join(known)
            problems.add(
                f"{readable(str(name))}: unknown group."
                f"{did_you_mean(str(name), known)} Known: {groups}"
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


def _check_decisive_metric(metric: object, problems: Problems) -> None:
    """A misspelt metric would be noticed only when the first epoch has been paid for."""
    if isinstance(metric, str) and not is_decisive(metric):
        problems.add(
            f"training.early_stop_metric: no metric is called {shorten(metric)}."
            f"{did_you_mean(metric, DECISIVE)} Known: {', '.join(DECISIVE)}, "
            "val/average_precision/<class>"
        )


def _check_folders(name: str, values: Any, problems: Problems) -> None:
    """Folders that the catalog reads: one, or one for each layer."""
    named = values if name == "layers" and isinstance(values, dict) else {"": values}
    for key, path in named.items():
        where = readable(".".join(filter(None, (name, str(key)))))
        try:
            local_path(str(path))
            if name != "layers":  # the loader knows their names
                _PATH.validate_python(path, strict=True)
        except ValidationError:
            problems.add(
                f"{where}: must be the path of a folder, but is {shorten(path)}"
            )
        except ValueError as error:
            problems.add(f"{where}: {error}")


def _check_group(name: str, values: dict[str, Any], problems: Problems) -> None:
    kind = PARAMETER_TYPES[name]
    try:
        kind(**values)
    except ValidationError as error:
        # The branches of a union each have a fault of their own about one value.
        found: dict[tuple[str, str], list[str]] = {}
        for fault in error.errors():
            if fault["type"] == "too_short" and fault["input"]:
                continue  # what is wrong with its entries is said of them
            where, message, got = _said(kind, name, values, dict(fault))
            found.setdefault((where, got), []).append(message)
        for (where, got), messages in found.items():
            said = " or ".join(m.removeprefix(SHOULD) for m in messages)
            should = SHOULD if messages[0].startswith(SHOULD) else ""
            problems.add(cut(f"{where}: {should}{said}{got}", LONGEST_FAULT))
    except TypeError:
        problems.add(f"{name}: keys must be text, but are {shorten(list(values))}")


def _said(
    kind: type[BaseModel], name: str, values: dict[str, Any], fault: dict[str, Any]
) -> tuple[str, str, str]:
    """The whole name of the parameter, what is wrong with it, and what was got."""
    path = fault_path(fault, values)
    where = ".".join(readable(part) for part in [name, *path])
    if fault["type"] == "extra_forbidden":
        fields = _fields(kind, path[:-1])
        hint = did_you_mean(path[-1], fields)
        return where, f"unknown key.{hint} Known: {', '.join(fields)}", ""
    if fault["type"] == CONTRADICTION:
        where = ", ".join(f"{where}.{field}" for field in fault["ctx"]["fields"])
    message = fault["msg"].removeprefix("Value error, ")
    message = f"{message[0].lower()}{message[1:]}"
    got = f", got {shorten(fault['input'])}"
    alone = len(path) == len(fault["loc"])  # no branch of a union
    if fault["type"] == "tuple_type":
        message = f"{SHOULD}a list{_as_a_list(where, fault['input']) if alone else ''}"
    if fault["type"] == "too_short":
        message = f"{SHOULD}a list with {fault['ctx']['min_length']} or more entries"
    if fault["type"] == "string_type" and alone:
        got += _in_quotes(name, path, values)
    return where, message, "" if fault["type"] in OWN_WORDS else got


def _in_quotes(name: str, path: list[str], values: Any) -> str:
    """How to write a number, or a yes or no, that is meant as text."""
    found: list[Any] = [values]
    for part in path:
        held = found[-1]
        found.append(held[int(part) if isinstance(held, list | tuple) else part])
    *_, holder, value = found
    if not isinstance(value, int | float):
        return ""
    as_text, where = _as_text(value), [name, *path]
    if isinstance(holder, list | tuple):
        where, value = where[:-1], [_as_text(entry) for entry in holder]
    else:
        value = as_text
    example = f"{'.'.join(where)}={_quoted(value)}"
    shown = f'; in --params: "{example}"' if len(example) <= LONGEST_EXAMPLE else ""
    return f". Write it in quotes, as the data has it: {_quoted(as_text)}{shown}"


def _as_text(value: object) -> object:
    """A number as text; anything else as it is."""
    return _flow(value) if isinstance(value, int | float) else value


def _quoted(value: object) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True, default_style="'", width=10**9
    )
    return text.strip()


def _as_a_list(where: str, value: object) -> str:
    if not isinstance(value, str | int | float) or len(str(value)) > LONGEST_EXAMPLE:
        return ""
    return f", such as {where}={_flow([value])}"


def _flow(value: object) -> str:
    """One line of YAML, as a file and ``--params`` take it."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9)
    return text.removesuffix("...\n").strip()


def fault_path(fault: dict[str, Any], values: Any) -> list[str]:
    """Where a fault is in the values that were given.

    What pydantic adds to a place, such as the branch of a union, is left out.

    Example:
        >>> fault_path({"loc": ("devices", "literal['auto']"), "type": "literal_error"},
        ...            {"devices": 0})
        ['devices']
    """
    path = []
    *_, last = fault["loc"] or ("",)
    for part in fault["loc"]:
        is_key = isinstance(values, dict) and part in values
        is_index = isinstance(values, list | tuple) and isinstance(part, int)
        if is_key or (is_index and part < len(values)):
            values = values[part]
            path.append(str(part))
        elif fault["type"] == "missing" and part is last:
            path.append(str(part))
    return path


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
