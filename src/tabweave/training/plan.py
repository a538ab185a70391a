"""Turns what earlier stages left into the plan of one training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabweave.batching.batches import Rows
from tabweave.errors import (
    ArtifactError,
    ConfigError,
    TrainingError,
    did_you_mean,
    some_of,
)
from tabweave.models.config import ModelConfig, ModelSpec
from tabweave.models.registry import TextInput, choose_fields, describe_model
from tabweave.models.tabular_encoder import quantile_edges
from tabweave.preparation.features import NUMBER
from tabweave.tables.files import ArrowFile
from tabweave.text.config import SCRATCH
from tabweave.text.encoder_files import encoder_digest, tokenizer_digest
from tabweave.text.processing import TokenInfo
from tabweave.text.tokenization import load_tokenizer_json
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
        vectors: Folder of the row vectors of frozen encoders.
        identity: What the training is; it is kept in every checkpoint.
        resume: The checkpoint to go on from, or None.
    """

    spec: ModelSpec
    encoders: Sequence[str]
    config: TrainingConfig
    train: Rows
    val: Rows
    metric: Metric
    checkpoints: Path
    log_folder: Path
    vectors: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    resume: Path | None = None

    @property
    def rank_logs(self) -> Path:
        """Folder of the log files of several processes."""
        return self.checkpoints.parent / "rank_logs"


def _infos(tokens: ArrowFile) -> dict[str, TokenInfo]:
    table = tokens.open()
    return {name: TokenInfo.read(table.schema, name) for name in table.column_names}


def check_encoder(name: str, info: TokenInfo) -> None:
    """Refuses an encoder that is no longer the one whose tokens were made.

    Raises:
        ArtifactError: Its tokenizer, configuration or weights differ, or are gone.
    """
    if info.encoder == SCRATCH:
        return
    about = f"Text field {name!r}: the encoder {info.encoder}"
    again, stages = "Put back what was there.", ("text", "train")
    weights = encoder_digest(info.encoder)
    if info.encoder_digest is not None and weights is None:
        raise ArtifactError(
            f"{about} is gone since the text stage ran. {again}", stages=stages
        )
    try:
        tokenizer = tokenizer_digest(load_tokenizer_json(info.encoder))
    except ConfigError as error:
        raise ArtifactError(
            f"{about} lost its tokenizer: {error.message} {again}", stages=stages
        ) from error
    if tokenizer != info.tokenizer_digest:
        changed = "tokenizer.json is not the one that made the tokens"
    elif weights != info.encoder_digest:
        changed = "config.json or the weights have changed since the text stage ran"
    else:
        return
    raise ArtifactError(f"{about}: {changed}. {again}", stages=stages)


def text_inputs(tokens: ArrowFile) -> list[TextInput]:
    """The text fields of a token table, with what a model must know of each."""
    return [
        TextInput(
            name=name,
            encoder=info.encoder,
            vocabulary_size=info.vocabulary_size,
            pad_id=info.pad_id,
            max_sen_len=info.max_sen_len,
            max_total_chunks=info.max_total_chunks,
        )
        for name, info in _infos(tokens).items()
    ]


def _bins(model: ModelConfig, train: Rows) -> list[list[float]]:
    """Edges of the bins of a piecewise embedding, at the quantiles of train."""
    numeric = [name for name in train.feature_names if name.startswith(NUMBER)]
    if model.numeric_embedding.kind != "piecewise" or not model.architecture.table:
        return []
    return quantile_edges(train.features(numeric), model.numeric_embedding.bins)


def check_decisive_metric(metric: str, names: Sequence[str]) -> None:
    """Refuses a metric that no validation gives, before anything is trained.

    Raises:
        ConfigError: Lists the metrics there are.
    """
    if metric not in names:
        raise ConfigError(
            f"training.early_stop_metric is {metric!r}, but no metric is called so."
            f"{did_you_mean(metric, names)} Known: {some_of(names, 30)}."
        )


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
    vectors: Path | None = None,
    metric_names: Sequence[str] | None = None,
) -> TrainingPlan:
    """The plan for train and val files, given in that order.

    The names that `metric` gives may be told, to check the one that decides by them. The
    row vectors of frozen encoders lie beside the checkpoints unless a folder is given.

    Raises:
        ArtifactError: An encoder is no longer the one whose tokens were made.
        ConfigError: The architecture does not fit the text fields or the encoder, or the
            metric that decides is unknown.
        TrainingError: The features of train and val are not the same.
    """
    if metric_names is not None:
        check_decisive_metric(training.early_stop_metric, metric_names)
    fields = choose_fields(model, text_inputs(tokens[0]))
    names = [field.name for field in fields]
    for name in names:
        check_encoder(name, _infos(tokens[0])[name])
    train, val = (
        Rows(text, table, names) for text, table in zip(tokens, features, strict=True)
    )
    if train.feature_names != val.feature_names:
        raise TrainingError(
            f"train has the features {train.feature_names}, but val has "
            f"{val.feature_names}.",
            stages=("tabular", "train"),
        )
    return TrainingPlan(
        spec=describe_model(
            model, fields, train.feature_names, classes, _bins(model, train)
        ),
        encoders=[field.encoder for field in fields],
        config=training,
        train=train,
        val=val,
        metric=metric,
        checkpoints=checkpoints,
        log_folder=log_folder,
        vectors=vectors or checkpoints.parent / "row_vectors",
    )
