"""Where text and table meet: the parts of a row in, one fused vector out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tabweave.models.config import ModelConfig
from tabweave.models.encoders.text_encoder import EncodedText
from tabweave.models.encoders.token_states import TokenStates
from tabweave.models.tabular_encoder import FeatureTokens


class Parts(NamedTuple):
    """What a fusion is given of B rows.

    Attributes:
        texts: One entry per text field.
        table: float32 [B, width], the table's vector; None without a table.
        features: float32 [B, F], the scaled features themselves.
    """

    texts: Sequence[EncodedText]
    table: Tensor | None
    features: Tensor

    @property
    def vectors(self) -> list[Tensor]:
        """The vectors of the text fields, then the table's."""
        found = [text.vectors for text in self.texts]
        return found if self.table is None else [*found, self.table]


@dataclass(frozen=True)
class Widths:
    """Sizes of what a fusion is given.

    Attributes:
        texts: Width of each text field's vector and token states.
        table: Width of the table's vector; None without a table.
        features: Number of features; 0 without a table.
    """

    texts: tuple[int, ...]
    table: int | None
    features: int

    @property
    def vectors(self) -> tuple[int, ...]:
        """Widths of `Parts.vectors`."""
        return self.texts if self.table is None else (*self.texts, self.table)


class Fusion(nn.Module, ABC):
    """One vector [B, width] of the parts of B rows.

    Attributes:
        width: Width of the result.
        reads_states: Whether the texts must come with the states of their tokens.
        auxiliary_loss: What the last forward pass adds to the loss; only in training.
    """

    reads_states = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.auxiliary_loss: Tensor | None = None

    @abstractmethod
    def forward(self, parts: Parts) -> Tensor:
        """One vector per row: [B, width]."""


def _hidden(inputs: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Dropout(dropout))


class ConcatFusion(Fusion):
    """Concatenates the vectors and mixes them in one hidden layer."""

    def __init__(self, widths: Widths, config: ModelConfig) -> None:
        super().__init__(config.hidden_common_dim)
        self.mix = _hidden(sum(widths.vectors), self.width, 1 - config.dropout_keep)

    def forward(self, parts: Parts) -> Tensor:
        """One vector per row: [B, width]."""
        return self.mix(torch.cat(parts.vectors, dim=1))


class GateFusion(Fusion):
    """Weighs the vectors against each other, channel by channel.

    Two vectors t and x: g * t + (1 - g) * x with g = sigmoid(Linear(LayerNorm[t; x])).
    More than two: a softmax over them in each channel.
    """

    def __init__(self, widths: Widths, config: ModelConfig) -> None:
        super().__init__(config.hidden_common_dim)
        self.parts = len(widths.vectors)
        self.project = nn.ModuleList(
            nn.Linear(width, self.width) for width in widths.vectors
        )
        together = self.parts * self.width
        gates = self.width * (self.parts if self.parts > 2 else self.parts - 1)
        self.gate = (
            nn.Sequential(nn.LayerNorm(together), nn.Linear(together, gates))
            if self.parts > 1
            else None
        )
        self.mix = nn.Sequential(nn.GELU(), nn.Dropout(1 - config.dropout_keep))

    def weights(self, vectors: Tensor) -> Tensor:
        """Weight of each vector in each channel: [B, k, width] -> the same, sum 1."""
        assert self.gate is not None
        gates = self.gate(vectors.flatten(1)).float()
        if self.parts == 2:
            first = torch.sigmoid(gates)
            return torch.stack([first, 1 - first], 1)
        return torch.softmax(gates.unflatten(1, (self.parts, self.width)), 1)

    def forward(self, parts: Parts) -> Tensor:
        """One vector per row: [B, width]."""
        pairs = zip(self.project, parts.vectors, strict=True)
        vectors = torch.stack([layer(vector) for layer, vector in pairs], 1)
        if self.gate is None:
            return self.mix(vectors[:, 0])
        return self.mix((self.weights(vectors) * vectors).sum(1))


class MixtureOfExperts(Fusion):
    """Expert networks over all vectors, and a router that weighs their answers.

    The router is soft: every expert answers every row. The balance loss is
    E * sum(p_e ** 2) - 1 with p_e the mean weight of expert e over the batch: 0 when all
    E experts are used alike (after Shazeer et al., 2017, section 4).
    """

    def __init__(self, widths: Widths, config: ModelConfig) -> None:
        super().__init__(config.hidden_common_dim)
        inputs, dropout = sum(widths.vectors), 1 - config.dropout_keep
        self.balance_weight = config.moe.balance_weight
        self.router = nn.Linear(inputs, config.moe.num_experts)
        self.experts = nn.ModuleList(
            nn.Sequential(
                _hidden(inputs, self.width, dropout), nn.Linear(self.width, self.width)
            )
            for _ in range(config.moe.num_experts)
        )

    def forward(self, parts: Parts) -> Tensor:
        """One vector per row: [B, width]."""
        together = torch.cat(parts.vectors, dim=1)
        weights = torch.softmax(self.router(together).float(), 1)
        answers = torch.stack([expert(together) for expert in self.experts], 1)
        self.auxiliary_loss = None
        if self.training:
            balance = len(self.experts) * weights.mean(0).square().sum() - 1
            self.auxiliary_loss = self.balance_weight * balance
        return (weights.unsqueeze(-1) * answers).sum(1)


class _Reading(nn.Module):
    """Queries, keys, values and the way out of one direction of attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.norm = nn.LayerNorm(width)


class WordsAndFeatures(nn.Module):
    """The words of one text field and the features of its row read each other."""

    def __init__(self, states: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Sequential(nn.Linear(states, width), nn.LayerNorm(width))
        self.features_read, self.words_read = _Reading(width), _Reading(width)

    def forward(self, states: TokenStates, features: Tensor) -> tuple[Tensor, Tensor]:
        """Both sides after they have read the other.

        Shape:
            features [B, F, width] -> words [B, width] and features [B, width], means
            over the row's tokens.
        """
        words = states.map(self.project)
        ask = self.features_read
        read = words.read_by(ask.query(features), ask.key, ask.value, self.heads)
        informed = ask.norm(features + ask.out(read))
        look = self.words_read
        seen = words.reading(
            look.query, look.key(features), look.value(features), self.heads
        )
        told = words.plus(seen.map(look.out)).map(look.norm)
        return told.mean(), informed.mean(1)


class CrossAttentionFusion(Fusion):
    """Words and features read each other, token by token, beside the plain vectors.

    Without a table there is nothing to read, and the vectors are concatenated.
    """

    reads_states = True

    def __init__(self, widths: Widths, config: ModelConfig) -> None:
        super().__init__(config.hidden_common_dim)
        inputs = sum(widths.vectors)
        self.tokens = None
        self.readings = nn.ModuleList()
        if widths.features:
            self.tokens = FeatureTokens(widths.features, self.width)
            self.readings.extend(
                WordsAndFeatures(states, self.width, config.heads)
                for states in widths.texts
            )
            inputs += 2 * self.width * len(widths.texts)
        self.mix = _hidden(inputs, self.width, 1 - config.dropout_keep)

    def forward(self, parts: Parts) -> Tensor:
        """One vector per row: [B, width]."""
        vectors = parts.vectors
        if self.tokens is not None:
            features = self.tokens(parts.features)
            for reading, text in zip(self.readings, parts.texts, strict=True):
                vectors += reading(text.states, features)
        return self.mix(torch.cat(vectors, dim=1))
