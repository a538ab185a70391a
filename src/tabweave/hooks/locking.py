"""A run holds what it writes, and what it reads of other runs, for as long as it lasts."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from tabweave.artifacts import Provenance
from tabweave.hooks.stages import artifact_path
from tabweave.processes import die_with_parent
from tabweave.run_locks import Claim, RunLocks, filling, reading, writing

ABOVE = 3
"""Folders above a file in which a run may have replaced it: ``<output>/<split>/<file>``."""


class LockHooks:
    """Lets no second run write what this one writes or reads, or read what it writes."""

    def __init__(self) -> None:
        self.locks = RunLocks()

    @hook_impl(wrapper=True)
    def before_pipeline_run(
        self, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> Generator[None, Any, Any]:
        """Takes the locks before anything is looked at.

        Raises:
            InUseError: Another run is at work on these files.
        """
        self.locks.release()  # a run of this process that was interrupted
        self.locks.hold(_claims(pipeline, catalog))
        try:
            return (yield)
        except BaseException:
            self.locks.release()
            raise

    @hook_impl
    def before_node_run(self) -> None:
        """Lets a process of ParallelRunner end with its run: locks end there, too."""
        die_with_parent()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Lets go."""
        self.locks.release()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Lets go."""
        self.locks.release()


def _claims(pipeline: Pipeline, catalog: CatalogProtocol) -> Iterator[Claim]:
    for name in sorted(pipeline.all_outputs()):
        path = artifact_path(catalog, name)
        if path is not None and not getattr(catalog.get(name), "locks_itself", False):
            yield writing(path)
    for name in sorted(pipeline.inputs()):
        path = artifact_path(catalog, name)
        if path is None:
            continue
        if getattr(catalog.get(name), "filled_by_nodes", False):
            yield filling(path)
        else:
            yield from _read(path)


def _read(path: Path) -> Iterator[Claim]:
    """What a run has written or writes has a record or a lock; a user's file has none."""
    places = (path, *list(path.parents)[: ABOVE - 1])
    for place in (place for place in places if place.name):
        claim = reading(place)
        # Not Path.exists: a user's name may be too long to have anything beside it.
        if any(map(os.path.exists, (claim.lock, Provenance.path_for(place)))):
            yield claim
