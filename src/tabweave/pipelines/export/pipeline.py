"""Model -> model.onnx, parity report."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.export.nodes import export_onnx


def create_pipeline() -> Pipeline:
    """The export stage."""
    return Pipeline(
        [
            Node(
                export_onnx,
                inputs=["model", "val.tokens", "val.features", "params:export"],
                outputs=["onnx_model", "parity_report"],
                name="export_onnx",
            )
        ],
        tags="export",
    )
