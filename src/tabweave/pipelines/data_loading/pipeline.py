"""Raw files -> typed tables, schema, data report."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.data_loading.nodes import load_tables


def create_pipeline() -> Pipeline:
    """The load stage."""
    return Pipeline(
        [
            Node(
                load_tables,
                inputs=["train.raw", "val.raw", "test.raw", "params:data"],
                outputs=[
                    "train.table",
                    "val.table",
                    "test.table",
                    "schema",
                    "data_report",
                ],
                name="load_tables",
            )
        ],
        tags="load",
    )
