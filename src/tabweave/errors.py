"""The errors a user can meet, in one tree.

    TabweaveError
    ├── SchemaError     the data is not what the schema says
    ├── ConfigError     a parameter is unknown, impossible or contradicts another
    ├── TrainingError   training cannot start or go on
    ├── ExportError     the exported file does not say what the model says
    └── ArtifactError   a file of an earlier stage is missing, damaged or stale
        └── WriteError  a file cannot be written: the disk is full or refuses

Every message says what is wrong, where, what was got, what is allowed and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TabweaveError(ValueError):
    """Root of all errors that tabweave raises on purpose."""


class SchemaError(TabweaveError, KeyError):
    """The data is not what the schema says (columns, types, ids, labels)."""

    def __str__(self) -> str:
        # KeyError would show the message in quotes, with its newlines escaped.
        return ValueError.__str__(self)


class MissingDataError(SchemaError, FileNotFoundError):
    """A data file that the configuration names, or implies, is not there."""


class ConfigError(TabweaveError):
    """A parameter is unknown, impossible, or contradicts another one."""


class TrainingError(TabweaveError, RuntimeError):
    """Training cannot start or cannot go on."""


class ExportError(TabweaveError, RuntimeError):
    """The exported file could not be written or does not match the model."""


class ArtifactError(TabweaveError, RuntimeError):
    """A file of an earlier stage is missing, damaged, foreign or stale."""


class WriteError(ArtifactError, OSError):
    """A file cannot be written; what was there before is unchanged."""


class Problems:
    """Collects what is wrong so that a user sees all of it at once.

    Example:
        >>> problems = Problems("2 things are wrong")
        >>> problems.add("the first")
        >>> bool(problems)
        True
    """

    def __init__(self, title: str, limit: int = 30) -> None:
        self.title = title
        self.limit = limit
        self.found: list[str] = []

    def add(self, message: str) -> None:
        """Notes one more problem."""
        self.found.append(message)

    def __bool__(self) -> bool:
        return bool(self.found)

    def __str__(self) -> str:
        shown = [f"  - {message}" for message in self.found[: self.limit]]
        if len(self.found) > self.limit:
            shown.append(f"  - and {len(self.found) - self.limit} more")
        return "\n".join([f"{self.title}:", *shown])

    def raise_as(self, kind: type[TabweaveError]) -> None:
        """Raises one error with every problem noted, if there is any."""
        if self.found:
            raise kind(str(self))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Gives ' Did you mean 'x'?' for a name close to a known one, else ''.

    Example:
        >>> did_you_mean("multimodal_brt", ["multimodal_bert", "bert"])
        " Did you mean 'multimodal_bert'?"
    """
    candidates = list(known)
    by_lower = {candidate.lower().strip(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower().strip(), list(by_lower), n=1)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def shorten(value: object, limit: int = 80) -> str:
    """The repr of a value, cut: cell contents never fill a screen or a log."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no integer of 4,301 digits
        text = f"<{type(value).__name__} too large to be written out>"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def some_of(values: Iterable[object], limit: int = 10) -> str:
    """The first few values, each cut, and how many more there are.

    Example:
        >>> some_of(["a", "b", "c"], limit=2)
        "'a', 'b' and 1 more"
    """
    every = list(values)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(shorten(value) for value in every[:limit]) + more


def own_error(error: BaseException) -> TabweaveError | None:
    """The error of ours that another library has wrapped, if there is one.

    Only what an error was raised from counts. An error that merely happened while one of
    ours was handled is another one, and hiding it would hide a bug.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TabweaveError):
            return seen
        seen = seen.__cause__
    return None
