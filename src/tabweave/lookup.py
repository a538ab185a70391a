"""Finds the files of a table: one file, the parts in a folder, or what a pattern matches.

Names that begin with ``.`` or ``_``, such as ``_SUCCESS``, and checksums are passed over.
Anything else that looks like a table and is not read is noted, for a warning.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from tabweave.artifacts import combined_hash, content_hash
from tabweave.errors import MissingDataError, SchemaError, some_of
from tabweave.part_names import (
    KEY,
    check_complete,
    family,
    folder_keys,
    natural_order,
    original_of,
)
from tabweave.tables import FORMATS, format_of

CHECKSUMS = (".crc", ".md5", ".sha1", ".sha256")
ENDINGS = tuple(f".{ending}" for ending in FORMATS)


@dataclass(frozen=True)
class Found:
    """The files of one table, in the order of their rows.

    Attributes:
        path: What was named or found: a file, a folder, or a pattern.
        folder: Where the names of the files count from.
        files: The files, all of one format.
        unread: Files beside them that are not read, by name below `folder`.
    """

    path: Path
    folder: Path
    files: tuple[Path, ...]
    unread: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[PurePath, ...]:
        """The path of each file below the folder."""
        return tuple(file.relative_to(self.folder) for file in self.files)

    @property
    def is_file(self) -> bool:
        """Whether it is one file that was named or found as such."""
        return self.files == (self.path,)

    @property
    def content(self) -> str:
        """Hash of the files: of their names, too, unless it is one file."""
        return self.hashed(content_hash)

    def hashed(self, hash_of: Callable[[Path], str]) -> str:
        """As `content`, with another function for the hash of each file."""
        if self.is_file:
            return hash_of(self.path)
        pairs = zip(self.names, self.files, strict=True)
        return combined_hash((name.as_posix(), hash_of(file)) for name, file in pairs)


def find_first_data_file(folder: Path) -> Path:
    """The first file of a supported format in sorted order; markers are passed over.

    Raises:
        MissingDataError: The folder holds no such file.
    """
    folder = Path(folder)
    names = _tables(folder)
    if names:
        return folder / names[0]
    there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    raise MissingDataError(
        f"No supported data file (.tsv, .csv, .parquet) found in {folder}. It holds "
        f"{some_of(n for n in there if (folder / n).is_file()) or 'nothing'}."
    )


def find_split(data_dir: Path, split: str, filename: str | None = None) -> Found:
    """Finds the files of a split.

    A named file, folder or pattern wins; then ``<data_dir>/<split>/``, see
    `find_in_folder`; then exactly one ``<data_dir>/<split>.{tsv,csv,parquet}``, or the
    parts ``<data_dir>/<split>-NNNNN-of-NNNNN.<ending>``.

    Raises:
        MissingDataError: There is no such file; the message says where it was sought.
        SchemaError: Several files claim to be the split, or parts are not one table.
    """
    data_dir = Path(data_dir)
    if filename is not None:
        return _named(data_dir, split, filename)
    folder = data_dir / split
    beside = _beside(data_dir, split)
    try:
        found = find_in_folder(folder)
    except MissingDataError:
        if folder.is_dir() and not beside:
            raise
    else:
        others = tuple(f"../{name}" for name in beside)
        return Found(found.path, found.folder, found.files, (*found.unread, *others))
    if not beside:
        raise MissingDataError(
            f"No supported data file (.tsv, .csv, .parquet) found in {folder}, and "
            f"no {split}.tsv, {split}.csv or {split}.parquet in {data_dir}. Name the "
            "folder of your files (data_dir, or the option --data of the command)."
        )
    families = {family(name) or name for name in beside}
    if len(families) > 1:
        raise SchemaError(
            f"Several files claim to be the {split} split: {beside} in {data_dir}. Keep "
            f"one, or set data.{split}_filename."
        )
    pattern = f"{split}-*-of-*"
    copies = tuple(n for n in _tables(data_dir) if original_of(n) == split)
    return _family(data_dir, beside, data_dir / pattern, copies)


def _beside(data_dir: Path, split: str) -> list[str]:
    """Files of the data folder that are named as the split."""
    parts = re.compile(rf"{re.escape(split)} of \d+")
    return [
        name
        for name in _tables(data_dir)
        if name in {f"{split}{ending}" for ending in ENDINGS}
        or parts.fullmatch(family(name) or "")
    ]


def _named(data_dir: Path, split: str, filename: str) -> Found:
    parameter = f"data.{split}_filename"
    tried = [data_dir / split / filename, data_dir / filename]
    for path in tried:
        if path.is_file():
            _check_format(path, f"{parameter} names {filename!r}")
            return Found(path, path.parent, (path,))
    for path in tried:
        if path.is_dir():
            return find_in_folder(path)
    for path in tried if glob.has_magic(filename) else ():
        found = _matching(path)
        if found is not None:
            return found
    verb = "match anything" if glob.has_magic(filename) else "exists"
    raise MissingDataError(
        f"{parameter} names {filename!r}, but neither {tried[0]} nor {tried[1]} {verb}."
    )


def find_table(path: Path, parameter: str) -> Found:
    """The files that a user named by a file, a folder or a pattern.

    Args:
        path: What was named.
        parameter: Where it was named, for messages.

    Raises:
        MissingDataError: There is nothing of that name.
        SchemaError: The format is not known, or the files of a folder are not parts of
            one table; the message says how to name them.
    """
    path = Path(path)
    if path.is_file():
        _check_format(path, f"{parameter} names {str(path)!r}")
        return Found(path, path.parent, (path,))
    found = None
    if path.is_dir():
        found = find_in_folder(path)
        others = [name for name in found.unread if format_of(Path(name))]
        if others:
            raise SchemaError(
                f"{parameter} names the folder {path}, whose files are not parts of one "
                f"table by their names: {found.names[0]} and {some_of(others)}. Name "
                f"those that are meant by a pattern, such as '{path}/*"
                f"{found.files[0].suffix}', or name one file."
            )
        # What was named stays the name, also of the only file in it.
        found = Found(path, path, found.files, found.unread)
    elif glob.has_magic(str(path)):
        found = _matching(path)
    if found is None:
        raise MissingDataError(
            f"{parameter} names {path}, but there is no such file or folder. Relative "
            "paths count from the current folder, for kedro run from the project root."
        )
    return found


def find_in_folder(folder: Path) -> Found:
    """The table in a folder: the first file in sorted order, or all of its parts.

    Where the first file is named as a part, all files named so are read. Where there
    are only folders ``key=value``, all files in these are.

    Raises:
        MissingDataError: The folder holds no table.
        SchemaError: Parts are missing, or of several formats.
    """
    folder = Path(folder)
    keyed = [
        path.relative_to(folder)
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if _is_key_folder(path)
    ]
    if _tables(folder) or not keyed:
        first = find_first_data_file(folder)
        # A copy comes before its original in sorted order; it is a part of nothing.
        kind = family(original_of(first.name) or first.name)
        names = [n for n in _visible(folder) if kind and family(n) == kind]
        names = names or [first.name]
        others = tuple(
            name
            for name in _below(folder)
            if name not in names and (kind or _looks_like_table(name))
        )
        return _family(folder, names, folder, others)
    inside = [name for key in keyed for name in _in_key_folder(folder, key)]
    if not inside:
        raise MissingDataError(
            f"No supported data file (.tsv, .csv, .parquet) found in the folders "
            f"{some_of(map(str, keyed))} of {folder}."
        )
    read = {name.as_posix() for name in inside}
    others = tuple(name for name in _below(folder) if name not in read)
    return _set(folder, inside, folder, others)


def _family(
    folder: Path, names: list[str], path: Path, unread: tuple[str, ...]
) -> Found:
    """One file, or the parts of one table."""
    check_complete(folder, names)
    if len(names) == 1:
        return Found(folder / names[0], folder, (folder / names[0],), unread)
    return _set(folder, map(PurePath, names), path, unread)


def _set(
    folder: Path, names: Iterable[PurePath], path: Path, unread: tuple[str, ...]
) -> Found:
    """Files that are one table, in the order of their names.

    Raises:
        SchemaError: Their formats, or the keys of their folders, are not the same.
    """
    ordered = sorted(names, key=natural_order)
    formats: dict[str | None, PurePath] = {}
    for name in ordered:
        formats.setdefault(format_of(Path(name)), name)
    if len(formats) > 1 or None in formats:
        shown = ", ".join(
            f"{name} ({kind or 'not .tsv, .csv or .parquet'})"
            for kind, name in formats.items()
        )
        raise SchemaError(
            f"{path}: the parts of one table must have one format, but there are {shown}. "
            "Convert or unpack them, or move away those that are not meant."
        )
    first = [key for key, _ in folder_keys(ordered[0])]
    for name in ordered:
        keys = [key for key, _ in folder_keys(name)]
        if keys != first:
            raise SchemaError(
                f"{path}: the folders of one table must have the same keys, but "
                f"{ordered[0]} has {first or 'none'} and {name} has {keys or 'none'}."
            )
    return Found(path, folder, tuple(folder / name for name in ordered), unread)


def _matching(path: Path) -> Found | None:
    """What a pattern matches; a folder among it counts with the files in it."""
    base = Path(path.anchor)
    rest = [part for part in path.parts if part != path.anchor]
    while rest and (not glob.has_magic(rest[0]) or (base / rest[0]).is_dir()):
        base /= rest.pop(0)
    if ".." in rest:
        return None  # it would lead out of the folder that names count from
    pattern = str(PurePath(*rest))
    read: set[PurePath] = set()
    unread: set[str] = set()
    for text in glob.glob(pattern, root_dir=base, recursive=True):
        name = PurePath(text)
        if _is_hidden(name.name) and not rest[-1].startswith(("_", ".")):
            continue
        if (base / name).is_dir():
            read.update(_in_key_folder(base, name))
        elif format_of(Path(name)):
            read.add(name)
        elif _looks_like_table(text):
            unread.add(text)
    return _set(base, read, path, tuple(sorted(unread))) if read else None


def _check_format(path: Path, what: str) -> None:
    if format_of(path) is None:
        raise SchemaError(
            f"{what}, whose format is not known. Supported endings: .tsv, .csv, .parquet."
        )


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_")) or name.lower().endswith(CHECKSUMS)


def _is_key_folder(path: Path) -> bool:
    # Spark reads `_key=value`, too; only a leading dot hides such a folder.
    return (
        KEY.fullmatch(path.name) is not None
        and not path.name.startswith(".")
        and path.is_dir()
    )


def _visible(folder: Path) -> list[str]:
    """Names of the files of a folder, sorted, those that are hidden left out."""
    if not folder.is_dir():
        return []
    there = sorted(path.name for path in folder.iterdir() if path.is_file())
    return [name for name in there if not _is_hidden(name)]


def _tables(folder: Path) -> list[str]:
    return [name for name in _visible(folder) if format_of(Path(name))]


def _looks_like_table(name: str) -> bool:
    """Whether a name has the ending of a table somewhere, as ``x.csv.gz`` has."""
    return any(suffix.lower().strip() in ENDINGS for suffix in PurePath(name).suffixes)


def _in_key_folder(folder: Path, name: PurePath) -> Iterator[PurePath]:
    """All tables in a folder and in the folders ``key=value`` below it, copies aside."""
    folder_keys(name / "file")  # a key that comes again would be a circle of links
    for file in _visible(folder / name):
        if original_of(file) is None and _looks_like_table(file):
            yield name / file
    for path in sorted((folder / name).iterdir()):
        if _is_key_folder(path):
            yield from _in_key_folder(folder, name / path.name)


def _below(folder: Path) -> Iterator[str]:
    """All visible files of a folder; of the folders in it, those that look like tables."""
    yield from _visible(folder)
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and not _is_hidden(path.name):
            for name in _below(path):
                if _looks_like_table(name):
                    yield f"{path.name}/{name}"
