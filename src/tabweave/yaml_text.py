"""Whether text may be read as YAML: the limits that its reader does not have.

A few lines of aliases can expand to terabytes, and a few thousand brackets end the reader
by a recursion. Both are found in the events of the text, before any value is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tabweave.errors import ConfigError, Problems, shorten, some_of

DEEPEST, MOST_VALUES = 50, 1_000_000
ENDINGS = (".yml", ".yaml", ".json")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_conf_folders(folders: Iterable[Path]) -> None:
    """Reads every configuration file below folders, one that is not there left out.

    Raises:
        ConfigError: Files cannot be read, or are not YAML that may be read; the message
            lists all of them.
    """
    problems = Problems("The configuration cannot be read")
    # isdir: a name of 100,000 characters, or with a NUL, is no folder and no error.
    for folder in filter(os.path.isdir, folders):
        for path in sorted(folder.rglob("*")):
            if path.suffix in ENDINGS and not path.is_dir():
                fault = _file_fault(path)
                if fault:
                    problems.add(f"{path}: {fault}")
    problems.raise_as(ConfigError)


def _file_fault(path: Path) -> str:
    if path.exists() and not path.is_file():
        return "it is no file."
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        return f"{error.strerror}."
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 (byte {error.start})."
    return yaml_fault(text, mapping=True) or _key_fault(text)


def _key_fault(text: str) -> str:
    """What Kedro cannot take as a name, in a text that may be read."""
    try:
        content = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        return f"{error.problem}."
    except ValueError:
        return ""  # a date that is none, which the configuration keeps as text
    stray = [key for key in content or {} if not isinstance(key, str)]
    return f"keys must be text, but are {some_of(stray)}." if stray else ""


def yaml_fault(text: str, *, mapping: bool = False) -> str:
    """What is wrong with a text of YAML, or nothing.

    Args:
        text: One document.
        mapping: Whether it must hold keys and values.

    Example:
        >>> yaml_fault("[1, 2]"), yaml_fault("[1, 2]", mapping=True)
        ('', 'line 1: it must hold keys and values.')
    """
    try:
        return next(_faults(text, mapping=mapping), "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        said = error.problem or "it is not YAML"
        return f"{where}{said.removeprefix('did not find ')}."
    except (yaml.YAMLError, UnicodeError) as error:
        return f"it is not YAML: {shorten(str(error), 200)}"


class _Walk:
    """Counts the values of a document, event by event, as they would be in memory."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}  # of what an anchor names, aliases expanded
        self.anchors: list[str | None] = []  # of the collections that are open
        self.counts = [0]

    def fault(self, event: Any) -> str:
        """Takes one event; gives what is wrong with it, or nothing."""
        if isinstance(event, yaml.CollectionStartEvent):
            self.anchors.append(event.anchor)
            self.counts.append(1)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._add(self.counts.pop(), self.anchors.pop())
        elif isinstance(event, yaml.ScalarEvent):
            self._add(1, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.sizes:
                return f"*{event.anchor} names nothing that is complete before it."
            self._add(self.sizes[event.anchor], None)
        if len(self.counts) > DEEPEST:
            return f"it is nested more than {DEEPEST} levels deep."
        if self.counts[-1] > MOST_VALUES:
            return f"it holds more than {MOST_VALUES:,} values, aliases expanded."
        return ""

    def _add(self, size: int, anchor: str | None) -> None:
        self.counts[-1] += size
        if anchor:
            self.sizes[anchor] = size


def _faults(text: str, *, mapping: bool) -> Iterator[str]:
    walk, first = _Walk(), True
    for event in yaml.parse(text, Loader=_LOADER):
        at = f"line {event.start_mark.line + 1}: "  # type: ignore[union-attr]
        if isinstance(event, yaml.NodeEvent):
            if first and mapping and not isinstance(event, yaml.MappingStartEvent):
                yield f"{at}it must hold keys and values."
            first = False
        fault = walk.fault(event)
        if fault:
            yield f"{at}{fault}"
