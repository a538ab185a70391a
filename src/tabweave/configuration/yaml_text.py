"""Whether text may be read as YAML: the limits that its reader does not have.

A few lines of aliases can expand to terabytes, and a few thousand brackets end the reader
by a recursion. Both are found in the events of the text, before any value is made.
"""

from __future__ import annotations

import lzma
import mimetypes
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tabweave.errors import ConfigError, Problems, shorten, some_of

DEEPEST, MOST_VALUES = 50, 1_000_000
ENDINGS = (".yml", ".yaml", ".json")
MOST_BYTES = 100_000_000
"""Bytes that all files of an archive may have when they are unpacked."""
NO_ARCHIVE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(OSError, RuntimeError),  # such as no gzip after all, or a password
)
# What Kedro reads with; the one in C is faster, and takes "|#", which this one refuses.
_LOADER = yaml.SafeLoader


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


def check_conf_source(source: Path, names: Collection[str]) -> None:
    """Reads every configuration file of some environments, in a folder or an archive.

    Args:
        source: What ``--conf-source`` names.
        names: Environments, each a folder of its name.

    Raises:
        ConfigError: As `check_conf_folders`; or an archive is none, or holds too much.
    """
    if _kind(source) is None:
        check_conf_folders(source / name for name in names)
        return
    problems = Problems("The configuration cannot be read")
    try:
        for member, content in _members(source):
            # As Kedro packs them: conf/<environment>/<file>.
            if member.suffix in ENDINGS and member.parts[1:2] in [(n,) for n in names]:
                fault = _content_fault(content)
                if fault:
                    problems.add(f"{source}, {member}: {fault}")
    except NO_ARCHIVE as error:
        # Those of tarfile list below the first line what each way to read it says.
        reason = f"{str(error) or type(error).__name__}".splitlines()[0].rstrip(":")
        raise ConfigError(
            f"--conf-source {source} cannot be read as an archive: "
            f"{shorten(reason, 200)}. Name a folder, or the "
            "archive that `kedro package` writes."
        ) from error
    problems.raise_as(ConfigError)


def _kind(source: Path) -> str | None:
    """Whether Kedro takes a source for an archive, which it tells by the name."""
    kind = mimetypes.guess_type(str(source))[0] or ""
    return next((one for one in ("tar", "zip") if one in kind), None)


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files of an archive; nothing of one that is too large is unpacked."""
    left = MOST_BYTES
    unpacked = _of_tar if _kind(archive) == "tar" else _of_zip
    for name, size, content in unpacked(archive):
        left -= size
        if left < 0:
            raise ConfigError(
                f"--conf-source {archive} holds more than {MOST_BYTES:,} bytes. It may "
                "hold a configuration only: take out what is none."
            )
        yield PurePosixPath(name), content()


def _of_tar(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isfile():
                content = opened.extractfile(member)
                assert content is not None
                yield member.name, member.size, content.read


def _of_zip(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if not member.is_dir():
                # The reader stops where the member says that it ends.
                yield member.filename, member.file_size, partial(opened.read, member)


def _file_fault(path: Path) -> str:
    if path.exists() and not path.is_file():
        return "it is no file."
    try:
        return _content_fault(path.read_bytes())
    except OSError as error:
        return f"{error.strerror}."


def _content_fault(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
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
        return f"{where}{said}."
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
