"""Bundle, file of raw rows -> the same file with predictions."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.scoring.nodes import score_input


def create_pipeline() -> Pipeline:
    """The score stage."""
    return Pipeline(
        [
            Node(
                score_input,
                inputs=[
                    "score_bundle.raw",
                    "score_input.raw",
                    "score_output.raw",
                    "params:score",
                ],
                outputs="scored_file",
                name="score_input",
            )
        ],
        tags="score",
    )
