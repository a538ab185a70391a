"""Parameters -> demo files."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.fabrication.nodes import fabricate_splits


def create_pipeline() -> Pipeline:
    """The fabrication stage."""
    return Pipeline(
        [
            Node(
                fabricate_splits,
                inputs="params:fabricate",
                outputs=["train.demo", "val.demo", "test.demo"],
                name="fabricate_splits",
            )
        ],
        tags="fabricate",
    )
