"""One raw file -> train, val and test files, report."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.splitting.nodes import split_source


def create_pipeline() -> Pipeline:
    """The split stage."""
    return Pipeline(
        [
            Node(
                split_source,
                inputs=["source.raw", "params:split", "params:data"],
                outputs=["split_files", "split_report"],
                name="split_source",
            )
        ],
        tags="split",
    )
