"""Token ids and features -> model, history, checkpoints."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.training.nodes import train_model


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
                    "params:model",
                    "params:training",
                ],
                outputs=["model", "training_history"],
                name="train_model",
            )
        ],
        tags="train",
    )
