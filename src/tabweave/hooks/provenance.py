"""Records of what artifacts were made from, written and checked around a run."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from tabweave import __version__
from tabweave.configuration.parameters import PARAMETER_TYPES
from tabweave.errors import ArtifactError, Problems
from tabweave.hooks.advice import rerun_command
from tabweave.hooks.selection import refuse_other_text_fields, refuse_versions
from tabweave.hooks.stages import (
    PARAMETER,
    STAGES,
    artifact_path,
    recorded,
    stage_of,
    table_files,
)
from tabweave.hooks.staleness import Hashes, StalenessCheck
from tabweave.storage.artifacts import STAGE_FORMATS, Provenance

logger = logging.getLogger(__name__)


@dataclass
class _Run:
    """The run that is under way."""

    params: dict[str, Any] = field(default_factory=dict)
    pipeline: Pipeline = field(default_factory=lambda: Pipeline([]))
    process: int = 0
    rewritten: bool = False
    """Whether an artifact has got another content than it had."""


class ProvenanceHooks:
    """Writes beside each artifact what it was made from, and refuses stale inputs."""

    def __init__(self) -> None:
        self.hashes = Hashes()
        self.inputs: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.catalog: CatalogProtocol | None = None
        self.run = _Run()

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Checks every persisted input of the run against what is there now.

        Whatever chose the nodes: what a skipped node has written is an input of the run.

        Raises:
            ArtifactError: An input is missing, changed or stale; the message says why and
                which stages to run again. Or nodes are to be left out because their
                outputs are merely there.
            ConfigError: A version is asked for of what has none, or a model that takes
                other text fields than the run makes.
        """
        refuse_versions(run_params.get("load_versions") or {}, catalog)
        refuse_other_text_fields(pipeline, catalog)
        self.run = _Run(run_params, pipeline, os.getpid())
        if run_params.get("only_missing_outputs"):
            raise ArtifactError(self._instead_of_only_missing(pipeline, catalog))
        check = self._checked(pipeline.inputs(), catalog)
        self._refuse(check)
        _warn_of(check.gone)

    def _checked(self, names: set[str], catalog: CatalogProtocol) -> StalenessCheck:
        given = self.run.params.get("runtime_params") or {}
        check = StalenessCheck(catalog, self.hashes, given)
        for name in sorted(names):
            check.visit(name)
        return check

    def _refuse(self, check: StalenessCheck) -> None:
        if not check.faults:
            return
        problems = _problems("Inputs of this run are missing or out of date", check)
        if not check.to_run:
            raise ArtifactError(str(problems))
        own = {stage_of(node) for node in self.run.pipeline.nodes}
        raise ArtifactError(f"{problems}\nRe-run: {self._again(check.to_run | own)}")

    def _again(self, stages: set[str]) -> str:
        return rerun_command([s for s in STAGES if s in stages], self.run.params)

    def _instead_of_only_missing(
        self, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> str:
        check = self._checked(pipeline.all_outputs(), catalog)
        title = (
            "--only-missing-outputs is refused: that a file is there does not mean that "
            "it is of these data and parameters"
        )
        if not check.faults:
            return f"{title}. Here all outputs are up to date: there is nothing to run."
        problems = _problems(f"{title}. Missing or out of date", check)
        return f"{problems}\nRun instead: {self._again(check.to_run)}"

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: CatalogProtocol, inputs: dict[str, Any]
    ) -> None:
        """Notes what the node reads.

        Raises:
            ArtifactError: The run itself has written something else than what an input,
                which it takes as it is, was made from.
        """
        self.catalog = catalog
        if self.run.rewritten or self.run.process != os.getpid():
            # Another process of the run may have written it.
            taken = self.run.pipeline.inputs() or set(node.inputs)
            self._refuse(self._checked(taken & set(node.inputs), catalog))
        hashed = {
            name: self.hashes.of_dataset(catalog, name)
            for name in node.inputs
            if not name.startswith(PARAMETER) and _is_recorded(catalog, name)
        }
        self.inputs[node.name] = (
            {name: content for name, content in hashed.items() if content is not None},
            {
                group: recorded(group, inputs[f"{PARAMETER}{group}"])
                for group in PARAMETER_TYPES
                if f"{PARAMETER}{group}" in node.inputs
            },
        )

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Writes the record beside the artifact."""
        assert self.catalog is not None
        path = artifact_path(self.catalog, dataset_name)
        if path is None or not path.exists():
            return
        inputs, parameters = self.inputs[node.name]
        content = self.hashes.of(path)
        self.run.rewritten |= _content_before(path) != content
        Provenance(
            dataset=dataset_name,
            stage=stage_of(node),
            format=STAGE_FORMATS.get(stage_of(node)),
            content=content,
            inputs=inputs,
            parameters=parameters,
            version=__version__,
        ).write(path)


def _content_before(path: Path) -> str | None:
    """What the record says that is about to be replaced; a damaged one says nothing."""
    try:
        before = Provenance.read(path)
    except ArtifactError:
        return None
    return None if before is None else before.content


def _problems(title: str, check: StalenessCheck) -> Problems:
    problems = Problems(title)
    for reason, names in check.faults.items():
        problems.add(f"{', '.join(names)}: {reason}")
    return problems


def _is_recorded(catalog: CatalogProtocol, name: str) -> bool:
    """Whether an input is a user's table, one file, or what a stage has written."""
    if table_files(catalog, name) is not None:
        return True
    path = artifact_path(catalog, name)
    return path is not None and (path.is_file() or Provenance.path_for(path).exists())


def _warn_of(gone: dict[str, str]) -> None:
    if gone:
        logger.warning(
            "%s: cannot be compared with what was made from them, which is used as it "
            "is: %s",
            ", ".join(gone),
            next(iter(gone.values())),
        )
