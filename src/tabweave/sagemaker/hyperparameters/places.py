"""Where each hyperparameter lives, or why only some of its values are accepted.

This is the one table: when a model or a training learns something new, its row changes
here, and reading, refusing, writing and the documentation follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SPECIFIED_MODELS = (
    "bert",
    "lstm",
    "cnn",
    "multimodal_bert",
    "multimodal_cnn",
    "multimodal_moe",
    "multimodal_gate_fusion",
    "multimodal_cross_attn",
    "trimodal_bert",
    "trimodal_gate_fusion",
    "trimodal_cross_attn",
)
"""Names that the specification knows; all are rows of models.ARCHITECTURES."""


@dataclass(frozen=True)
class Moved:
    """The value goes to the parameters as it is; it is read back from the first one."""

    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Computed:
    """The parameters follow from this value and others."""

    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Unused:
    """Every value is accepted, and nothing here depends on it."""

    why: str


@dataclass(frozen=True)
class Refused:
    """Only the accepted values pass, since they change nothing."""

    accepted: tuple[Any, ...]
    why: str


Place = Moved | Computed | Unused | Refused


def _to(*parameters: str) -> Moved:
    return Moved(parameters)


def _from(*parameters: str) -> Computed:
    return Computed(parameters)


_ARTIFACTS = (
    "give it as {file} in the folder model_artifacts_input and set the environment "
    "variable {variable} to true"
)

PLACES: dict[str, Place] = {
    # Data
    "id_name": _to("data.id"),
    "text_name": _from("data.text"),
    "primary_text_name": _from("data.text"),
    "secondary_text_name": _from("data.text"),
    "label_name": _to("data.label"),
    "full_field_list": Unused(
        "columns are found by name; each of these must be in the header of every file"
    ),
    "cat_field_list": _to("data.categorical"),
    "tab_field_list": _to("data.numeric"),
    "categorical_features_to_encode": Unused(
        "every column of cat_field_list is encoded; this must be a part of it"
    ),
    "train_filename": _to("data.train_filename"),
    "val_filename": _to("data.val_filename"),
    "test_filename": _to("data.test_filename"),
    # Model
    "model_class": _to("model.model_class"),
    "tokenizer": _to("text.encoder"),
    "num_classes": _from("data.num_classes"),
    "is_binary": _from("data.num_classes"),
    "multiclass_categories": _from("data.classes"),
    "hidden_common_dim": _to("model.hidden_common_dim", "model.lstm.hidden_size"),
    "input_tab_dim": Unused("it is counted; it must equal len(tab_field_list)"),
    # Text
    "max_sen_len": _to("text.max_sen_len"),
    "chunk_trancate": _to("text.chunk_truncate"),
    "max_total_chunks": _to("text.max_total_chunks"),
    "fixed_tokenizer_length": Unused(
        "batches are packed and hold no padding; the exported model takes any length"
    ),
    "text_input_ids_key": _to("export.text_input_ids_key"),
    "text_attention_mask_key": _to("export.text_attention_mask_key"),
    "text_processing_steps": _from("text.steps"),
    "primary_text_processing_steps": _from("text.fields"),
    "secondary_text_processing_steps": _from("text.fields"),
    # Table
    "smooth_factor": _to("tabular.smooth_factor"),
    "count_threshold": _to("tabular.count_threshold"),
    "imputation_dict": Refused(
        (None,),
        _ARTIFACTS.format(
            file="impute_dict.json", variable="USE_PRECOMPUTED_IMPUTATION"
        ),
    ),
    "risk_tables": Refused(
        (None,),
        _ARTIFACTS.format(
            file="risk_table_map.json", variable="USE_PRECOMPUTED_RISK_TABLES"
        ),
    ),
    # Training
    "batch_size": _to("training.batch_size"),
    "max_epochs": _to("training.max_epochs"),
    "lr": _to("training.lr", "training.head_lr"),
    "optimizer": _to("training.optimizer"),
    "momentum": _to("training.momentum"),
    "weight_decay": _to("training.weight_decay"),
    "adam_epsilon": _to("training.adam_epsilon"),
    "class_weights": _to("training.class_weights"),
    "dropout_keep": _to("model.dropout_keep"),
    "gradient_clip_val": _to("training.gradient_clip_val"),
    "lr_decay": _from("training.lr_decay"),
    "accumulate_grad_batches": _to("training.accumulate_grad_batches"),
    "use_gradient_checkpointing": _from("model.use_gradient_checkpointing"),
    # CNN and LSTM
    "kernel_size": _from("model.cnn.kernel_size"),
    "num_layers": _from("model.cnn.num_layers", "model.lstm.num_layers"),
    "num_channels": _from("model.cnn.num_channels"),
    # BERT
    "is_embeddings_trainable": _to("model.is_embeddings_trainable"),
    "reinit_pooler": Unused(
        "the vector of a text is the mean of its token states, and no hyperparameter "
        "chooses a pooler; true has a line of the run say so"
    ),
    "reinit_layers": _from("model.reinit_layers"),
    "warmup_steps": _to("training.warmup_steps"),
    "run_scheduler": _to("training.run_scheduler"),
    # Control
    "early_stop_metric": _to("training.early_stop_metric"),
    "early_stop_patience": _to("training.early_stop_patience"),
    "val_check_interval": _to("training.val_check_interval"),
    "metric_choices": _to("evaluation.metrics"),
    "load_ckpt": _from("training.resume"),
    "fp16": _from("training.precision"),
    "seed": _to("training.seed"),
}
