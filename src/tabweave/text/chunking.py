"""Packs the messages of a row into chunks that an encoder can take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
