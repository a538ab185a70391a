"""Attention over packed sequences: no padding, no mask, no fork of the encoder.

Hugging Face encoders pass unknown keyword arguments down to the attention function that
their configuration names. We register one that reads the sequence lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tabweave.batching.batches import Batch, PackedText
from tabweave.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

PACKED = "tabweave_packed"
FIRST_ORDINARY_TOKEN = 5
# Up to so many tokens, plain matrix products per sequence beat the fused CPU kernel,
# backward included; measured with 12 heads of 32 and of 64. In fp32 without a gradient
# they never do: MKL, which multiplies them, is the slower library on some processors.
LONGEST_PLAIN = {torch.bfloat16: 640, torch.float32: 256}


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    lengths: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Softmax attention inside each sequence of one packed row.

    Shape:
        query, key, value: [1, heads, T, d]; result: [1, T, heads, d].

    Raises:
        RuntimeError: The call is not a packed one. The check is not decoration: with an
            ordinary padded batch the mask would be dropped without a word.
    """
    if lengths is None or query.shape[0] != 1 or attention_mask is not None:
        raise RuntimeError("packed attention takes one packed row, lengths and no mask")
    if dropout:
        raise RuntimeError("packed attention has no dropout on attention weights")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = segment_attention(
        query[0], key[0], value[0], lengths, lengths, scale, window=sliding_window
    )
    return out[None].transpose(1, 2).contiguous(), None


def segment_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_lengths: Sequence[int],
    key_lengths: Sequence[int],
    scale: float,
    *,
    window: int | None = None,
) -> Tensor:
    """Softmax attention of each segment of queries over its own segment of keys.

    One fused kernel on CUDA in half precision. Elsewhere one segment after the other: by
    plain matrix products, or by the fused kernel where the segment is long.

    Args:
        query: Queries of all segments, one after the other.
        key: Keys of all segments.
        value: Values of all segments.
        query_lengths: Queries of each segment.
        key_lengths: Keys of each segment; a segment without keys gives zeros.
        scale: Factor of the scores.
        window: A query sees the keys fewer than so many places away; None for all.

    Shape:
        query [heads, Tq, d], key and value [heads, Tk, d] -> [heads, Tq, d].
    """
    device = query.device.type
    if torch.is_autocast_enabled(device):
        # Rotary positions widen queries and keys, but not values.
        precision = torch.get_autocast_dtype(device)
        query, key, value = (x.to(precision) for x in (query, key, value))
    if device == "cuda" and query.dtype in {torch.bfloat16, torch.float16}:
        return _varlen(query, key, value, query_lengths, key_lengths, scale, window)
    band = None
    if window is not None and max(query_lengths, default=0) > window:
        places = torch.arange(max(*query_lengths, *key_lengths), device=query.device)
        distances = (
            places[: max(query_lengths), None] - places[None, : max(key_lengths)]
        )
        band = distances.abs() < window
    queries = torch.split(query, list(query_lengths), 1)
    keys, values = (torch.split(x, list(key_lengths), 1) for x in (key, value))
    # Autocast would widen every softmax and narrow it again.
    with torch.autocast(device, enabled=False):
        out = [
            _one_segment(*segment, scale, band)
            for segment in zip(queries, keys, values, strict=True)
        ]
    return torch.cat(out, 1)


def _longest_plain(precision: torch.dtype) -> int:
    if precision == torch.float32 and not torch.is_grad_enabled():
        return 0
    return LONGEST_PLAIN.get(precision, 0)


def _one_segment(
    query: Tensor, key: Tensor, value: Tensor, scale: float, band: Tensor | None
) -> Tensor:
    queries, keys = query.shape[1], key.shape[1]
    if keys == 0:
        return torch.zeros_like(query)
    seen = None if band is None else band[:queries, :keys]
    if keys > _longest_plain(query.dtype):
        return functional.scaled_dot_product_attention(
            query[None], key[None], value[None], attn_mask=seen, scale=scale
        )[0]
    score = torch.baddbmm(
        query.new_empty(1, 1, 1), query, key.transpose(1, 2), beta=0, alpha=scale
    )
    if seen is not None:
        score = score.masked_fill(~seen, float("-inf"))
    return torch.bmm(torch.softmax(score, -1), value)


@lru_cache(maxsize=8)
def _borders(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Where each segment begins, and where the last one ends: every layer asks."""
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_lengths: Sequence[int],
    key_lengths: Sequence[int],
    scale: float,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    side = -1 if window is None else window - 1
    out = varlen_attn(
        query.transpose(0, 1),
        key.transpose(0, 1),
        value.transpose(0, 1),
        _borders(tuple(query_lengths), query.device),
        _borders(tuple(key_lengths), query.device),
        max(query_lengths, default=0),
        max(key_lengths, default=0),
        scale=scale,
        window_size=(side, side),
    )
    return cast("Tensor", out).transpose(0, 1)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, lambda *_, **__: None)


def _with_other_rows_changed(
    text: PackedText, row: int, vocabulary: int, generator: torch.Generator
) -> PackedText:
    token_row = text.chunk_row[text.token_chunk]
    noise = torch.randint(
        FIRST_ORDINARY_TOKEN, vocabulary, text.ids.shape, generator=generator
    )
    return replace(text, ids=torch.where(token_row == row, text.ids, noise))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def check_rows_are_independent(
    model: nn.Module, batch: Batch, vocabularies: Sequence[int], *, rows: int = 3
) -> None:
    """Replaces every token of the other rows: a row's logits must stay the same bits.

    Packing by position ids alone leaks between sequences with some attention functions,
    with no error and no warning, so each training run asks.

    Raises:
        TrainingError: A row's logits moved.
    """
    forward: Callable[[Batch], Tensor] = model.__call__
    generator = torch.Generator().manual_seed(0)
    with _evaluating(model), torch.no_grad():
        base = forward(batch)
        for row in range(min(rows, len(batch))):
            texts = tuple(
                _with_other_rows_changed(cast("PackedText", text), row, size, generator)
                for text, size in zip(batch.texts, vocabularies, strict=True)
            )
            changed = forward(replace(batch, texts=texts))
            if not torch.equal(changed[row], base[row]):
                moved = (changed[row] - base[row]).abs().max().item()
                raise TrainingError(
                    f"The logits of row {row} moved by {moved:.1e} when only the texts of "
                    "other rows changed. This encoder does not keep packed sequences "
                    "apart; choose another text.encoder."
                )
