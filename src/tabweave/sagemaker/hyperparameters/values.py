"""JSON and strings become values of a type, or a refusal: nothing is guessed."""

from __future__ import annotations

import ast
import json
import math
import types
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tabweave.errors import ConfigError, shorten

DEEPEST = 8
LONGEST_LITERAL = 10_000
REFERENCE = "${"
NAMES: dict[Any, str] = {
    bool: "true or false",
    dict: "an object of names and numbers",
    float: "a finite number",
    int: "a whole number",
    str: "text",
}


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ConfigError: It is not JSON, repeats a key, is nested too deep, or holds NaN or
            an infinite number.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"it is nested more than {DEEPEST} levels deep") from error
    if _is_deeper(value, DEEPEST):
        raise ConfigError(f"it is nested more than {DEEPEST} levels deep")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ConfigError(
                f"the key {shorten(key)} appears twice, with {shorten(found[key])} and "
                f"with {shorten(value)}; keep one"
            )
        found[key] = value
    return found


def _no_constant(name: str) -> float:
    raise ConfigError(f"{name} is not a number that JSON has; give a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ConfigError(f"{shorten(text)} is too large; give a finite number")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def safe_cast(text: str) -> Any:
    """The value that a string spells: a boolean, JSON, a Python literal, or itself.

    Raises:
        ConfigError: It is JSON that may not stand here, such as a repeated key.

    Example:
        >>> safe_cast("true"), safe_cast("[1, 2]"), safe_cast("3.14"), safe_cast("bert")
        (True, [1, 2], 3.14, 'bert')
    """
    spelt = text.strip()
    if spelt.lower() in ("true", "false"):
        return spelt.lower() == "true"
    if spelt[:1] in ("[", "{"):
        try:
            return parse_json(spelt)
        except ConfigError as error:
            if not isinstance(error.__cause__, json.JSONDecodeError):
                raise
    if len(spelt) > LONGEST_LITERAL:
        return text
    try:
        with warnings.catch_warnings(action="ignore"):  # about '\\d' in a literal
            return ast.literal_eval(spelt)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def cast(value: Any, kind: Any) -> Any:
    """`value` as the type `kind`, where there is only one way to read it.

    Args:
        value: A JSON value, or a string that spells one.
        kind: bool, int, float, str, a literal, a tuple or dict of these, or None too.

    Raises:
        ConfigError: The value does not fit; the message says what was got and allowed.
    """
    wanted, optional = _wanted(kind)
    read = _read(value, wanted)
    if read is None and optional:
        return None
    origin = get_origin(wanted) or wanted
    if origin is tuple and isinstance(read, list | tuple):
        return tuple(cast(each, get_args(wanted)[0]) for each in read)
    if origin is dict and isinstance(read, dict):
        inner = get_args(wanted)[1]
        return {cast(name, str): cast(each, inner) for name, each in read.items()}
    if wanted is Any or any(_CASTS[one](read) for one in _scalars(wanted)):
        return _as(read, wanted)
    raise ConfigError(f"got {shorten(value)}, allowed: {_say(wanted)}")


def _wanted(kind: Any) -> tuple[Any, bool]:
    """The type without its extras, and whether None is allowed beside it."""
    if get_origin(kind) is Annotated:
        return _wanted(get_args(kind)[0])
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    some = [one for one in get_args(kind) if one is not types.NoneType]
    optional = len(some) < len(get_args(kind))
    return (_wanted(some[0])[0] if len(some) == 1 else kind), optional


def _scalars(wanted: Any) -> tuple[Any, ...]:
    if get_origin(wanted) in (Union, types.UnionType):
        return get_args(wanted)
    if get_origin(wanted) is Literal:
        return (str,)
    return (wanted,) if wanted in _CASTS else ()


def _read(value: Any, wanted: Any) -> Any:
    """What a string spells, unless text is wanted: then only its quotes go."""
    if not isinstance(value, str) or wanted is Any:
        return value
    if str not in _scalars(wanted):
        return safe_cast(value)
    if REFERENCE in value:
        raise ConfigError(
            f"got {shorten(value)}, allowed: text without '{REFERENCE}', which the "
            "configuration would read as a reference"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(f"got {shorten(value)}, allowed: text in UTF-8") from error
    quoted = value.strip()[:1] in ("'", '"')
    unquoted = safe_cast(value) if quoted else value
    return unquoted if isinstance(unquoted, str) else value


def _is_whole(value: Any) -> bool:
    return type(value) is int or (isinstance(value, float) and value.is_integer())


def _is_finite(value: Any) -> bool:
    # A whole number of 400 digits is no float.
    return type(value) in (int, float) and abs(value) < 1e308


_CASTS: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    float: _is_finite,
    int: _is_whole,
    str: lambda value: isinstance(value, str),
}


def _as(value: Any, wanted: Any) -> Any:
    if wanted is float:
        return float(value)
    whole = isinstance(value, float) and int in _scalars(wanted)
    return int(value) if whole else value


def _say(wanted: Any) -> str:
    origin = get_origin(wanted) or wanted
    if origin is tuple:
        return f"a list, each entry {_say(_wanted(get_args(wanted)[0])[0])}"
    if origin is Literal:
        return " or ".join(repr(one) for one in get_args(wanted))
    return " or ".join(
        NAMES[get_origin(one) or one] for one in _scalars(wanted) or (wanted,)
    )
