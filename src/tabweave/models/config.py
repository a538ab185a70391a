"""What a model is made of: the user's choices, and the full description of a built one.

This module needs no torch: parameters are checked before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from tabweave.errors import ConfigError, did_you_mean, readable, shorten
from tabweave.models.parts import FusionKind, TextKind
from tabweave.schema import Parameters, contradiction

CUSTOM = "custom"


@dataclass(frozen=True)
class Architecture:
    """One named combination of parts.

    Attributes:
        text: Kind of text encoder, a name of `parts.TEXT_ENCODERS`, or "none".
        fusion: How text and table meet; "none" when there is only one of them.
        fields: Text fields it takes; None for any number of at least one.
        table: Whether the feature table is used.
        use: When to choose it, in one sentence.
    """

    text: str
    fusion: str
    fields: int | None
    table: bool
    use: str


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture("bert", "none", 1, False, "Text alone, one field."),
    "lstm": Architecture(
        "lstm", "none", 1, False, "Text alone, read in order: a two-way LSTM."
    ),
    "cnn": Architecture(
        "cnn", "none", 1, False, "Text alone, fewest weights: convolutions."
    ),
    "multimodal_bert": Architecture(
        "bert", "concat", 1, True, "One text field and a table; the default."
    ),
    "multimodal_cnn": Architecture(
        "cnn", "concat", 1, True, "One text field and a table with few weights."
    ),
    "multimodal_moe": Architecture(
        "bert",
        "moe",
        1,
        True,
        "Rows of several kinds, each wanting another mixture of text and table.",
    ),
    "multimodal_gate_fusion": Architecture(
        "bert", "gate", 1, True, "Either text or table may be the one to trust."
    ),
    "multimodal_cross_attn": Architecture(
        "bert",
        "cross_attention",
        1,
        True,
        "Single words matter in the light of single columns.",
    ),
    "trimodal_bert": Architecture(
        "bert",
        "concat",
        2,
        True,
        "Two text fields, each with its encoder, and a table.",
    ),
    "trimodal_gate_fusion": Architecture(
        "bert", "gate", 2, True, "Two text fields and a table, weighed per row."
    ),
    "trimodal_cross_attn": Architecture(
        "bert",
        "cross_attention",
        2,
        True,
        "Two text fields whose words and the table's columns read each other.",
    ),
    "tabular": Architecture("none", "none", 0, True, "The table alone: a baseline."),
    CUSTOM: Architecture(
        "bert",
        "concat",
        None,
        True,
        "Any number of text fields, with model.text_encoder and model.fusion.",
    ),
}


class ScratchConfig(Parameters):
    """Size of the small BERT that is trained from nothing (``text.encoder: scratch``)."""

    hidden_size: PositiveInt = 128
    """Width of the token states."""
    num_layers: PositiveInt = 2
    """Transformer layers."""
    num_heads: PositiveInt = 4
    """Attention heads; must divide hidden_size."""
    intermediate_size: PositiveInt = 512
    """Width of the feed-forward part."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise contradiction(
                f"num_heads {self.num_heads} must divide hidden_size {self.hidden_size}",
                "num_heads",
                "hidden_size",
            )
        return self


class CnnConfig(Parameters):
    """Sizes of the convolutional text encoder."""

    kernel_size: tuple[PositiveInt, ...] = Field((3, 5, 7), min_length=1)
    """Widths of the windows in tokens; each has its own stack of layers."""
    num_layers: PositiveInt = 2
    """Convolutions in each stack."""
    num_channels: tuple[PositiveInt, ...] = (100, 100)
    """Output channels of each layer; num_layers of them."""

    @model_validator(mode="after")
    def _channels_of_every_layer(self) -> Self:
        if len(self.num_channels) != self.num_layers:
            raise contradiction(
                f"num_channels {shorten(list(self.num_channels))} must have one number "
                f"for each of the num_layers {self.num_layers} layers",
                "num_channels",
                "num_layers",
            )
        return self


class LstmConfig(Parameters):
    """Sizes of the two-way LSTM text encoder."""

    num_layers: PositiveInt = 2
    """Layers of each direction."""
    hidden_size: PositiveInt = 128
    """Width of each direction; the text vector is twice as wide."""


class LoraConfig(Parameters):
    """Low-rank adapters of the text encoder (``encoder_training: lora``)."""

    rank: PositiveInt = 8
    """Rank of the trained matrices."""
    alpha: PositiveInt = 16
    """Scale: an adapter counts alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before an adapter."""


class MixtureConfig(Parameters):
    """Mixture of experts (architecture ``multimodal_moe``)."""

    num_experts: PositiveInt = 4
    """Expert networks."""
    balance_weight: NonNegativeFloat = 0.01
    """Weight of the loss that asks the router to use all experts."""


class NumericEmbeddingConfig(Parameters):
    """How numeric features enter the table's encoder."""

    # Chosen by runs: piecewise was ahead on all of four tables, by 0.001 to 0.011.
    kind: Literal["linear", "piecewise", "periodic"] = "piecewise"
    """linear takes scaled values; piecewise and periodic embed each one as well."""
    bins: int = Field(16, ge=2)
    """Bins of a piecewise-linear embedding, at the quantiles of train."""
    frequencies: PositiveInt = 8
    """Frequencies of a periodic embedding."""
    sigma: PositiveFloat = 0.1
    """Spread of the first frequencies of a periodic embedding."""


