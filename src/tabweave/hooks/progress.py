"""How far a run is, for whoever ends it: which stages are left, and has training begun."""

from __future__ import annotations

from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from tabweave.hooks.stages import STAGES, stage_of


class ProgressHooks:
    """Counts what is left to write.

    Attributes:
        stages: The stages of the run, in order.
        begun: The stages of which a node has begun.
    """

    def __init__(self) -> None:
        self.stages: tuple[str, ...] = ()
        self.begun: set[str] = set()
        self._waiting: dict[str, str] = {}

    @property
    def left(self) -> tuple[str, ...]:
        """The stages that are not done, in order."""
        left = set(self._waiting.values())
        return tuple(stage for stage in self.stages if stage in left)

    @property
    def training(self) -> bool:
        """Whether training has begun and is not done."""
        return "train" in self.begun and "train" in self.left

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Nothing is done yet."""
        nodes = pipeline.nodes
        self._waiting = {name: stage_of(n) for n in nodes for name in n.outputs}
        self.begun = set()
        self.stages = tuple(s for s in STAGES if s in self._waiting.values())

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """A stage may have begun."""
        self.begun.add(stage_of(node))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """One less to write."""
        self._waiting.pop(dataset_name, None)


PROGRESS = ProgressHooks()
"""That of this process."""
