"""Model -> predictions, metrics, baselines, figures, TensorBoard."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.evaluation.nodes import (
    compute_metrics,
    fit_baselines,
    log_evaluation,
    plot_curves,
    predict_splits,
    score_rows,
)


def create_pipeline() -> Pipeline:
    """The evaluate stage."""
    predictions = ["val.predictions", "test.predictions"]
    return Pipeline(
        [
            Node(
                predict_splits,
                inputs=[
                    "model",
                    "val.tokens",
                    "test.tokens",
                    "val.features",
                    "test.features",
                    "checkpoints",
                    "params:evaluation",
                    "params:training",
                ],
                outputs=predictions,
                name="predict_splits",
            ),
            Node(
                score_rows,
                inputs=["val.raw", "test.raw", *predictions, "schema"],
                outputs=["val.scored", "test.scored"],
                name="score_rows",
            ),
            Node(
                fit_baselines,
                inputs=[
                    "train.table",
                    "val.table",
                    "test.table",
                    "train.features",
                    "val.features",
                    "test.features",
                    "selected_schema",
                    "params:evaluation",
                ],
                outputs=["val.baselines", "test.baselines", "baseline_report"],
                name="fit_baselines",
            ),
            Node(
                compute_metrics,
                inputs=[
                    *predictions,
                    "val.baselines",
                    "test.baselines",
                    "schema",
                    "params:evaluation",
                ],
                outputs=["metrics", "comprehensive_metrics"],
                name="compute_metrics",
            ),
            Node(
                plot_curves,
                inputs=[*predictions, "test.baselines", "schema"],
                outputs=["roc_curve", "pr_curve"],
                name="plot_curves",
            ),
            Node(
                log_evaluation,
                inputs=["metrics", *predictions, "test.baselines", "schema"],
                outputs="tensorboard_eval",
                name="log_evaluation",
            ),
        ],
        tags="evaluate",
    )
