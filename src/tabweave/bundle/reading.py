"""Opens a bundle: everything is verified before anything is used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tabweave.bundle.contents import MANIFEST, MANIFEST_LIMIT, PIPELINE, part_of
from tabweave.bundle.folder import OpenFolder, opened_folder
from tabweave.bundle.manifest import FileEntry, Manifest, not_whole, read_manifest
from tabweave.bundle.onnx_scan import scan_onnx
from tabweave.errors import ArtifactError, Problems, shorten
from tabweave.schema import DataSchema
from tabweave.storage.strict_json import parse_json
from tabweave.tables.cells import CellRules

_Model = TypeVar("_Model", bound=BaseModel)
# Parsed to be verified like the others, but too large to be kept for nothing.
_NOT_KEPT = ("tokenizer/", "risk_table")


@dataclass(frozen=True)
class Bundle:
    """A bundle that is complete and unchanged, as it was when it was opened.

    Attributes:
        folder: Where it was found.
        identity: sha256 of its manifest, and so of all that it holds.
        manifest: What it holds and what it was made with.
        schema: Roles of the columns and the classes.
        rules: How raw cells are read.
        values: Path -> value of the JSON files that are of use to a caller.
        pipeline: Bytes of pipeline.onnx; None when the bundle has none.
    """

    folder: Path
    identity: str
    manifest: Manifest
    schema: DataSchema
    rules: CellRules
    values: Mapping[str, Any] = field(repr=False)
    pipeline: bytes | None = field(repr=False)

    def read(self, path: str) -> bytes:
        """A file of the bundle, verified again.

        Raises:
            ArtifactError: The bundle has no such file, or it has changed.
        """
        entry = self.manifest.by_path.get(path)
        if entry is None:
            raise ArtifactError(f"{self.folder} holds no {shorten(path)}.")
        with opened_folder(self.folder) as folder:
            return _verified(folder, entry)


def open_bundle(folder: Path) -> Bundle:
    """Reads a bundle and verifies every file of it; runs no code of it.

    Raises:
        ArtifactError: A file is missing, changed, unlisted, a link or no file at all,
            cannot be read within its bounds, or an ONNX file would reach outside
            itself; the message says which and what to do.
    """
    with opened_folder(Path(folder)) as opened:
        data = opened.read(MANIFEST, MANIFEST_LIMIT)
        manifest = read_manifest(data)
        _check_listing(opened, manifest)
        values: dict[str, Any] = {}
        pipeline = None
        for entry in manifest.files:
            content = _verified(opened, entry)
            value = _checked(content, f"{folder}/{entry.path}", entry.path)
            if value is not None and not entry.path.startswith(_NOT_KEPT):
                values[entry.path] = value
            if entry.path == PIPELINE:
                pipeline = content
    return Bundle(
        folder=Path(folder),
        identity=hashlib.sha256(data).hexdigest(),
        manifest=manifest,
        schema=_as_model(DataSchema, values, "schema.json", folder),
        rules=_as_model(CellRules, values, "cell_rules.json", folder),
        values=values,
        pipeline=pipeline,
    )


def _check_listing(folder: OpenFolder, manifest: Manifest) -> None:
    there, listed = folder.names() - {MANIFEST}, set(manifest.by_path)
    problems = Problems(f"{folder.path} is not the bundle that its manifest describes")
    for name in sorted(listed - there):
        problems.add(f"{shorten(name)}: is missing.")
    for name in sorted(there - listed):
        problems.add(f"{shorten(name)}: is not in the manifest; remove it.")
    if problems:
        raise not_whole(f"{problems}\n")


def _verified(folder: OpenFolder, entry: FileEntry) -> bytes:
    """The bytes of a file, if they are those of the manifest."""
    content = folder.read(entry.path, entry.size)
    if len(content) != entry.size:
        raise not_whole(
            f"{folder.path}/{entry.path} has {len(content):,} bytes, but the manifest "
            f"says {entry.size:,}."
        )
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise not_whole(
            f"{folder.path}/{entry.path} is damaged or was changed: its sha256 is not "
            f"the one in the manifest."
        )
    return content


def _checked(content: bytes, name: str, path: str) -> Any:
    """The value of a JSON file; None for others, which are looked through."""
    part = part_of(path)
    assert part is not None, "the manifest names only files that bundles hold"
    if part.kind == "json":
        return parse_json(content, name)
    if part.kind == "onnx":
        scan_onnx(content, name)
    else:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_whole(f"{name} is not UTF-8.") from error
    return None


def _as_model(
    kind: type[_Model], values: Mapping[str, Any], path: str, folder: Path
) -> _Model:
    try:
        return kind.model_validate(values[path])
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]
        )
        raise not_whole(f"{folder}/{path} cannot be read: {faults}.") from error
