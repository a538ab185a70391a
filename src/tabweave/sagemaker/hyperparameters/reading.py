"""Reads ``hyperparameters.json``, or says everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tabweave.errors import ConfigError, Problems, did_you_mean, shorten
from tabweave.sagemaker.hyperparameters.fields import Hyperparameters
from tabweave.sagemaker.hyperparameters.values import parse_json

LARGEST_FILE = 2**20


def read_hyperparameters(path: Path) -> Hyperparameters:
    """The hyperparameters of a JSON file, each cast to its type.

    Raises:
        ConfigError: The file is missing, larger than 1 MiB, not a JSON object, repeats a
            key or holds NaN or an infinite number; a key is unknown or missing; a value
            has the wrong type or contradicts another. One error lists everything.
    """
    text = _read_text(Path(path))
    try:
        values = parse_json(text)
    except ConfigError as error:
        raise ConfigError(
            f"The hyperparameters {path} cannot be read: {error}"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"The hyperparameters {path} must be one JSON object of names and values, "
            f"but are {shorten(values)}."
        )
    return parse_hyperparameters(values, str(path))


def _read_text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(
            f"The hyperparameters {path} cannot be read: {error.strerror or error}."
        ) from error
    if len(content) > LARGEST_FILE:
        raise ConfigError(
            f"The hyperparameters {path} are larger than {LARGEST_FILE} bytes, so they "
            "are something else. Name a JSON file of names and values."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The hyperparameters {path} are not UTF-8: {error}."
        ) from error


def parse_hyperparameters(
    values: dict[str, Any], source: str = "hyperparameters"
) -> Hyperparameters:
    """Hyperparameters from names and values; `source` names them in an error.

    Raises:
        ConfigError: As `read_hyperparameters`.
    """
    try:
        return Hyperparameters(**values)
    except ValidationError as error:
        found = [line for fault in error.errors() for line in _lines(dict(fault))]
        raise ConfigError(said(found, source)) from error


def said(found: list[str], source: str) -> str:
    """One sentence first when there is one, else a list of all."""
    if len(found) == 1:
        return f"{found[0]}\nFile: {source}"
    problems = Problems(f"{source} is not valid")
    for line in found:
        problems.add(line)
    return str(problems)


def _lines(fault: dict[str, Any]) -> list[str]:
    key = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if not key:  # rules between keys, one per line
        return message.splitlines()
    if fault["type"] == "extra_forbidden":
        hint = did_you_mean(key, Hyperparameters.model_fields)
        return [
            f"{shorten(key)} is not a hyperparameter.{hint} docs/specification.md lists "
            "all of them."
        ]
    if fault["type"] == "missing":
        meaning = Hyperparameters.model_fields[key].annotation
        kind = getattr(meaning, "__name__", str(meaning))
        return [f"{key} is missing; it is required ({kind})."]
    if fault["type"] == "value_error":
        return [f"{key}: {message}."]
    return [
        f"{key}: got {shorten(fault['input'])}, allowed: "
        f"{message.removeprefix('Input ').removeprefix('should be ')}."
    ]
