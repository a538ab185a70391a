"""Attention over packed sequences: no padding, no mask, no fork of the encoder.

Hugging Face encoders pass unknown keyword arguments down to the attention function that
their configuration names. We register one that reads the sequence lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tabweave.batches import Batch, PackedText
from tabweave.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

PACKED = "tabweave_packed"
FIRST_ORDINARY_TOKEN = 5


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    lengths: Sequence[int] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Softmax attention inside each sequence of one packed row.

    Matrix products per sequence beat the fused CPU kernel for sequences of up to about
    150 tokens, backward included.

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
    out = []
    pieces = (torch.split(x[0], list(lengths), 1) for x in (query, key, value))
    for q, k, v in zip(*pieces, strict=True):
        score = torch.baddbmm(
            q.new_empty(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=scale
        )
        out.append(torch.bmm(torch.softmax(score, -1).to(v.dtype), v))
    return torch.cat(out, 1)[None].transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, **__: Any) -> None:
    return None


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _no_mask)


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
                _with_other_rows_changed(text, row, size, generator)
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
