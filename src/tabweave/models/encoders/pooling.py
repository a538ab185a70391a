"""How token states become the vector of a chunk, packed and padded.

Each way exists twice: over packed tokens for training, over padded ones for export. Both
give the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tabweave.batching.batches import PackedText


def segment_mean(values: Tensor, segment: Tensor, count: int) -> Tensor:
    """Mean of the rows of `values` [n, d] per segment -> [count, d]; empty gives 0."""
    total = values.new_zeros(count, values.shape[1]).index_add(0, segment, values)
    size = torch.bincount(segment, minlength=count).clamp(min=1)
    return total / size[:, None]


def _last_tokens(text: PackedText) -> Tensor:
    lengths = torch.bincount(text.token_chunk, minlength=len(text.lengths))
    return torch.cumsum(lengths, 0) - 1


def pool(way: str, states: Tensor, text: PackedText) -> Tensor:
    """Vectors of packed chunks.

    Args:
        way: "mean", "cls" (the first token), "max" per channel, or "ends": the first
            half of the channels at the last token beside the second half at the first
            one, where the two directions of an LSTM end.
        states: [T, d].
        text: Where the chunks are.

    Shape:
        n chunks -> [n, d], in the precision of `states`, at least fp32 for "mean".
    """
    if way == "mean":
        return segment_mean(states.float(), text.token_chunk, len(text.lengths))
    if way == "cls":
        return states[text.positions == 0]
    if way == "ends":
        half = states.shape[1] // 2
        last, first = states[_last_tokens(text)], states[text.positions == 0]
        return torch.cat([last[:, :half], first[:, half:]], 1)
    index = text.token_chunk[:, None].expand_as(states)
    lowest = states.new_full((len(text.lengths), states.shape[1]), float("-inf"))
    return lowest.scatter_reduce(0, index, states, "amax")


def pool_padded(way: str, states: Tensor, mask: Tensor) -> Tensor:
    """Vectors of padded chunks; every chunk must have at least one token.

    Shape:
        states [n, S, d], mask [n, S] -> [n, d].
    """
    if way == "cls":
        return states[:, 0]
    if way == "ends":
        half = states.shape[2] // 2
        last = (mask.sum(1) - 1)[:, None, None].expand(-1, 1, half)
        ends = states[:, :, :half].gather(1, last)[:, 0]
        return torch.cat([ends, states[:, 0, half:]], 1)
    weight = mask.unsqueeze(-1)
    if way == "max":
        return states.masked_fill(weight == 0, float("-inf")).amax(1)
    weight = weight.to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1)
