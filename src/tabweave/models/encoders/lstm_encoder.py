"""A two-way LSTM text encoder, written so that training and export run the same code."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tabweave.models.config import LstmConfig
from tabweave.models.encoders.embedding import EmbeddingEncoder


class LstmEncoder(EmbeddingEncoder):
    """Layers of two one-way LSTMs; the second reads each chunk from its end.

    A two-way LSTM over sequences of different lengths needs packed sequences, which no
    exporter takes. Turning each sequence around by its own length gives the same states.

    Args:
        config: Hugging Face configuration whose vocabulary and embedding width it takes.
        size: Layers and width.
    """

    def __init__(self, config: dict[str, Any], size: LstmConfig) -> None:
        super().__init__(config, 2 * size.hidden_size, "ends")
        widths = [self.embeddings.embedding_dim]
        widths += [2 * size.hidden_size] * (size.num_layers - 1)
        self.forwards, self.backwards = (
            nn.ModuleList(
                nn.LSTM(width, size.hidden_size, batch_first=True) for width in widths
            )
            for _ in range(2)
        )

    def layers(self) -> list[list[nn.Parameter]]:
        """The embeddings, then both directions of each layer."""
        both = zip(self.forwards, self.backwards, strict=True)
        recurrent = [[p for lstm in pair for p in lstm.parameters()] for pair in both]
        return [list(self.embeddings.parameters()), *recurrent]

    def padded_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token states: [n, S] -> [n, S, width]."""
        place = torch.arange(ids.shape[1], device=ids.device)[None]
        length = mask.sum(1, keepdim=True)
        turned = torch.where(place < length, length - 1 - place, place)[:, :, None]
        states = self.embeddings(ids)
        with _precision_that_runs(states.device):
            for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
                around = states.gather(1, turned.expand(-1, -1, states.shape[2]))
                there, back = forwards(states)[0], backwards(around)[0]
                back = back.gather(1, turned.expand(-1, -1, back.shape[2]))
                states = torch.cat([there, back], 2)
        return states


def _precision_that_runs(device: torch.device) -> AbstractContextManager[Any]:
    """That of the caller, or fp32 on processors that have no LSTM in bf16."""
    if device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return nullcontext()
    return torch.autocast("cpu", enabled=False)
