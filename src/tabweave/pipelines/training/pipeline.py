"""Token ids and features -> model, history, its figure, checkpoints."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.training.nodes import plot_training, train_model


def create_pipeline() -> Pipeline:
    """The train stage."""
    return Pipeline(
        [
            Node(
                train_model,
                inputs=[
                    "train.tokens",
                    "val.tokens",
                    "train.features",
                    "val.features",
                    "schema",
                    "checkpoints",
                    "tensorboard_train",
                    "row_vectors",
                    "params:model",
                    "params:training",
                ],
                outputs=["model", "training_history"],
                name="train_model",
            ),
            Node(
                plot_training,
                inputs="training_history",
                outputs="training_history_figure",
                name="plot_training",
            ),
        ],
        tags="train",
    )
