"""Packs the messages of a row into chunks that an encoder can take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tabweave.text.ragged import byte_offsets, joined, spliced


@dataclass(frozen=True, slots=True)
class PackedMessages:
    """The chunks of one row.

    Attributes:
        chunks: Token bytes of each chunk, without [CLS] and [SEP]; never empty bytes.
        dropped: Tokens that found no place.
    """

    chunks: list[bytes]
    dropped: int


def pack_messages(
    messages: Iterable[bytes],
    limit: int,
    max_chunks: int,
    *,
    truncate: bool,
    width: int,
) -> PackedMessages:
    """Packs messages greedily, in order, into chunks of at most `limit` tokens.

    A message goes into the open chunk if it fits whole, else it opens a new one. A
    message longer than a chunk opens a new one and goes on in the next ones, and
    messages may follow in its last chunk; with `truncate` it keeps its first `limit`
    tokens instead. The first `max_chunks` chunks are kept. A message without tokens
    vanishes.

    Args:
        messages: Token ids of each message as bytes, `width` bytes per token.
        limit: Tokens per chunk, without [CLS] and [SEP].
        max_chunks: Chunks that are kept.
        truncate: Whether an over-long message is cut.
        width: Bytes per token.

    Example:
        >>> pack_messages([b"aa", b"b", b"cc"], 3, 9, truncate=False, width=1).chunks
        [b'aab', b'cc']
    """
    full, total = limit * width, 0
    chunks: list[bytes] = []
    parts: list[bytes] = []
    filled = 0
    for message in messages:
        size = len(message)
        total += size
        if not size or len(chunks) >= max_chunks:
            continue
        if truncate:
            size = min(size, full)
        if filled and filled + size > full:
            chunks.append(b"".join(parts))
            parts, filled = [], 0
        at = 0
        while size - at > full:
            chunks.append(message[at : at + full])
            at += full
        parts.append(message[at:size])
        filled += size - at
    if parts:
        chunks.append(b"".join(parts))
    kept = chunks[:max_chunks]
    return PackedMessages(kept, (total - sum(map(len, kept))) // width)


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """How long and how many the chunks of a row may be.

    Attributes:
        tokens: Tokens per chunk, without [CLS] and [SEP].
        chunks: Chunks that are kept per row.
        truncate: Whether an over-long message is cut.
        width: Bytes per token.
    """

    tokens: int
    chunks: int
    truncate: bool
    width: int


@dataclass(frozen=True, slots=True)
class PackedRows:
    """The chunks of some rows.

    Attributes:
        chunks: Token bytes of the chunks of all rows, one after the other.
        offsets: Row i has the chunks from offsets[i] to offsets[i + 1].
        dropped: Tokens that found no place, for each row.
    """

    chunks: pa.LargeBinaryArray
    offsets: np.ndarray
    dropped: np.ndarray


def pack_rows(
    messages: pa.LargeBinaryArray, offsets: np.ndarray, limits: ChunkLimits
) -> PackedRows:
    """Does what `pack_messages` does with many rows; most of them fit into one chunk.

    Args:
        messages: Token bytes of the messages of all rows, one after the other.
        offsets: Row i has the messages from offsets[i] to offsets[i + 1].
        limits: How long and how many the chunks may be.
    """
    rows = joined(messages, offsets)
    sizes = np.diff(byte_offsets(rows))
    others = np.flatnonzero((sizes == 0) | (sizes > limits.tokens * limits.width))
    packed = [
        pack_messages(
            messages[offsets[row] : offsets[row + 1]].to_pylist(),
            limits.tokens,
            limits.chunks,
            truncate=limits.truncate,
            width=limits.width,
        )
        for row in others.tolist()
    ]
    dropped = np.zeros(len(rows), np.int64)
    dropped[others] = [one.dropped for one in packed]
    counts = [len(one.chunks) for one in packed]
    chunks = [chunk for one in packed for chunk in one.chunks]
    return PackedRows(*spliced(rows, others, counts, chunks), dropped)
