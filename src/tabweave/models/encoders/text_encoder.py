"""What every text encoder shares: from token states to one vector per row."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from tabweave.batching.batches import PackedText, RowVectors
from tabweave.models.encoders.pooling import pool, pool_padded, segment_mean
from tabweave.models.encoders.token_states import (
    PackedStates,
    PaddedStates,
    TokenStates,
)

Layout = Literal["packed", "padded"]


@dataclass(frozen=True)
class EncodedText:
    """A text field of a batch.

    Attributes:
        vectors: float32 [B, width]; a row without text has the learned vector.
        states: The states of its tokens, for a fusion that reads them.
    """

    vectors: Tensor
    states: TokenStates | None = None


def pad_chunks(text: PackedText, pad_id: int) -> tuple[Tensor, Tensor]:
    """The chunks as rows of a padded matrix: ids and mask, int64 [n, S]."""
    shape = (len(text.lengths), max(text.lengths))
    ids = text.ids.new_full(shape, pad_id)
    mask = torch.zeros_like(ids)
    ids[text.token_chunk, text.positions] = text.ids
    mask[text.token_chunk, text.positions] = 1
    return ids, mask


class TextEncoder(nn.Module, ABC):
    """Token ids in, one vector per row out.

    The vector of a row is the mean over the vectors of its chunks; a row without text
    gets a learned vector. A kind of encoder gives `padded_states`; one that can do
    without padding gives `packed_states` too.

    Args:
        width: Width of token states and vectors.
        vocabulary_size: Token ids are below it.
        pad_id: Token id that fills padded chunks.
        pooling: How the token states of a chunk become its vector, see `pool`.
    """

    def __init__(
        self, width: int, vocabulary_size: int, pad_id: int, pooling: str
    ) -> None:
        super().__init__()
        self.width, self.vocabulary_size = width, vocabulary_size
        self.pad_id, self.pooling = pad_id, pooling
        self.layout: Layout = "packed"
        self.frozen = self.sharded = False
        self.missing = nn.Parameter(torch.zeros(width))

    @abstractmethod
    def padded_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token states of padded chunks; each has at least one token.

        Shape:
            ids, mask: [n, S] -> [n, S, width].
        """

    def packed_states(self, text: PackedText) -> Tensor:
        """Token states of packed chunks: T tokens -> [T, width]."""
        ids, mask = pad_chunks(text, self.pad_id)
        return self.padded_states(ids, mask)[text.token_chunk, text.positions]

    def chunk_vectors(self, pooled: Tensor) -> Tensor:
        """What becomes of the pooled states [n, width]; nothing unless overridden."""
        return pooled

    @abstractmethod
    def load_pretrained(self, source: str | Path) -> None:
        """Takes the weights of a pretrained encoder, or what it can use of them.

        Raises:
            ConfigError: The files do not hold the encoder's weights.
        """

    def set_layout(self, layout: Layout) -> Self:
        """Computes over packed or over padded chunks from now on."""
        self.layout = layout
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode, but not for a frozen encoder: its vectors are fixed."""
        return super().train(mode and not self.frozen)

    @abstractmethod
    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters from the embeddings to the top, without the learned vector."""

    def forward(
        self, text: PackedText | RowVectors, *, with_states: bool = False
    ) -> EncodedText:
        """Row vectors of packed chunks, or of what was computed before.

        Shape:
            T tokens in n chunks of B rows -> vectors [B, width], float32.
        """
        if isinstance(text, RowVectors):
            kept = torch.where(text.has_text[:, None], text.vectors, self.missing)
            return EncodedText(kept)
        if not text.lengths:  # an encoder cannot run on no token at all
            states = self.missing.new_zeros(0, self.width)
            rows = self.missing.expand(text.rows, -1)
            if self.training or self.sharded:
                rows = rows + 0 * self._idle()
        else:
            states = self.packed_states(text)
            pooled = self.chunk_vectors(pool(self.pooling, states, text)).float()
            rows = segment_mean(pooled, text.chunk_row, text.rows)
            has_text = torch.bincount(text.chunk_row, minlength=text.rows) > 0
            rows = torch.where(has_text[:, None], rows, self.missing)
        if not with_states:
            return EncodedText(rows)
        return EncodedText(rows, PackedStates.of(states, text, self.missing))

    def _idle(self) -> Tensor:
        """Computes one padding token: a batch without text leaves no weight out.

        Processes that train together wait for the gradient of every weight, and those
        that share weights for each other in every layer.
        """
        zero = torch.zeros(1, dtype=torch.int64, device=self.missing.device)
        text = PackedText(zero + self.pad_id, zero, zero, zero, [1], 1)
        states = self.packed_states(text)
        return self.chunk_vectors(pool(self.pooling, states, text)).float().sum()

    def for_export(self) -> PaddedTextEncoder:
        """The same arithmetic over padded chunks, which an exporter can trace."""
        return PaddedTextEncoder(self)


class PaddedTextEncoder(nn.Module):
    """A `TextEncoder` over padded [batch, chunks, seq]: for export and as oracle."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).set_layout("padded")

    def forward(
        self, ids: Tensor, mask: Tensor, *, with_states: bool = False
    ) -> EncodedText:
        """Row vectors of padded chunks; a chunk whose mask is all 0 does not count.

        Shape:
            ids, mask: [B, C, S] -> vectors [B, width].
        """
        rows, chunks, length = ids.shape
        flat = mask.reshape(rows * chunks, length)
        first = torch.zeros_like(flat)
        first[:, :1] = 1
        # An empty chunk shows one token: softmax is never over nothing.
        seen = torch.where(flat.sum(1, keepdim=True) == 0, first, flat)
        inner = self.encoder
        states = inner.padded_states(ids.reshape(rows * chunks, length), seen)
        pooled = inner.chunk_vectors(pool_padded(inner.pooling, states, seen))
        vectors = pooled.reshape(rows, chunks, -1)
        real = (mask.sum(2) > 0).to(states.dtype).unsqueeze(-1)
        total = (vectors * real).sum(1) / real.sum(1).clamp(min=1)
        found = torch.where(real.sum(1) > 0, total, inner.missing)
        if not with_states:
            return EncodedText(found)
        tokens = states.reshape(rows, chunks * length, -1)
        seen_of_row = mask.reshape(rows, chunks * length)
        return EncodedText(found, PaddedStates.of(tokens, seen_of_row, inner.missing))
