"""Writes the three files of a division as one folder, and never over a user's files."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from tabweave.errors import ArtifactError, Problems
from tabweave.schema import SPLITS
from tabweave.splitting.division import Division
from tabweave.storage.artifacts import (
    content_hash,
    read_json,
    replacing_folder,
    write_json,
)
from tabweave.tables.files import write_rows
from tabweave.tables.part_names import whole_name
from tabweave.tables.parted_tables import PartedTable, Source

MANIFEST = "split_manifest.json"


def write_division(folder: Path, division: Division) -> None:
    """Writes ``<folder>/{train,val,test}/<name>`` in the format of the source.

    The folder is replaced whole, so the three files always belong together. The manifest
    in it says what was written.

    Raises:
        ArtifactError: The folder holds files that are not an unchanged earlier split.
    """
    check_replaceable(folder)
    name, quoting = file_name(division.source), division.source.quoting
    with replacing_folder(folder) as part:
        hashes = {}
        for split in SPLITS:
            path = part / split / name
            batches = division.batches(split)
            first = next(batches)
            write_rows(path, chain([first], batches), first.schema, quoting)
            hashes[f"{split}/{name}"] = content_hash(path)
        write_json(part / MANIFEST, {"files": hashes})


def file_name(source: Source) -> str:
    """Name of the source, without what would hide it from the search for split files.

    Nor is it the name of one of many parts, or of a copy: the file is a whole table. What
    many files become has the name of their folder.

    Example:
        >>> from tabweave.tables.files import RawTable
        >>> file_name(RawTable(Path("_all.TSV"), "source"))
        'all.tsv'
    """
    named = source.folder if isinstance(source, PartedTable) else source.path
    stem = whole_name(named.stem.strip()).strip().lstrip("._") or "rows"
    return f"{stem}.{source.format}"


def check_replaceable(folder: Path) -> None:
    """Refuses a folder that holds anything but an earlier split, unchanged.

    Raises:
        ArtifactError: Lists the files that the split did not write, or not so.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(
            f"{folder} is a file, but split.output must be a folder. Name another one."
        )
    found = sorted(path for path in folder.rglob("*") if not path.is_dir())
    manifest = folder / MANIFEST
    written = read_json(manifest)["files"] if manifest.is_file() else {}
    problems = Problems(f"{folder} holds files that are not of an earlier split")
    for path in found:
        name = path.relative_to(folder).as_posix()
        if name not in {*written, MANIFEST}:
            problems.add(f"{name} was not written by the split")
        elif name in written and content_hash(path) != written[name]:
            problems.add(f"{name} was changed after the split wrote it")
    if problems:
        raise ArtifactError(
            f"{problems}\nNothing was written. Move them away, or name a new folder: "
            "--params=split.output=<folder>."
        )
