"""A run holds what it writes, and what it reads of other runs, for as long as it lasts."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.session import KedroSession
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from tabweave.hooks.stages import artifact_path
from tabweave.running.run_locks import Claim, RunLocks, filling, reading, writing
from tabweave.storage.artifacts import Provenance
from tabweave.storage.processes import die_with_parent

ABOVE = 3
"""Folders above a file in which a run may have replaced it: ``<output>/<split>/<file>``."""


LOOK_S = 0.2
"""Seconds between two looks at whether a run has been interrupted."""


class _Run:
    """One run of this process, and the locks that it holds until it is over."""

    def __init__(self, locks: RunLocks, call: FrameType | None) -> None:
        self.locks = locks
        self._thread = threading.get_ident()
        self._call = call
        self._ended = threading.Event()
        if call is not None:
            threading.Thread(target=self._watch, daemon=True, name="locks").start()

    def is_of_this_thread(self) -> bool:
        return self._thread == threading.get_ident()

    def is_under_way(self) -> bool:
        """Whether the call of KedroSession.run goes on, whatever thread it is in."""
        call = self._call
        if call is None:
            return False
        try:
            call.clear()  # Python refuses this, and only this, while it goes on
        except RuntimeError:
            return True
        return False

    def end(self) -> None:
        self._ended.set()
        self._call = None
        self.locks.release()

    def _watch(self) -> None:
        # Kedro tells nobody of a KeyboardInterrupt, and a notebook lives on after it.
        while not self._ended.wait(LOOK_S):
            if not self.is_under_way():
                self.end()


class LockHooks:
    """Lets no second run write what this one writes or reads, or read what it writes."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []  # of this process, the latest last

    @hook_impl(wrapper=True)
    def before_pipeline_run(
        self, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> Generator[None, Any, Any]:
        """Takes the locks before anything is looked at.

        Raises:
            InUseError: Another run is at work on these files.
        """
        for run in [run for run in self._runs if run.is_of_this_thread()]:
            if not run.is_under_way():  # it was interrupted
                self._end(run)
        locks = RunLocks()
        locks.hold(_claims(pipeline, catalog))
        run = _Run(locks, _call_of_session())
        self._runs.append(run)
        try:
            return (yield)
        except BaseException:
            self._end(run)
            raise

    @hook_impl
    def before_node_run(self) -> None:
        """Lets a process of ParallelRunner end with its run: locks end there, too."""
        die_with_parent()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Lets go."""
        self.release()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Lets go."""
        self.release()

    def release(self) -> None:
        """Lets go of what the latest run of this thread holds."""
        for run in [run for run in self._runs if run.is_of_this_thread()][-1:]:
            self._end(run)

    def _end(self, run: _Run) -> None:
        self._runs.remove(run)
        run.end()


def _call_of_session() -> FrameType | None:
    """The call of KedroSession.run that the caller is part of."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not KedroSession.run.__code__:
        frame = frame.f_back
    return frame


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
