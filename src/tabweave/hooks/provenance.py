"""Records of what artifacts were made from, written and checked around a run."""

from __future__ import annotations

import logging
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from tabweave import __version__
from tabweave.artifacts import STAGE_FORMATS, Provenance
from tabweave.errors import ArtifactError, Problems
from tabweave.hooks.advice import rerun_command
from tabweave.hooks.stages import PARAMETER, STAGES, artifact_path, plain, stage_of
from tabweave.hooks.staleness import Hashes, StalenessCheck

logger = logging.getLogger(__name__)


class ProvenanceHooks:
    """Writes beside each artifact what it was made from, and refuses stale inputs."""

    def __init__(self) -> None:
        self.hashes = Hashes()
        self.inputs: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.catalog: CatalogProtocol | None = None

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Checks every persisted input of the run against what is there now.

        Raises:
            ArtifactError: An input is missing, changed or stale; the message says why and
                which stages to run again.
        """
        given = run_params.get("runtime_params") or {}
        check = StalenessCheck(catalog, self.hashes, given)
        for name in sorted(pipeline.inputs()):
            check.visit(name)
        if not check.faults:
            _warn_of(check.gone)
            return
        problems = Problems("Inputs of this run are missing or out of date")
        for reason, names in check.faults.items():
            problems.add(f"{', '.join(names)}: {reason}")
        if not check.to_run:
            raise ArtifactError(str(problems))
        again = check.to_run | {stage_of(node) for node in pipeline.nodes}
        stages = [stage for stage in STAGES if stage in again]
        raise ArtifactError(f"{problems}\nRe-run: {rerun_command(stages, run_params)}")

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: CatalogProtocol, inputs: dict[str, Any]
    ) -> None:
        """Notes what the node reads."""
        self.catalog = catalog
        persisted = {
            name: path
            for name in node.inputs
            if not name.startswith(PARAMETER)
            and (path := artifact_path(catalog, name)) is not None
            and path.is_file() | (Provenance.path_for(path).exists())
        }
        self.inputs[node.name] = (
            {name: self.hashes.of(path) for name, path in persisted.items()},
            {
                name.removeprefix(PARAMETER): plain(inputs[name])
                for name in node.inputs
                if name.startswith(PARAMETER)
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
        Provenance(
            dataset=dataset_name,
            stage=stage_of(node),
            format=STAGE_FORMATS.get(stage_of(node)),
            content=self.hashes.of(path),
            inputs=inputs,
            parameters=parameters,
            version=__version__,
        ).write(path)


def _warn_of(gone: dict[str, str]) -> None:
    if gone:
        logger.warning(
            "%s: cannot be compared with what was made from them, which is used as it "
            "is: %s",
            ", ".join(gone),
            next(iter(gone.values())),
        )
