"""The list of what a bundle holds, and what it was made with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tabweave.bundle.contents import (
    BUNDLE_FORMAT,
    MANIFEST,
    MAX_FILES,
    PARTS,
    PIPELINE,
    SAMPLE,
    look_alikes,
    name_fault,
    part_of,
)
from tabweave.errors import ArtifactError, Problems, shorten, some_of
from tabweave.storage.strict_json import parse_json


def not_whole(what: str) -> ArtifactError:
    """The error of a bundle that is not as it was made."""
    return ArtifactError(
        f"{what} Take the bundle again from where it was made.", stages=("export",)
    )


class _Entries(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileEntry(_Entries):
    """One file: its path in the bundle, its size in bytes and its hash."""

    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, path: str, content: bytes) -> FileEntry:
        """The entry of a file with this content."""
        digest = hashlib.sha256(content).hexdigest()
        return cls(path=path, size=len(content), sha256=digest)


class Manifest(_Entries):
    """Content of manifest.json.

    Attributes:
        format: Number of the format of the bundle.
        files: Every file but the manifest itself, sorted by path.
        versions: Library -> version that made the bundle; None where it was not there.
        parity: Figures of the comparison with PyTorch.
        pipeline_refused: Why there is no pipeline.onnx; None when there is one.
    """

    format: int
    files: Annotated[tuple[FileEntry, ...], Field(max_length=MAX_FILES)]
    versions: dict[str, str | None]
    parity: dict[str, Any]
    pipeline_refused: str | None

    @property
    def by_path(self) -> Mapping[str, FileEntry]:
        """Path -> entry."""
        return {entry.path: entry for entry in self.files}


def read_manifest(data: bytes) -> Manifest:
    """The manifest in the bytes of manifest.json.

    Raises:
        ArtifactError: It cannot be read, is of another format, or names files that no
            bundle of this format holds, or not all of them.
    """
    value = parse_json(data, MANIFEST)
    found = value.get("format") if isinstance(value, dict) else None
    if isinstance(found, int) and found != BUNDLE_FORMAT:
        raise ArtifactError(
            f"{MANIFEST} says format {found}, but this version of tabweave reads "
            f"{BUNDLE_FORMAT}. Use the version that made the bundle, or make it anew."
        )
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise not_whole(
            f"{MANIFEST} is not the manifest of a bundle: {some_of(faults, 5)}."
        ) from error
    _check_names(manifest)
    return manifest


def _check_names(manifest: Manifest) -> None:
    problems = Problems(f"{MANIFEST} names files that no bundle holds")
    paths = [entry.path for entry in manifest.files]
    for entry in manifest.files:
        part, fault = part_of(entry.path), name_fault(entry.path)
        if fault:
            problems.add(f"{shorten(entry.path)}: the path {fault}.")
        elif part is None:
            problems.add(f"{shorten(entry.path)}: a bundle has no such file.")
        elif entry.size > part.limit:
            problems.add(
                f"{entry.path}: {entry.size:,} bytes; at most {part.limit:,} are read."
            )
    for path in look_alikes(paths):
        problems.add(f"{shorten(path)}: another file has the same name or looks alike.")
    for path in _missing(paths):
        problems.add(f"{path}: is missing.")
    if (PIPELINE in paths) == (manifest.pipeline_refused is not None):
        problems.add(
            f"{PIPELINE}: must be there, or pipeline_refused must say why not."
        )
    if problems:
        raise not_whole(f"{problems}\n")


def _missing(paths: list[str]) -> list[str]:
    wanted = [path for path, part in PARTS.items() if part.required]
    if not {*paths}.isdisjoint(SAMPLE):
        wanted += SAMPLE  # they belong together
    return [path for path in wanted if path not in paths]