class ModelConfig(Parameters):
    """Parameter group ``model``: the architecture and its sizes."""

    model_class: str = "multimodal_bert"
    """Name of the architecture."""
    text_encoder: TextKind | None = None
    """Kind of text encoder of model_class custom; None takes bert."""
    fusion: FusionKind | None = None
    """How text and table meet in model_class custom; None takes concat."""
    hidden_common_dim: PositiveInt = 128
    """Width of the table's vector and of the layer where text and table meet."""
    dropout_keep: float = Field(0.9, gt=0, le=1)
    """Probability of keeping a value in the head; dropout is 1 - dropout_keep."""
    pooling: Literal["mean", "cls", "pooler"] = "mean"
    """How a transformer's token states become the vector of a chunk; pooler is a dense
    layer on [CLS], pretrained where the encoder has one."""
    encoder_training: Literal["full", "last_k", "frozen", "lora"] = "full"
    """What of a pretrained text encoder is trained along."""
    last_k: PositiveInt = 2
    """Layers trained under encoder_training last_k."""
    is_embeddings_trainable: bool = True
    """Whether token embeddings are trained along."""
    reinit_pooler: bool = False
    """Starts the pooler anew; it exists under pooling pooler only."""
    reinit_layers: NonNegativeInt = 0
    """Upper layers of a pretrained encoder that start anew."""
    use_gradient_checkpointing: bool = False
    """Computes activations twice to save memory."""
    fusion_heads: PositiveInt | None = None
    """Heads of cross attention; None takes the largest of 8, 4, 2, 1 that divides."""
    scratch: ScratchConfig = ScratchConfig()
    """Size of the encoder when text.encoder is scratch."""
    cnn: CnnConfig = CnnConfig()
    """Sizes of the convolutional text encoder."""
    lstm: LstmConfig = LstmConfig()
    """Sizes of the LSTM text encoder."""
    lora: LoraConfig = LoraConfig()
    """Low-rank adapters of the text encoder."""
    moe: MixtureConfig = MixtureConfig()
    """Mixture of experts."""
    numeric_embedding: NumericEmbeddingConfig = NumericEmbeddingConfig()
    """How numeric features enter the table's encoder."""

    @field_validator("model_class")
    @classmethod
    def _name_is_known(cls, name: str) -> str:
        if name not in ARCHITECTURES:
            raise ValueError(
                f"Unknown model class: {readable(name)}."
                f"{did_you_mean(name, ARCHITECTURES)} Known: {', '.join(ARCHITECTURES)}"
            )
        return name

    @model_validator(mode="after")
    def _parts_belong_to_custom(self) -> Self:
        parts = {"text_encoder": self.text_encoder, "fusion": self.fusion}
        given = [name for name, value in parts.items() if value is not None]
        if given and self.model_class != CUSTOM:
            raise contradiction(
                f"{' and '.join(given)} choose the parts of model_class {CUSTOM}, but "
                f"model_class is {self.model_class}, which names its parts itself",
                *given,
                "model_class",
            )
        return self

    @model_validator(mode="after")
    def _pooler_is_there(self) -> Self:
        if self.reinit_pooler and self.pooling != "pooler":
            raise contradiction(
                f"reinit_pooler starts the pooler anew, but pooling is {self.pooling}, "
                "which has none: set pooling to pooler, or leave reinit_pooler out",
                "reinit_pooler",
                "pooling",
            )
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.fusion_heads and self.hidden_common_dim % self.fusion_heads:
            raise contradiction(
                f"fusion_heads {self.fusion_heads} must divide hidden_common_dim "
                f"{self.hidden_common_dim}",
                "fusion_heads",
                "hidden_common_dim",
            )
        return self

    @property
    def architecture(self) -> Architecture:
        """The combination of parts that model_class names."""
        named = ARCHITECTURES[self.model_class]
        if self.model_class != CUSTOM:
            return named
        return replace(
            named,
            text=self.text_encoder or named.text,
            fusion=self.fusion or named.fusion,
        )

    @property
    def heads(self) -> int:
        """Heads of cross attention."""
        fits = (n for n in (8, 4, 2, 1) if self.hidden_common_dim % n == 0)
        return self.fusion_heads or next(fits)


def check_text_fields(config: ModelConfig, names: Sequence[str]) -> None:
    """Whether an architecture takes as many text fields as there are.

    Raises:
        ConfigError: There are more or fewer fields than it takes.
    """
    wanted = config.architecture.fields
    if wanted == 0 or len(names) == (wanted or max(1, len(names))):
        return
    raise ConfigError(
        f"model.model_class {config.model_class!r} takes {wanted or 'at least 1'} text "
        f"field{'' if wanted == 1 else 's'}, but text.fields gives {len(names)}: "
        f"{list(names)}. "
        "List the fields you want under text.fields (several columns can be joined "
        "into one field), or choose another model_class."
    )


class TextFieldSpec(Parameters):
    """One text field of a built model."""

    name: str
    max_sen_len: PositiveInt
    """Tokens of the longest chunk, special tokens included."""
    max_total_chunks: PositiveInt
    """Chunks of the longest row."""
    pad_id: int
    """Token id that fills padded batches."""
    encoder: dict[str, Any]
    """Full Hugging Face configuration of the encoder: no hub is needed to load it."""


class ModelSpec(Parameters):
    """Everything that is needed to build a model again, without weights or a hub."""

    model: ModelConfig
    text: tuple[TextFieldSpec, ...]
    features: tuple[str, ...]
    classes: tuple[str, ...]
    bins: tuple[tuple[float, ...], ...] = ()
    """Edges of the bins of every numeric feature, under a piecewise embedding."""

    @model_validator(mode="after")
    def _has_the_fields_of_its_architecture(self) -> Self:
        wanted = self.model.architecture.fields
        if wanted is not None and len(self.text) != wanted:
            raise ValueError(
                f"model_class {self.model.model_class!r} takes {wanted} text fields, but "
                f"the description has {[field.name for field in self.text]}"
            )
        return self
