"""JSON from a source that may be hostile: one meaning, bounded work."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from tabweave.errors import ArtifactError, shorten

MAX_DEPTH = 32
MAX_CONTAINERS = 8_000_000
# A string that nobody closes is one token as well, or it would be read again and again.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse_json(data: bytes, name: str) -> Any:
    """The value in the bytes of a JSON file.

    Args:
        data: Content of the file; the caller has bounded its size.
        name: What the file is called in an error.

    Raises:
        ArtifactError: Not UTF-8, not JSON, a key that stands twice in one object, a
            number that is not finite, nested too deeply or too many lists and objects.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(name, f"it is not UTF-8 at byte {error.start}") from error
    _check_nesting(data, name)

    def constant(word: str) -> NoReturn:
        raise _refused(name, f"it holds {word}, which is not JSON")

    def number(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise _refused(name, f"the number {shorten(digits, 30)} is not finite")
        return value

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = next(key for key, count in counts.items() if count > 1)
            raise _refused(name, f"the key {shorten(twice)} stands twice in one object")
        return value

    try:
        return json.loads(
            text, parse_constant=constant, parse_float=number, object_pairs_hook=unique
        )
    except ArtifactError:
        raise
    except (ValueError, RecursionError) as error:
        raise _refused(name, f"it is not JSON ({error})") from error


def _check_nesting(data: bytes, name: str) -> None:
    containers = data.count(b"{") + data.count(b"[")
    if containers > MAX_CONTAINERS:
        raise _refused(name, f"it holds over {MAX_CONTAINERS:,} lists and objects")
    if containers <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(data):
        first = token[0][:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MAX_DEPTH:
            raise _refused(name, f"it is nested deeper than {MAX_DEPTH} levels")


def _refused(name: str, what: str) -> ArtifactError:
    return ArtifactError(
        f"{name} is refused: {what}. Take the bundle again from where it was made.",
        stages=("export",),
    )
