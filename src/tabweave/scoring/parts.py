"""Predictions on the disk, window by window, so that a killed scoring can go on.

They lie in a folder beside the output: ``<output>.parts``. Its record says what they were
made from; parts of anything else are never used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabweave.errors import ArtifactError, ConfigError, some_of
from tabweave.running.run_locks import above, locked, writing
from tabweave.storage.artifacts import (
    differences,
    dump_json,
    naming_the_disk,
    read_json,
    replacing,
    write_json,
)

RECORD, CLAIMS = "record.json", "claims.json"
KEY = b"tabweave"


@dataclass(frozen=True)
class Parts:
    """The parts of one scoring.

    Attributes:
        folder: Where they lie.
        run: Hash of the record; each part holds it.
        before: Rows of the files before the one whose rows are counted here.
    """

    folder: Path
    run: str
    before: int = 0

    def after(self, rows: int) -> Parts:
        """The parts of a file that has so many rows of other files before it."""
        return replace(self, before=rows)

    def __contains__(self, first_row: int) -> bool:
        """Whether the window that begins at this row is there."""
        return self._path(first_row).exists()

    def write(self, first_row: int, predictions: pa.Table) -> None:
        """Saves the predictions of a window in one step.

        Args:
            first_row: Rows of the file before the window.
            predictions: One row per row; null where the row was rejected.
        """
        facts = json.dumps(self._facts(first_row, predictions.num_rows))
        table = predictions.replace_schema_metadata({KEY: facts})
        with (
            replacing(self._path(first_row)) as part,
            pa.OSFile(str(part), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)

    def read(self, first_row: int, rows: int) -> pa.Table:
        """The predictions of a window.

        Raises:
            ArtifactError: They are missing, damaged or those of other rows.
        """
        path = self._path(first_row)
        try:
            table = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
            facts = json.loads((table.schema.metadata or {})[KEY])
        except (
            *(OSError, pa.ArrowInvalid, ValueError, KeyError, RecursionError),
        ) as error:
            raise self._damaged(path) from error
        if facts != self._facts(first_row, rows) or table.num_rows != rows:
            raise self._damaged(path)
        return table.replace_schema_metadata(None)

    def claim(self, paths: Iterable[Path]) -> None:
        """Notes the files that are written next: a later run may write them again."""
        write_json(self.folder / CLAIMS, [str(path.resolve()) for path in paths])

    def _facts(self, first_row: int, rows: int) -> dict[str, Any]:
        return {"run": self.run, "first_row": self.before + first_row, "rows": rows}

    def _path(self, first_row: int) -> Path:
        return self.folder / f"row-{self.before + first_row:012d}.arrow"

    def _damaged(self, path: Path) -> ArtifactError:
        return ArtifactError(
            f"{path} is missing, damaged or of another scoring. Remove the folder "
            f"{self.folder} and score the file again."
        )


def parts_folder(output: Path) -> Path:
    """Where the parts of an output lie until it is written."""
    # A path such as "." has no name; `ScoringPaths.check` says so in our words.
    return output.parent / f"{output.name}.parts"


def claimed_paths(output: Path) -> set[Path]:
    """Files that a run which was interrupted at its very end may have written."""
    claims = parts_folder(output) / CLAIMS
    return {Path(name) for name in read_json(claims)} if claims.is_file() else set()


@contextmanager
def opened_parts(
    output: Path, record: Mapping[str, Any], *, overwrite: bool
) -> Iterator[Parts]:
    """The parts that belong to an output; they are removed when all went well.

    Args:
        output: The file that is being made.
        record: What decides the predictions: input, bundle, options, versions.
        overwrite: Whether parts of another scoring may be removed.

    Raises:
        ConfigError: There are parts of another scoring.
        InUseError: Another process writes the output, or a folder that it lies in.
        ArtifactError: The folder of the parts holds something else.
        WriteError: The folder cannot be made.
    """
    folder = parts_folder(output)
    with locked([writing(output), *above(output)]):
        with naming_the_disk(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(folder):
                folder.mkdir()
        if folder.is_symlink() or not folder.is_dir():
            raise _in_the_way(folder)
        _make_room(folder, record, overwrite=overwrite)
        yield Parts(folder, hashlib.sha256(dump_json(record).encode()).hexdigest())
        _clear(folder)
        shutil.rmtree(folder)


def _make_room(folder: Path, record: Mapping[str, Any], *, overwrite: bool) -> None:
    """Leaves only parts of this scoring in a folder that this process holds."""
    there = sorted(folder.iterdir())
    if not there:
        write_json(folder / RECORD, dict(record))
        return
    if not (folder / RECORD).is_file():
        raise _in_the_way(folder)
    changed = differences(read_json(folder / RECORD), dict(record), "scoring")
    if not changed:
        return
    if not overwrite:
        raise ConfigError(
            f"{folder} holds parts of another scoring: {some_of(changed, 5)}. "
            "Score with what they were made from to go on with it, or start anew "
            "with score.overwrite=true (tabweave score --overwrite)."
        )
    _clear(folder)
    write_json(folder / RECORD, dict(record))


def _clear(folder: Path) -> None:
    """Removes parts, then claims. The record stays: a kill leaves what it describes."""
    for path in (*folder.glob("row-*.arrow"), folder / CLAIMS):
        path.unlink(missing_ok=True)


def _in_the_way(folder: Path) -> ArtifactError:
    return ArtifactError(
        f"{folder} is in the way: it is not a folder of parts of a scoring. "
        "Rename it, or give another output."
    )
