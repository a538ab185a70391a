"""A convolutional text encoder: windows of tokens, the strongest answer of each channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tabweave.batching.batches import PackedText
from tabweave.models.config import CnnConfig
from tabweave.models.encoders.embedding import EmbeddingEncoder


class CnnEncoder(EmbeddingEncoder):
    """Stacks of convolutions of several widths over token embeddings (Kim, 2014).

    Args:
        config: Hugging Face configuration whose vocabulary and embedding width it takes.
        size: Windows, layers and channels.
    """

    def __init__(self, config: dict[str, Any], size: CnnConfig) -> None:
        width = len(size.kernel_size) * size.num_channels[-1]
        super().__init__(config, width, "max")
        self.kernels = size.kernel_size
        channels = (self.embeddings.embedding_dim, *size.num_channels)
        self.stacks = nn.ModuleList(
            nn.ModuleList(
                nn.Conv1d(channels[n], channels[n + 1], kernel)
                for n in range(size.num_layers)
            )
            for kernel in size.kernel_size
        )

    def layers(self) -> list[list[nn.Parameter]]:
        """The embeddings, then the convolutions of each depth."""
        stacks = [list(stack.children()) for stack in self.stacks]
        depths = zip(*stacks, strict=True)
        convolutions = [[p for c in depth for p in c.parameters()] for depth in depths]
        return [list(self.embeddings.parameters()), *convolutions]

    def padded_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token states: [n, S] -> [n, S, width]; padding counts as 0 in every layer."""
        weight = mask.unsqueeze(1).to(self.embeddings.weight.dtype)
        embedded = self.embeddings(ids).transpose(1, 2) * weight
        found = []
        for kernel, stack in zip(self.kernels, self.stacks, strict=True):
            sides = ((kernel - 1) // 2, kernel // 2)
            states = embedded
            for convolution in stack.children():
                wide = functional.pad(states, sides)
                states = functional.relu(convolution(wide)) * weight
            found.append(states)
        return torch.cat(found, 1).transpose(1, 2)

    def packed_states(self, text: PackedText) -> Tensor:
        """Token states of packed chunks: T tokens -> [T, width].

        All chunks lie in one row with gaps between them that are as wide as the widest
        window reaches, so that no window sees two chunks.
        """
        if self.layout == "padded":
            return super().packed_states(text)
        gap = max(self.kernels) - 1
        place = torch.arange(len(text.ids), device=text.ids.device)
        place = place + text.token_chunk * gap
        length = len(text.ids) + gap * len(text.lengths)
        ids = text.ids.new_full((1, length), self.pad_id)
        mask = torch.zeros_like(ids)
        ids[0, place] = text.ids
        mask[0, place] = 1
        return self.padded_states(ids, mask)[0, place]
