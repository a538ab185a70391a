"""The parts that a model can be composed of: names, and the classes that they stand for.

Choices of the user are checked against the names before torch is imported, so a class is
named here and imported where a model is built.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple


class Part(NamedTuple):
    """A class that a name stands for."""

    module: str
    """Module of `tabweave.models`."""
    name: str
    """Name of the class."""
    settings: str = ""
    """Key of the group ``model`` that it takes, where it takes one."""

    def load(self) -> Any:
        """The class itself.

        Example:
            >>> TEXT_ENCODERS["cnn"].load().__name__
            'CnnEncoder'
        """
        return getattr(import_module(f"tabweave.models.{self.module}"), self.name)


TEXT_ENCODERS = {
    "bert": Part("encoders.transformer_encoder", "TransformerEncoder", "pooling"),
    "cnn": Part("encoders.cnn_encoder", "CnnEncoder", "cnn"),
    "lstm": Part("encoders.lstm_encoder", "LstmEncoder", "lstm"),
}
FUSIONS = {
    "concat": Part("fusion", "ConcatFusion"),
    "gate": Part("fusion", "GateFusion"),
    "moe": Part("fusion", "MixtureOfExperts"),
    "cross_attention": Part("fusion", "CrossAttentionFusion"),
}
NONE = "none"
"""No text encoder; or no fusion: a single vector goes through the layer of `concat`."""

if TYPE_CHECKING:  # a type checker wants the names written out
    TextKind = str
    FusionKind = str
else:
    TextKind = Literal[tuple(TEXT_ENCODERS)]
    FusionKind = Literal[tuple(FUSIONS)]
