"""``--params=group.key=value,...``: text that a person types, and nested values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tabweave.configuration.yaml_text import yaml_fault
from tabweave.errors import ConfigError, Problems, shorten

OPENING, CLOSING, QUOTES = tuple("[{"), tuple("]}"), tuple("'\"")
TOKENS = re.compile(r""""(?:[^"\\]|\\.)*"?|'[^']*'?|.""", re.DOTALL)
"""A quoted piece, or one other character."""
NUMBER_LIKE = re.compile(r"[+-]?[0-9][0-9A-Za-z_:.+-]*")
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")
FORM = (
    "Write group.key=value, several with commas between: training.lr=1e-3,"
    "data.text=[title,review]. Put a value that holds a comma in quotes."
)


def parse_overrides(text: str) -> dict[str, Any]:
    """The nested values of ``a.b=1,a.c=[x,y]``; values are YAML.

    Raises:
        ConfigError: An entry has no key or no value, a value is not YAML, or one key is
            given twice; the message lists all of them.

    Example:
        >>> parse_overrides("data.text=[title,review],training.lr=1e-3")
        {'data': {'text': ['title', 'review']}, 'training': {'lr': 0.001}}
    """
    problems = Problems("--params cannot be read")
    found: dict[str, Any] = {}
    for item in _items(text):
        key, equals, written = (part.strip() for part in item.partition("="))
        if not equals or not all(key.split(".")):
            problems.add(f"{shorten(item)} is not a key and a value.")
            continue
        try:
            value = _value(written)
        except ConfigError as error:
            problems.add(f"{shorten(key)}: {shorten(written)} is no value: {error}")
            continue
        if not _put(found, key.split("."), value):
            problems.add(f"{shorten(key)} is given twice, or is a group elsewhere.")
    if problems:
        raise ConfigError(f"{problems}\n{FORM}")
    return found


def _items(text: str) -> Iterator[str]:
    """The entries; a comma within a list, an object or quotes parts nothing."""
    start = 0
    while start < len(text):
        end = _end_of_entry(text, start)
        if text[start:end].strip():
            yield text[start:end].strip()
        start = end + 1


def _end_of_entry(text: str, start: int) -> int:
    """Where an entry ends: brackets and quotes count only where they open the value."""
    comma = text.find(",", start)
    comma = len(text) if comma < 0 else comma
    equals = text.find("=", start)
    if not 0 <= equals < comma:
        return comma
    first = equals + 1 + len(text[equals + 1 :]) - len(text[equals + 1 :].lstrip())
    if text[first : first + 1] not in (*OPENING, *QUOTES):
        return comma
    depth = 0
    for token in TOKENS.finditer(text, first):
        letter = token[0]
        if letter == "," and depth <= 0:
            return token.start()
        depth += (letter in OPENING) - (letter in CLOSING)
    return len(text)


def _value(written: str) -> Any:
    """As a configuration file reads it: 1e-3 is a number, and so on.

    Raises:
        ConfigError: It is not YAML, or a reference that cannot be one.
    """
    fault = yaml_fault(written)
    if fault:
        raise ConfigError(fault)
    try:
        # A reference such as ${x} stays text here; the configuration resolves it.
        holder = OmegaConf.from_dotlist([f"value={written}"])
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"{str(error).splitlines()[0]}.") from error
    found: dict[Any, Any] = OmegaConf.to_container(holder)  # type: ignore[assignment]
    odd = next(_odd_numbers(written, found["value"]), None)
    if odd:
        raise ConfigError(odd)
    return found["value"]


def _odd_numbers(written: str, value: Any) -> Iterator[str]:
    """Numbers that YAML reads otherwise than a person: 010 as 8, 1:30 as 90."""
    if isinstance(value, str | bool | None):
        return
    for token in yaml.scan(written):
        if not isinstance(token, yaml.ScalarToken) or not token.plain:
            continue
        if not NUMBER_LIKE.fullmatch(token.value):
            continue
        read = OmegaConf.from_dotlist([f"value={token.value}"])["value"]
        whole = type(read) is int and not WHOLE.fullmatch(token.value)
        if whole or (type(read) is float and set("_:") & set(token.value)):
            yield (
                f"YAML reads {token.value} as {read}. Write the number in plain digits, "
                f"or '{token.value}' in quotes if it is text."
            )


def _put(found: dict[str, Any], path: list[str], value: Any) -> bool:
    """Stores a value, unless its key has one or lies below one that does."""
    *parents, name = path
    for parent in parents:
        found = found.setdefault(parent, {})
        if not isinstance(found, dict):
            return False
    if name in found:
        return False
    found[name] = value
    return True


def format_overrides(values: Mapping[str, Any]) -> str:
    """The text that `parse_overrides` reads as these values.

    Example:
        >>> format_overrides({"data": {"text": ["a", "b"], "group": None}})
        'data.text=[a, b],data.group=null'
    """
    return ",".join(_flat(values, ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={_written(value)}"


class _Dumper(yaml.SafeDumper):
    """Quotes what `parse_overrides` would not read as text; PyYAML takes 1E0 for text."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        """A text within a list or an object, in quotes where it needs them."""
        style = None if _is_read(f"[{text}]", [text]) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_str)


def _written(value: Any) -> str:
    if isinstance(value, str) and _is_read(value, value):
        return value
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10**9)
    return text.strip().removesuffix("...").strip()


def _is_read(written: str, value: Any) -> bool:
    """Whether a value is read where it is written so, and what follows it too."""
    try:
        return parse_overrides(f"a={written},b=1") == {"a": value, "b": 1}
    except ConfigError:
        return False
