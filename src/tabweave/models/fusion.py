"""Where text and table meet: the vectors of a row in, one fused vector out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConcatFusion(nn.Module):
    """Concatenates the vectors and mixes them in one hidden layer."""

    def __init__(self, widths: list[int], width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.mix = nn.Sequential(
            nn.Linear(sum(widths), width), nn.GELU(), nn.Dropout(dropout)
        )

    def forward(self, vectors: list[Tensor]) -> Tensor:
        """One vector per row.

        Shape:
            k tensors [B, width_k] -> [B, width].
        """
        return self.mix(torch.cat(vectors, dim=1))
