"""The token states of a text field, and attention between them and feature tokens.

Packed for training and padded for export, behind the same methods: a fusion does not know
which of the two it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional

from tabweave.batching.batches import PackedText
from tabweave.models.encoders.attention import segment_attention
from tabweave.models.encoders.pooling import segment_mean

Layer = Callable[[Tensor], Tensor]


class TokenStates(Protocol):
    """Token states of B rows; every row has at least one."""

    def map(self, layer: Callable[[Tensor], Tensor]) -> Self:
        """The states after a layer that works on each token alone."""

    def plus(self, other: Self) -> Self:
        """The sum of two states of the same tokens."""

    def read_by(self, query: Tensor, key: Layer, value: Layer, heads: int) -> Tensor:
        """Feature tokens read the words of their row: [B, F, d] -> [B, F, d]."""

    def reading(self, query: Layer, key: Tensor, value: Tensor, heads: int) -> Self:
        """Words read the feature tokens [B, F, d] of their row."""

    def mean(self) -> Tensor:
        """Mean over the tokens of each row: [B, d]."""


def _split(values: Tensor, heads: int) -> Tensor:
    """[n, d] -> [heads, n, d / heads]."""
    return values.view(len(values), heads, -1).transpose(0, 1)


def _join(values: Tensor) -> Tensor:
    """[heads, n, d / heads] -> [n, d]."""
    return values.transpose(0, 1).flatten(1)


@dataclass(frozen=True)
class PackedStates:
    """States [T, d] of packed tokens, those of a row one after the other.

    Attributes:
        values: [T, d].
        row: int64 [T], row of each token.
        lengths: Tokens of each of the B rows, at least 1.
    """

    values: Tensor
    row: Tensor
    lengths: list[int]

    @classmethod
    def of(cls, states: Tensor, text: PackedText, missing: Tensor) -> PackedStates:
        """States of a text; a row without text has one token, the learned vector."""
        row = text.chunk_row[text.token_chunk]
        counts = torch.bincount(row, minlength=text.rows)
        empty = torch.nonzero(counts == 0)[:, 0]
        if len(empty):
            states = torch.cat(
                [states, missing.to(states.dtype).expand(len(empty), -1)]
            )
            row = torch.cat([row, empty])
            order = torch.argsort(row, stable=True)
            states, row = states[order], row[order]
        return cls(states, row, counts.clamp(min=1).tolist())

    def map(self, layer: Layer) -> PackedStates:
        """See `TokenStates`."""
        return PackedStates(layer(self.values), self.row, self.lengths)

    def plus(self, other: PackedStates) -> PackedStates:
        """See `TokenStates`."""
        return PackedStates(self.values + other.values, self.row, self.lengths)

    def read_by(self, query: Tensor, key: Layer, value: Layer, heads: int) -> Tensor:
        """See `TokenStates`."""
        rows, features, width = query.shape
        read = segment_attention(
            _split(query.reshape(rows * features, width), heads),
            _split(key(self.values), heads),
            _split(value(self.values), heads),
            [features] * rows,
            self.lengths,
            (width // heads) ** -0.5,
        )
        return _join(read).view(rows, features, width)

    def reading(
        self, query: Layer, key: Tensor, value: Tensor, heads: int
    ) -> PackedStates:
        """See `TokenStates`."""
        rows, features, width = key.shape
        read = segment_attention(
            _split(query(self.values), heads),
            _split(key.reshape(rows * features, width), heads),
            _split(value.reshape(rows * features, width), heads),
            self.lengths,
            [features] * rows,
            (width // heads) ** -0.5,
        )
        return PackedStates(_join(read), self.row, self.lengths)

    def mean(self) -> Tensor:
        """See `TokenStates`."""
        return segment_mean(self.values.float(), self.row, len(self.lengths))


def _split_padded(values: Tensor, heads: int) -> Tensor:
    """[B, n, d] -> [B, heads, n, d / heads]."""
    rows, tokens, width = values.shape
    return values.view(rows, tokens, heads, width // heads).transpose(1, 2)


@dataclass(frozen=True)
class PaddedStates:
    """States [B, L, d] with a mask [B, L] of the tokens that count."""

    values: Tensor
    mask: Tensor

    @classmethod
    def of(cls, states: Tensor, mask: Tensor, missing: Tensor) -> PaddedStates:
        """States of a text; a row without text has one token, the learned vector."""
        first = torch.zeros_like(mask)
        first[:, :1] = 1
        none = mask.sum(1, keepdim=True) == 0
        seen = torch.where(none, first, mask)
        return cls(torch.where(none.unsqueeze(-1), missing, states), seen)

    def map(self, layer: Layer) -> PaddedStates:
        """See `TokenStates`."""
        return PaddedStates(layer(self.values), self.mask)

    def plus(self, other: PaddedStates) -> PaddedStates:
        """See `TokenStates`."""
        return PaddedStates(self.values + other.values, self.mask)

    def read_by(self, query: Tensor, key: Layer, value: Layer, heads: int) -> Tensor:
        """See `TokenStates`."""
        seen = self.mask[:, None, None, :] > 0
        read = functional.scaled_dot_product_attention(
            _split_padded(query, heads),
            _split_padded(key(self.values), heads),
            _split_padded(value(self.values), heads),
            # One row per query: the exported operator does not broadcast masks.
            attn_mask=seen.expand(-1, -1, query.shape[1], -1),
        )
        return read.transpose(1, 2).flatten(2)

    def reading(
        self, query: Layer, key: Tensor, value: Tensor, heads: int
    ) -> PaddedStates:
        """See `TokenStates`."""
        read = functional.scaled_dot_product_attention(
            _split_padded(query(self.values), heads),
            _split_padded(key, heads),
            _split_padded(value, heads),
        )
        return PaddedStates(read.transpose(1, 2).flatten(2), self.mask)

    def mean(self) -> Tensor:
        """See `TokenStates`."""
        weight = self.mask.unsqueeze(-1).to(self.values.dtype)
        return (self.values * weight).sum(1) / weight.sum(1)
