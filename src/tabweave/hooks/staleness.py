"""Whether the inputs of a run still are what they were made from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol

from tabweave.errors import MissingDataError
from tabweave.hooks.stages import (
    PARAMETER,
    STAGES,
    artifact_path,
    recorded,
    table_files,
)
from tabweave.schema import SPLITS
from tabweave.storage.artifacts import (
    STAGE_FORMATS,
    Provenance,
    content_hash,
    differences,
)


class Hashes:
    """Content hashes, computed once per state of a file."""

    def __init__(self) -> None:
        self.known: dict[tuple[tuple[str, int, int], ...], str] = {}

    def of(self, path: Path) -> str:
        """The hash of a file, or of a folder."""
        files = sorted(p for p in path.rglob("*") if p.is_file())
        key = tuple(_state(file) for file in (path, *files))
        if key not in self.known:
            self.known[key] = content_hash(path)
        return self.known[key]

    def of_dataset(self, catalog: CatalogProtocol, name: str) -> str | None:
        """The hash of what a catalog entry holds: all files of a user's table, or a path.

        None where there is nothing.
        """
        found = table_files(catalog, name)
        if found is not None:
            return found.hashed(self.of)
        path = artifact_path(catalog, name)
        return self.of(path) if path is not None and path.exists() else None


def _state(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path), found.st_mtime_ns, found.st_size


def _writers() -> dict[str, str]:
    """Catalog name of every artifact of a stage -> the stage that writes it."""
    from kedro.framework.project import pipelines

    return {
        name: stage
        for stage in STAGES
        if stage in pipelines
        for name in pipelines[stage].all_outputs()
    }


class StalenessCheck:
    """Compares the records of artifacts with what is on the disk and in the parameters."""

    def __init__(
        self, catalog: CatalogProtocol, hashes: Hashes, given: dict[str, Any]
    ) -> None:
        self.catalog, self.hashes, self.writers = catalog, hashes, _writers()
        self.given = given
        # The user's files that are not found -> where they were sought.
        self.gone: dict[str, str] = {}
        self.to_run: set[str] = set()
        # What is wrong -> the artifacts it is wrong with.
        self.faults: dict[str, list[str]] = {}
        self.stale: dict[str, bool] = {}

    def visit(self, name: str) -> bool:
        """Notes what is wrong with an artifact or with anything it was made from."""
        if name not in self.stale:
            self.stale[name] = False
            self.stale[name] = self._visit(name)
        return self.stale[name]

    def _visit(self, name: str) -> bool:
        stage = self.writers.get(name)
        path = artifact_path(self.catalog, name) if stage else None
        if stage is None or path is None:
            return False
        reasons = list(self._own_faults(name, path))
        for reason in reasons:
            self.faults.setdefault(f"{reason} (stage {stage})", []).append(name)
        record = Provenance.read(path) if path.exists() else None
        upstream = [self.visit(source) for source in record.inputs] if record else []
        if reasons or any(upstream):
            self.to_run.add(stage)
            return True
        return False

    def _look_for(self, name: str) -> None:
        """Notes a raw file that is gone; one that is named for this run must be there."""
        split = name.removesuffix(".raw")
        if split == name or split not in SPLITS:
            return
        try:
            getattr(self.catalog.get(name), "path", None)
        except MissingDataError as error:
            filenames = self.given.get("data") or {}
            if "data_dir" in self.given or f"{split}_filename" in filenames:
                self.faults[str(error)] = [name]
            else:
                self.gone[name] = str(error)

    def _own_faults(self, name: str, path: Path) -> Iterator[str]:
        if not path.exists():
            optional = getattr(self.catalog.get(name), "may_be_absent", False)
            # What was written and is gone has left its record.
            if not optional or Provenance.path_for(path).exists():
                yield f"{path} does not exist"
            return
        record = Provenance.read(path)
        if record is None or record.dataset != name:
            yield f"{path} has no record of what it was made from"
            return
        stage = self.writers[name]
        if record.format != STAGE_FORMATS[stage]:
            yield (
                f"made by another version of the stage {stage} "
                f"({record.format or 'unknown'}, now {STAGE_FORMATS[stage]})"
            )
        if record.content != self.hashes.of(path):
            yield f"{path} was changed after it was written"
        for group, then in record.parameters.items():
            values = self.catalog.load(f"{PARAMETER}{group}")
            for line in differences(then, recorded(group, values), group):
                yield f"made with other parameters, {line}"
        for source, then in record.inputs.items():
            self._look_for(source)
            now = artifact_path(self.catalog, source)
            content = self.hashes.of_dataset(self.catalog, source)
            if content not in (None, then):
                yield f"made from another {source} than {now} is now"
