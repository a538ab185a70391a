"""Stages of the project, and where their artifacts lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node

from tabweave.configuration.parameters import PARAMETER_TYPES
from tabweave.errors import MissingDataError
from tabweave.storage.artifacts import STAGE_FORMATS
from tabweave.tables.lookup import Found

STAGES = tuple(STAGE_FORMATS)
PARAMETER = "params:"


def stage_of(node: Node) -> str:
    """The stage that a node belongs to, by its tag."""
    return next((stage for stage in STAGES if stage in node.tags), node.short_name)


def artifact_path(catalog: CatalogProtocol, name: str) -> Path | None:
    """Where a dataset lies on the disk, or None when it is not one of our files."""
    dataset = catalog.get(name)
    try:
        path = getattr(dataset, "path", None)
    except MissingDataError:
        # A user's file; the staleness check says what it means that it is not there.
        return None
    return path if isinstance(path, Path) else None


def table_files(catalog: CatalogProtocol, name: str) -> Found | None:
    """The files of a user's table; None for our own files and where there are none."""
    try:
        found = getattr(catalog.get(name), "found", None)
    except MissingDataError:
        return None
    return found if isinstance(found, Found) else None


def recorded(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter group as a record keeps it: defaults filled in."""
    return PARAMETER_TYPES[group].model_validate(values).recorded()
