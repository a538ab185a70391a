"""The specification's flat hyperparameters, each with its type, default and rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tabweave.errors import did_you_mean
from tabweave.evaluation.config import DECISIVE, is_decisive
from tabweave.models.config import ARCHITECTURES
from tabweave.sagemaker.hyperparameters.values import cast
from tabweave.schema import Parameters
from tabweave.statistics.classification import MetricName
from tabweave.text.config import Steps

DEFAULT_TOKENIZER = "bert-base-multilingual-cased"


class Hyperparameters(Parameters):
    """What ``hyperparameters.json`` holds; a name, a type and a default per key.

    Strings are read by the type of their key: ``"32"`` is a number for batch_size and
    text for id_name.
    """

    id_name: str
    """Column that names a row."""
    text_name: str | None = None
    """Column of the one text (bimodal)."""
    primary_text_name: str | None = None
    """Column of the first of two texts (trimodal)."""
    secondary_text_name: str | None = None
    """Column of the second of two texts (trimodal)."""
    label_name: str
    """Column to predict."""
    full_field_list: tuple[str, ...]
    """Columns that the files must have, in any order."""
    cat_field_list: tuple[str, ...]
    """Columns of categories."""
    tab_field_list: tuple[str, ...]
    """Columns of numbers."""
    categorical_features_to_encode: tuple[str, ...] | None = None
    """Columns of cat_field_list that are encoded; all of them are."""
    train_filename: str | None = None
    """File of the train split; found if left out."""
    val_filename: str | None = None
    """File of the val split."""
    test_filename: str | None = None
    """File of the test split."""

    model_class: str
    """Name of the architecture."""
    tokenizer: str = DEFAULT_TOKENIZER
    """Pretrained encoder and its tokenizer: a hub id, a local folder or scratch."""
    num_classes: int = Field(ge=2)
    """Number of classes."""
    is_binary: bool
    """Whether there are two classes, one of them positive."""
    multiclass_categories: tuple[int | str, ...] | None = None
    """Labels in the order of their class numbers."""
    hidden_common_dim: PositiveInt = 100
    """Width of the layer where text and table meet."""
    input_tab_dim: NonNegativeInt | None = None
    """Number of numeric columns; counted from tab_field_list."""

    max_sen_len: int = Field(512, ge=3)
    """Tokens per chunk, special tokens included."""
    chunk_trancate: bool = False
    """Whether a message longer than a chunk is cut (true) or continued (false)."""
    max_total_chunks: PositiveInt = 5
    """Chunks per row."""
    fixed_tokenizer_length: bool = True
    """Whether chunks are padded to one length."""
    text_input_ids_key: str = "input_ids"
    """Name of the token ids in the exported model."""
    text_attention_mask_key: str = "attention_mask"
    """Name of the mask in the exported model."""
    text_processing_steps: Steps | None = None
    """Steps of the one text."""
    primary_text_processing_steps: Steps | None = None
    """Steps of the first of two texts."""
    secondary_text_processing_steps: Steps | None = None
    """Steps of the second of two texts."""

    smooth_factor: NonNegativeFloat = 0.0
    """Rows of prior in a risk table, as a share of the rows of train."""
    count_threshold: NonNegativeInt = 0
    """Rows that a category needs in train for a risk of its own."""
    imputation_dict: dict[str, float] | None = None
    """Values for missing numbers, per column."""
    risk_tables: dict[str, Any] | None = None
    """Risk tables, per column."""

    batch_size: PositiveInt
    """Rows per step."""
    max_epochs: PositiveInt
    """Passes over the train split at most."""
    lr: PositiveFloat
    """Learning rate of all weights."""
    optimizer: Literal["SGD", "Adam", "AdamW"]
    """Kind of optimizer."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay."""
    adam_epsilon: PositiveFloat = 1e-8
    """Epsilon of Adam and AdamW."""
    class_weights: tuple[PositiveFloat, ...] | None = None
    """Weight of each class in the loss."""
    dropout_keep: float = Field(0.5, gt=0, le=1)
    """Probability of keeping a value."""
    gradient_clip_val: NonNegativeFloat = 1.0
    """Largest gradient norm; 0 does not clip."""
    lr_decay: float = Field(0.05, ge=0, lt=1)
    """Share of the learning rate that goes with each epoch without a scheduler."""
    accumulate_grad_batches: PositiveInt = 1
    """Batches per step of the optimizer."""
    use_gradient_checkpointing: bool = False
    """Whether activations are computed again to save memory."""

    kernel_size: tuple[PositiveInt, ...] = (3, 5, 7)
    """Widths of the convolutions."""
    num_layers: PositiveInt = 2
    """Layers of a CNN or LSTM."""
    num_channels: tuple[PositiveInt, ...] = (100, 100)
    """Channels of each convolution layer."""

    is_embeddings_trainable: bool = True
    """Whether the encoder is trained along."""
    reinit_pooler: bool = True
    """Whether the pooler starts from new weights."""
    reinit_layers: NonNegativeInt = 2
    """Last layers of the encoder that start from new weights."""
    warmup_steps: NonNegativeInt = 300
    """Steps of linear warm-up."""
    run_scheduler: bool = True
    """Whether the learning rate falls after the warm-up."""

    early_stop_metric: str = "val/f1_score"
    """Metric of val that picks the best checkpoint and stops training."""
    early_stop_patience: PositiveInt = 3
    """Epochs without a better value before training stops."""
    val_check_interval: PositiveFloat = 0.25
    """Validation every so much of an epoch (<= 1), or every so many batches (> 1)."""
    metric_choices: tuple[MetricName, ...] = ("auroc", "f1_score")
    """Metrics to compute."""
    load_ckpt: bool = False
    """Whether training goes on from the last checkpoint."""
    fp16: bool = False
    """Whether training uses mixed precision."""
    seed: NonNegativeInt = 42
    """Seed of initial weights, data order and dropout."""

    @field_validator("*", mode="before")
    @classmethod
    def _by_type(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        return cast(value, field.annotation)

    @model_validator(mode="after")
    def _rules(self) -> Self:
        found = [*_class_faults(self), *_text_faults(self), *_other_faults(self)]
        if found:
            raise ValueError("\n".join(found))
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns of text, the primary one first."""
        names = (self.text_name, self.primary_text_name, self.secondary_text_name)
        return tuple(name for name in names if name is not None)


def _class_faults(h: Hyperparameters) -> Iterator[str]:
    categories = h.multiclass_categories
    if h.is_binary and h.num_classes != 2:
        yield (
            f"For binary classification, num_classes must be 2, but it is "
            f"{h.num_classes}. Set num_classes to 2, or is_binary to false."
        )
    elif not h.is_binary and not categories:
        yield (
            "multiclass_categories required: is_binary is false, so list the labels in "
            "the order of their class numbers."
        )
    elif categories and len(categories) != h.num_classes:
        yield (
            f"num_classes={h.num_classes} does not match "
            f"len(multiclass_categories)={len(categories)}. num_classes must match "
            f"multiclass_categories length; the labels are {list(categories)}."
        )
    texts = [str(label) for label in categories or ()]
    repeated = sorted({label for label in texts if texts.count(label) > 1})
    if repeated:
        yield (
            f"multiclass_categories must contain unique values, but {repeated} repeat. "
            "Labels compare as text."
        )
    if h.class_weights is not None and len(h.class_weights) != h.num_classes:
        yield (
            f"class_weights must match num_classes: there are {len(h.class_weights)} "
            f"weights for {h.num_classes} classes."
        )


def _text_faults(h: Hyperparameters) -> Iterator[str]:
    pair = (h.primary_text_name, h.secondary_text_name)
    if h.text_name is not None and pair != (None, None):
        yield (
            "text_name excludes primary_text_name and secondary_text_name: give "
            "text_name for one text, or the other two for two texts."
        )
    elif h.text_name is None and None in pair and h.model_class != "tabular":
        yield (
            "text_name is missing: give text_name for one text, or both "
            "primary_text_name and secondary_text_name for two texts."
        )
    steps = {
        "text_name": h.text_processing_steps,
        "primary_text_name": h.primary_text_processing_steps,
        "secondary_text_name": h.secondary_text_processing_steps,
    }
    for name, its_steps in steps.items():
        if its_steps is not None and getattr(h, name) is None:
            key = name.replace("_name", "_processing_steps")
            yield f"{key} belongs to {name}, which is not set. Leave it out."


def _other_faults(h: Hyperparameters) -> Iterator[str]:
    for name in h.categorical_features_to_encode or ():
        if name not in h.cat_field_list:
            yield (
                f"categorical_features_to_encode names {name!r}, which is not in "
                f"cat_field_list {list(h.cat_field_list)}."
                f"{did_you_mean(name, h.cat_field_list)}"
            )
    if h.input_tab_dim is not None and h.input_tab_dim != len(h.tab_field_list):
        yield (
            f"input_tab_dim is {h.input_tab_dim}, but tab_field_list has "
            f"{len(h.tab_field_list)} columns. Leave it out: it is counted."
        )
    metric = h.early_stop_metric
    if not is_decisive(metric):
        yield (
            f"early_stop_metric is {metric!r}.{did_you_mean(metric, DECISIVE)} Allowed: "
            f"{', '.join(DECISIVE)}."
        )
    wanted = (
        ARCHITECTURES[h.model_class].fields if h.model_class in ARCHITECTURES else 0
    )
    if wanted and len(h.texts) != wanted:
        yield (
            f"model_class {h.model_class!r} takes {wanted} text field"
            f"{'s' if wanted > 1 else ''}, but {len(h.texts)} are named: "
            f"{list(h.texts)}."
        )
