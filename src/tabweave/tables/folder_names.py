"""What lies in a folder of tables: which names are seen, and which can be read.

Names that begin with ``.`` or ``_``, such as ``_SUCCESS``, and checksums are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from tabweave.errors import Problems, SchemaError
from tabweave.tables.files import FORMATS, format_of
from tabweave.tables.part_names import KEY, family, folder_keys, original_of

CHECKSUMS = (".crc", ".md5", ".sha1", ".sha256")
ENDINGS = tuple(f".{ending}" for ending in FORMATS)


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is passed over by its name."""
    name = path.name
    by_name = name.startswith((".", "_")) or name.lower().endswith(CHECKSUMS)
    return by_name and not _is_key_folder(path)


def _is_key_folder(path: Path) -> bool:
    # Spark reads `_key=value`, too; only a leading dot hides such a folder.
    return (
        KEY.fullmatch(path.name) is not None
        and not path.name.startswith(".")
        and path.is_dir()
    )


def key_folders(folder: Path) -> list[Path]:
    """The folders ``key=value`` in a folder, sorted.

    Raises:
        SchemaError: A link of such a name leads nowhere.
    """
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [p for p in there if KEY.fullmatch(p.name) and not p.name.startswith(".")]
    check_readable(folder, [path.name for path in named if not path.exists()])
    return [path for path in there if _is_key_folder(path)]


def visible(folder: Path) -> list[str]:
    """Names in a folder, sorted, without those that are hidden and without folders.

    Links that lead nowhere, pipes and the like count as well, and so do folders that are
    named as a part of a table: `check_readable` refuses them where they would be read.
    """
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if not is_hidden(path) and (not path.is_dir() or is_part_folder(path))
    )


def is_part_folder(path: Path) -> bool:
    """Whether a folder is named as a part of a table, which is a file."""
    name = path.name
    return looks_like_table(name) and family(name) is not None and path.is_dir()


def tables_of(folder: Path) -> list[str]:
    """Of the visible names those with the ending of a supported format."""
    return [name for name in visible(folder) if format_of(Path(name))]


def looks_like_table(name: str) -> bool:
    """Whether a name has the ending of a table somewhere, as ``x.csv.gz`` has."""
    return any(suffix.lower().strip() in ENDINGS for suffix in PurePath(name).suffixes)


def in_key_folder(folder: Path, name: PurePath) -> Iterator[PurePath]:
    """All tables in a folder and in the folders ``key=value`` below it, copies aside.

    Raises:
        SchemaError: A key comes again, or a link leads nowhere.
    """
    folder_keys(name / "file")  # a key that comes again would be a circle of links
    for file in visible(folder / name):
        if original_of(file) is None and looks_like_table(file):
            yield name / file
    for path in key_folders(folder / name):
        yield from in_key_folder(folder, name / path.name)


def below(folder: Path) -> Iterator[str]:
    """All visible files of a folder; of the folders in it, those that look like tables."""
    yield from visible(folder)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink() and not is_hidden(path):
            for name in below(path):
                if looks_like_table(name):
                    yield f"{path.name}/{name}"


def check_readable(folder: Path, names: Iterable[str | PurePath]) -> None:
    """Refuses names that are to be read and are no regular files.

    Raises:
        SchemaError: Lists them, and says what each of them is.
    """
    problems = Problems(f"{folder}: what is to be read as a table is no file")
    for name in names:
        path = folder / name
        if path.is_file():
            continue
        kind = "is a pipe, a socket or a device"
        if path.is_dir():
            kind = "is a folder"
        elif not path.exists():
            target = f" to {path.readlink()}" if path.is_symlink() else ""
            kind = f"is a link{target} that leads nowhere"
        problems.add(f"{name} {kind}.")
    if problems:
        raise SchemaError(
            f"{problems}\nPut the file or folder there that is meant, or remove the name."
        )
