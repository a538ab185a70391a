"""What a model is made of: the user's choices, and the full description of a built one.

This module needs no torch: parameters are checked before anything heavy is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tabweave.errors import did_you_mean
from tabweave.schema import Parameters

TextKind = Literal["bert", "none"]
FusionKind = Literal["none", "concat"]


@dataclass(frozen=True)
class Architecture:
    """One named combination of parts.

    Attributes:
        text: Kind of text encoder.
        fusion: How text and table meet; "none" when there is only one of them.
        fields: Text fields it takes; None for any number of at least one.
        table: Whether the feature table is used.
        use: When to choose it, in one sentence.
    """

    text: TextKind
    fusion: FusionKind
    fields: int | None
    table: bool
    use: str


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture("bert", "none", 1, False, "Text alone, one field."),
    "multimodal_bert": Architecture(
        "bert", "concat", 1, True, "One text field and a table; the default."
    ),
    "trimodal_bert": Architecture(
        "bert",
        "concat",
        2,
        True,
        "Two text fields, each with its encoder, and a table.",
    ),
    "tabular": Architecture("none", "none", 0, True, "The table alone: a baseline."),
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
            raise ValueError(
                f"num_heads {self.num_heads} must divide hidden_size {self.hidden_size}"
            )
        return self


class ModelConfig(Parameters):
    """Parameter group ``model``: the architecture and its sizes."""

    model_class: str = "multimodal_bert"
    """Name of the architecture."""
    hidden_common_dim: PositiveInt = 128
    """Width of the table's vector and of the layer where text and table meet."""
    dropout_keep: float = Field(0.9, gt=0, le=1)
    """Probability of keeping a value in the head; dropout is 1 - dropout_keep."""
    pooling: Literal["mean", "cls"] = "mean"
    """How the token states of a chunk become one vector."""
    scratch: ScratchConfig = ScratchConfig()
    """Size of the encoder when text.encoder is scratch."""

    @model_validator(mode="after")
    def _name_is_known(self) -> Self:
        if self.model_class not in ARCHITECTURES:
            hint = did_you_mean(self.model_class, ARCHITECTURES)
            raise ValueError(
                f"Unknown model class: {self.model_class}.{hint} Known: "
                f"{', '.join(ARCHITECTURES)}"
            )
        return self

    @property
    def architecture(self) -> Architecture:
        """The combination of parts that model_class names."""
        return ARCHITECTURES[self.model_class]


class TextFieldSpec(Parameters):
    """One text field of a built model."""

    name: str
    max_sen_len: PositiveInt
    """Tokens of the longest chunk, special tokens included."""
    max_total_chunks: PositiveInt
    """Chunks of the longest row."""
    pad_id: int
    """Token id that fills padded batches (export only)."""
    encoder: dict[str, Any]
    """Full Hugging Face configuration of the encoder: no hub is needed to load it."""


class ModelSpec(Parameters):
    """Everything that is needed to build a model again, without weights or a hub."""

    model: ModelConfig
    text: tuple[TextFieldSpec, ...]
    features: tuple[str, ...]
    classes: tuple[str, ...]

    @model_validator(mode="after")
    def _has_the_fields_of_its_architecture(self) -> Self:
        wanted = self.model.architecture.fields
        if wanted is not None and len(self.text) != wanted:
            raise ValueError(
                f"model_class {self.model.model_class!r} takes {wanted} text fields, but "
                f"the description has {[field.name for field in self.text]}"
            )
        return self
