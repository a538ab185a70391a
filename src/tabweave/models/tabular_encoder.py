"""The table's part of a model: scaled features in, one vector per row out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tabweave.models.config import NumericEmbeddingConfig
from tabweave.preparation.features import NUMBER

NARROWEST = 1e-6
"""Width of a bin at least, in units of the scaled feature or of its own size."""


def quantile_edges(values: np.ndarray, bins: int) -> list[list[float]]:
    """Edges of bins that hold about equally many values of each column.

    Columns of few distinct values have fewer bins with rows in them; the rest lie beyond
    the largest value, so that every column has as many edges.

    Args:
        values: float32 [N, F], finite.
        bins: Number of bins.
    """
    found = []
    for column in values.T:
        quantiles = np.quantile(column, np.linspace(0, 1, bins + 1))
        # Told apart in the precision of the model: a bin must not have width 0.
        edges = np.unique(quantiles.astype(np.float32))
        wide = np.diff(edges) > NARROWEST * np.maximum(1, np.abs(edges[1:]))
        edges = edges[np.append(True, wide)]
        # One unit apart; more beside a large value, where fp32 would not tell them apart.
        step = max(1.0, abs(edges[-1]) / 1000)
        beyond = edges[-1] + step * np.arange(1, bins + 2 - len(edges))
        found.append(np.concatenate([edges, beyond]).tolist())
    return found


class PiecewiseLinear(nn.Module):
    """How far a value has got through each bin: 0 before it, 1 after it.

    Piecewise-linear encoding of Gorishniy et al., "On Embeddings for Numerical Features
    in Tabular Deep Learning" (2022), section 3.2.

    Args:
        bins: Per feature the edges of its bins, rising; bins + 1 numbers.
    """

    edges: Tensor

    def __init__(self, bins: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor(bins, dtype=torch.float32))
        self.width = self.edges.shape[1] - 1

    def forward(self, values: Tensor) -> Tensor:
        """[B, F] -> [B, F * bins]."""
        low, high = self.edges[:, :-1], self.edges[:, 1:]
        # A value beyond the outer edges is as the edge: the bins may be narrow there, and
        # the value itself stands beside its embedding.
        share = (values.unsqueeze(-1) - low) / (high - low)
        return share.clamp(0, 1).flatten(1)


class Periodic(nn.Module):
    """Sine and cosine of learned frequencies (Gorishniy et al., 2022, section 3.3)."""

    def __init__(self, features: int, frequencies: int, sigma: float) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(features, frequencies) * sigma)
        self.width = 2 * frequencies

    def forward(self, values: Tensor) -> Tensor:
        """[B, F] -> [B, F * 2 * frequencies]."""
        angle = 2 * math.pi * self.frequency * values.unsqueeze(-1)
        return torch.cat([torch.sin(angle), torch.cos(angle)], -1).flatten(1)


class NumericEmbedding(nn.Module):
    """Embeds the numeric features and leaves the others as they are.

    Args:
        features: Names of all features, in order.
        config: Kind and sizes.
        bins: Edges of the bins of every numeric feature; for "piecewise" only.

    Raises:
        ValueError: The edges are not those of the features.
    """

    def __init__(
        self,
        features: Sequence[str],
        config: NumericEmbeddingConfig,
        bins: Sequence[Sequence[float]],
    ) -> None:
        super().__init__()
        numeric = [n for n, name in enumerate(features) if name.startswith(NUMBER)]
        self.numeric = numeric
        self.embedding: PiecewiseLinear | Periodic | None = None
        if numeric and config.kind == "piecewise":
            _check_edges(bins, len(numeric), config.bins)
            self.embedding = PiecewiseLinear(bins)
        elif numeric and config.kind == "periodic":
            self.embedding = Periodic(len(numeric), config.frequencies, config.sigma)
        each = self.embedding.width if self.embedding else 0
        # The scaled value stays beside its embedding: a line is a line at once.
        self.width = len(features) + len(numeric) * each

    def forward(self, features: Tensor) -> Tensor:
        """[B, F] -> [B, width]."""
        if self.embedding is None:
            return features
        embedded = self.embedding(features[:, self.numeric])
        return torch.cat([features, embedded], 1)


def _check_edges(edges: Sequence[Sequence[float]], features: int, bins: int) -> None:
    counts = [len(its) for its in edges]
    if counts != [bins + 1] * features:
        raise ValueError(
            f"numeric_embedding piecewise takes {bins + 1} edges of bins for each of the "
            f"{features} numeric features, but got {counts}"
        )


class TabularEncoder(nn.Module):
    """Two linear layers over standardised features.

    There is no LayerNorm over the raw columns: it mixes their scales and costs 0.05 to
    0.2 AUROC on tables whose columns differ in size.
    """

    def __init__(self, numbers: NumericEmbedding, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.numbers = numbers
        self.layers = nn.Sequential(
            nn.Linear(numbers.width, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Vectors of rows.

        Shape:
            [B, F] -> [B, width].
        """
        return self.layers(self.numbers(features))


class FeatureTokens(nn.Module):
    """Every feature as a token of its own, for attention between features and words.

    Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (2021): a value
    scales the feature's own direction, a bias says which feature it is.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.direction = nn.Parameter(torch.empty(features, width))
        self.bias = nn.Parameter(torch.empty(features, width))
        for parameter in (self.direction, self.bias):
            nn.init.uniform_(parameter, -bound, bound)
        self.width = width

    def forward(self, features: Tensor) -> Tensor:
        """[B, F] -> [B, F, width]."""
        tokens = features.unsqueeze(-1) * self.direction + self.bias
        return functional.layer_norm(tokens, (self.width,))
