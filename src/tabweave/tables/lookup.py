"""Finds the files of a table: one file, the parts in a folder, or what a pattern matches.

Anything that looks like a table and is not read is noted, for a warning; `folder_names`
says which names are passed over.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from tabweave.errors import MissingDataError, SchemaError, some_of
from tabweave.storage.artifacts import combined_hash, content_hash
from tabweave.tables.files import format_of
from tabweave.tables.folder_names import (
    ENDINGS,
    below,
    check_readable,
    in_key_folder,
    is_hidden,
    key_folders,
    looks_like_table,
    tables_of,
    visible,
)
from tabweave.tables.part_names import (
    KEY,
    Keys,
    check_complete,
    family,
    folder_keys,
    natural_order,
    original_of,
)


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
    names = tables_of(folder)
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
    beside, packed = _beside(data_dir, split)
    try:
        found = find_in_folder(folder)
    except MissingDataError:
        if folder.is_dir() and not beside:
            raise
    else:
        others = tuple(f"../{name}" for name in (*beside, *packed))
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
    copies = [n for n in tables_of(data_dir) if original_of(n) == split]
    inside = [f"{split}/{name}" for name in below(folder) if looks_like_table(name)]
    path = data_dir / f"{split}-*-of-*"
    return _family(data_dir, beside, path, (*copies, *packed, *inside))


def _beside(data_dir: Path, split: str) -> tuple[list[str], list[str]]:
    """Files of the data folder that are named as the split: tables, and packed ones."""
    parts = re.compile(rf"{re.escape(split)} of \d+")
    named: list[str] = []
    packed: list[str] = []
    for name in visible(data_dir):
        stem = name.partition(".")[0]
        is_part = parts.fullmatch(family(name) or "")
        if format_of(Path(name)):
            if is_part or name in {f"{split}{ending}" for ending in ENDINGS}:
                named.append(name)
        elif looks_like_table(name) and (is_part or split in {stem, original_of(stem)}):
            packed.append(name)
    return named, packed


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
    is_pattern = glob.has_magic(filename)
    verb = "match a file or a folder key=value" if is_pattern else "exists"
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
    keyed = [PurePath(path.name) for path in key_folders(folder)]
    if tables_of(folder) or not keyed:
        first = find_first_data_file(folder)
        # A copy comes before its original in sorted order; it is a part of nothing.
        kind = family(original_of(first.name) or first.name)
        names = [n for n in visible(folder) if kind and family(n) == kind]
        names = names or [first.name]
        read = {*names}
        others = tuple(
            name
            for name in below(folder)
            if name not in read and (kind or looks_like_table(name))
        )
        return _family(folder, names, folder, others)
    inside = [name for key in keyed for name in in_key_folder(folder, key)]
    if not inside:
        raise MissingDataError(
            f"No supported data file (.tsv, .csv, .parquet) found in the folders "
            f"{some_of(map(str, keyed))} of {folder}."
        )
    _check_shards(folder, inside)
    read = {name.as_posix() for name in inside}
    others = tuple(name for name in below(folder) if name not in read)
    return _set(folder, inside, folder, others)


def _check_shards(folder: Path, names: Iterable[PurePath]) -> None:
    """Refuses folders in which numbered parts are missing."""
    families: dict[tuple[PurePath, str], list[str]] = {}
    for name in names:
        if kind := family(name.name):
            families.setdefault((name.parent, kind), []).append(name.name)
    for (parent, _), found in families.items():
        check_complete(folder / parent, found)


def _family(
    folder: Path, names: list[str], path: Path, unread: tuple[str, ...]
) -> Found:
    """One file, or the parts of one table."""
    check_readable(folder, names)
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
    check_readable(folder, ordered)
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
    """What a pattern matches; a folder ``key=value`` counts with the files in it."""
    base = Path(path.anchor)
    rest = [part for part in path.parts if part != path.anchor]
    while rest and (not glob.has_magic(rest[0]) or (base / rest[0]).is_dir()):
        base /= rest.pop(0)
    if ".." in rest:
        return None  # it would lead out of the folder that names count from
    read: set[PurePath] = set()
    unread: set[str] = set()
    for name in _globbed(base, rest):
        there = base / name
        if there.is_dir() and not (looks_like_table(name.name) and family(name.name)):
            if KEY.fullmatch(name.name):
                inside = [*in_key_folder(base, name)]
                _check_shards(base, inside)
                read.update(inside)
            found = (file for file in below(there) if looks_like_table(file))
            unread.update((name / file).as_posix() for file in found)
        elif format_of(Path(name)):
            read.add(name)
        elif looks_like_table(name.name):
            unread.add(name.as_posix())
        elif KEY.fullmatch(name.name):
            check_readable(base, [name])  # a link to a folder that is not there
    read, doubled = _once(base, read)
    unread = unread - {name.as_posix() for name in read} | doubled
    return _set(base, read, path, tuple(sorted(unread))) if read else None


def _globbed(base: Path, pattern: list[str]) -> list[PurePath]:
    """What a pattern matches; hidden names only where it says so, as ``_*`` does."""
    texts = glob.glob(str(PurePath(*pattern)), root_dir=base, recursive=True)
    open_to = [part for part in pattern if part.startswith((".", "_"))]

    def is_passed_over(path: Path) -> bool:
        name = path.name
        return is_hidden(path) and not any(fnmatchcase(name, one) for one in open_to)

    return [
        name
        for name in map(PurePath, filter(None, texts))
        if not any(
            map(
                is_passed_over,
                (base / name, *(base / name).parents[: len(name.parts) - 1]),
            )
        )
    ]


def _once(base: Path, names: Iterable[PurePath]) -> tuple[set[PurePath], set[str]]:
    """Each file once, by its shortest name; and links to files that are read anyhow.

    Links between folders give a file many names. In folders of other keys its rows are
    others.
    """
    found: dict[tuple[Path, Keys], PurePath] = {}
    doubled: set[str] = set()
    for name in sorted(names, key=lambda name: (len(name.parts), name)):
        real = (base / name).resolve(), folder_keys(name)
        if found.setdefault(real, name) != name and (base / name).is_symlink():
            doubled.add(name.as_posix())
    return {*found.values()}, doubled


def _check_format(path: Path, what: str) -> None:
    if format_of(path) is None:
        raise SchemaError(
            f"{what}, whose format is not known. Supported endings: .tsv, .csv, .parquet."
        )
