"""Nodes of the training stage.

A model is annotated as Any: Kedro resolves the annotations when it reads the parameters,
and the class would bring torch along.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tabweave.evaluation.config import validation_metrics
from tabweave.models.config import ModelConfig
from tabweave.schema import DataSchema, typed
from tabweave.tables.files import ArrowFile
from tabweave.training.config import TrainingConfig
from tabweave.training.measures.figure import training_figure


@typed
def train_model(
    train_tokens: ArrowFile,
    val_tokens: ArrowFile,
    train_features: ArrowFile,
    val_features: ArrowFile,
    schema: DataSchema,
    checkpoints: Path,
    tensorboard_train: Path,
    row_vectors: Path,
    model: ModelConfig,
    training: TrainingConfig,
) -> tuple[Any, dict[str, Any]]:
    """The model of the best checkpoint, and the history of the run."""
    from tabweave.evaluation.metrics import compute_metrics
    from tabweave.training.engine import train_model as train
    from tabweave.training.measures.torch_metrics import logged
    from tabweave.training.plan import make_plan

    plan = make_plan(
        tokens=(train_tokens, val_tokens),
        features=(train_features, val_features),
        classes=schema.classes,
        model=model,
        training=training,
        metric=partial(
            compute_metrics,
            classes=schema.classes,
            positive_index=schema.positive_index,
            stage="val",
            values_of=logged,
        ),
        checkpoints=checkpoints,
        log_folder=tensorboard_train,
        vectors=row_vectors,
        metric_names=validation_metrics(schema.classes),
    )
    trained = train(plan)
    return trained.model, trained.history


def plot_training(training_history: dict[str, Any]) -> Any:
    """Loss, metrics, speed, seconds and memory on one page."""
    return training_figure(training_history)
