"""Raw files -> typed tables, schema, data report and its figure."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.data_loading.nodes import load_tables, plot_data_report


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
            ),
            Node(
                plot_data_report,
                inputs="data_report",
                outputs="data_report_figure",
                name="plot_data_report",
            ),
        ],
        tags="load",
    )
