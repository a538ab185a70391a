"""Turns what earlier stages left into the plan of one training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabweave.batches import Rows
from tabweave.errors import TrainingError
from tabweave.models.config import ModelConfig, ModelSpec
from tabweave.models.registry import TextInput, choose_fields, describe_model
from tabweave.tables import ArrowFile
from tabweave.text.processing import TokenInfo
from tabweave.training.config import TrainingConfig
from tabweave.training.module import Metric


@dataclass(frozen=True)
class TrainingPlan:
    """All that one training run needs; files cross process borders as paths.

    Attributes:
        spec: Description of the model.
        encoders: Per text field where its weights come from ("scratch" for nowhere).
        config: How to train.
        train: Rows of the train split.
        val: Rows of the val split.
        metric: Probabilities and labels -> named values.
        checkpoints: Folder of the checkpoints.
        log_folder: Folder of the TensorBoard events.
    """

    spec: ModelSpec
    encoders: Sequence[str]
    config: TrainingConfig
    train: Rows
    val: Rows
    metric: Metric
    checkpoints: Path
    log_folder: Path


def text_inputs(tokens: ArrowFile) -> list[TextInput]:
    """The text fields of a token table, with what a model must know of each."""
    table = tokens.open()
    found = [(name, TokenInfo.read(table.schema, name)) for name in table.column_names]
    return [
        TextInput(
            name=name,
            encoder=info.encoder,
            vocabulary_size=info.vocabulary_size,
            pad_id=info.pad_id,
            max_sen_len=info.max_sen_len,
            max_total_chunks=info.max_total_chunks,
        )
        for name, info in found
    ]


def make_plan(
    *,
    tokens: tuple[ArrowFile, ArrowFile],
    features: tuple[ArrowFile, ArrowFile],
    classes: Sequence[str],
    model: ModelConfig,
    training: TrainingConfig,
    metric: Metric,
    checkpoints: Path,
    log_folder: Path,
) -> TrainingPlan:
    """The plan for train and val files, given in that order.

    Raises:
        ConfigError: The architecture does not fit the text fields or the encoder.
        TrainingError: The features of train and val are not the same.
    """
    fields = choose_fields(model, text_inputs(tokens[0]))
    names = [field.name for field in fields]
    train, val = (
        Rows(text, table, names) for text, table in zip(tokens, features, strict=True)
    )
    if train.feature_names != val.feature_names:
        raise TrainingError(
            f"train has the features {train.feature_names}, but val has "
            f"{val.feature_names}. Re-run: kedro run --pipelines=tabular,train"
        )
    return TrainingPlan(
        spec=describe_model(model, fields, train.feature_names, classes),
        encoders=[field.encoder for field in fields],
        config=training,
        train=train,
        val=val,
        metric=metric,
        checkpoints=checkpoints,
        log_folder=log_folder,
    )
