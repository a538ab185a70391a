"""Writes a bundle whole: it appears complete and verified, or not at all."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tabweave
from tabweave.bundle.contents import (
    BUNDLE_FORMAT,
    MANIFEST,
    MODEL,
    PIPELINE,
    SAMPLE_ANSWERS,
    SAMPLE_CSV,
    SAMPLE_ROWS,
    name_fault,
    tokenizer_path,
)
from tabweave.bundle.manifest import FileEntry, Manifest
from tabweave.bundle.reading import open_bundle
from tabweave.bundle.sample import Sample
from tabweave.errors import ArtifactError
from tabweave.schema import DataSchema
from tabweave.storage.artifacts import dump_json, replacing_folder
from tabweave.tables.cells import CellRules

LIBRARIES = ("torch", "onnx", "onnxruntime", "tokenizers", "numpy")


def installed_versions() -> dict[str, str | None]:
    """Versions of what makes a bundle; None for a library that is not installed."""
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "tabweave": tabweave.__version__,
    }
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


@dataclass(frozen=True)
class BundleParts:
    """All that a bundle holds.

    Attributes:
        model: Bytes of model.onnx.
        pipeline: Bytes of pipeline.onnx, or why there is none: a sentence.
        tokenizers: Text field -> content of its tokenizer.json.
        imputer: The fitted imputation, as plain values.
        risk_tables: The fitted risk tables, as plain values.
        scaler: The fitted scaling, as plain values.
        impute_dict: The imputation in the interchange form.
        risk_table_map: The risk tables in the interchange form.
        schema: Roles of the columns and the classes.
        rules: How raw cells are read.
        metrics: Metrics of val and test.
        export_report: Figures of the export; the manifest holds them, too.
        sample: Raw rows with the answers, or None.
        card: A page for people, or None.
        quantized: File name (model.int8.onnx, pipeline.int8.onnx) -> its bytes; one
            without bytes is left out.
        versions: Library -> version.
    """

    model: bytes
    pipeline: bytes | str
    tokenizers: Mapping[str, str]
    imputer: Mapping[str, Any]
    risk_tables: Mapping[str, Any]
    scaler: Mapping[str, Any]
    impute_dict: Mapping[str, Any]
    risk_table_map: Mapping[str, Any]
    schema: DataSchema
    rules: CellRules
    metrics: Mapping[str, Any]
    export_report: Mapping[str, Any]
    sample: Sample | None
    card: str | None = None
    quantized: Mapping[str, bytes] = field(default_factory=dict)
    versions: Mapping[str, str | None] = field(default_factory=installed_versions)

    def files(self) -> dict[str, bytes]:
        """Path in the bundle -> content, the manifest aside."""
        quantized = {
            name: content for name, content in self.quantized.items() if content
        }
        found = {MODEL: self.model, **quantized}
        if isinstance(self.pipeline, bytes):
            found[PIPELINE] = self.pipeline
        for name, text in self.tokenizers.items():
            found[tokenizer_path(name)] = text.encode()
        if self.card is not None:
            found["card.md"] = self.card.encode()
        values: dict[str, Any] = {
            "imputer.json": self.imputer,
            "risk_tables.json": self.risk_tables,
            "scaler.json": self.scaler,
            "impute_dict.json": self.impute_dict,
            "risk_table_map.json": self.risk_table_map,
            "schema.json": self.schema.model_dump(mode="json"),
            "cell_rules.json": self.rules.model_dump(mode="json"),
            "metrics.json": self.metrics,
            "export_report.json": self.export_report,
        }
        if self.sample is not None:
            values[SAMPLE_ROWS] = [dict(row) for row in self.sample.rows]
            values[SAMPLE_ANSWERS] = self.sample.expected()
            found[SAMPLE_CSV] = self.sample.as_csv()
        return found | {path: _json(value) for path, value in values.items()}


def write_bundle(folder: Path, parts: BundleParts) -> Manifest:
    """Writes a bundle in place of the one that is there, if any.

    The new folder is opened and verified before it takes its name. Equal parts give equal
    bytes.

    Raises:
        ArtifactError: A part is one that `open_bundle` would refuse.
        WriteError: The disk is full or the folder cannot be written.
    """
    files = parts.files()
    for path in files:
        fault = name_fault(path)
        if fault:
            raise ArtifactError(
                f"{path!r} cannot be a file of a bundle: it {fault}. Give the text field "
                "another name under text.fields."
            )
    manifest = Manifest(
        format=BUNDLE_FORMAT,
        files=tuple(FileEntry.of(path, files[path]) for path in sorted(files)),
        versions=dict(parts.versions),
        parity=dict(parts.export_report),
        pipeline_refused=parts.pipeline if isinstance(parts.pipeline, str) else None,
    )
    with replacing_folder(Path(folder)) as part:
        for path, content in files.items():
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            (part / path).write_bytes(content)
        (part / MANIFEST).write_bytes(_json(manifest.model_dump(mode="json")))
        open_bundle(part)
    return manifest


def _json(value: Any) -> bytes:
    return f"{dump_json(value)}\n".encode()
