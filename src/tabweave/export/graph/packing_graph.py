"""Packs the tokens of rows into chunks, in a graph: `tabweave.text.chunking` as jumps.

Token numbers run through all rows. A chunk that starts at token p ends at the last
message border that is within reach of p. If there is none behind p, the message at p is
longer than a chunk: it fills one and goes on, or it is cut and the next message follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabweave.export.graph.graph_builder import Graph, Tensor
from tabweave.export.graph.text_graph import Tokens
from tabweave.export.graph.wordpiece import WordPiece
from tabweave.text.config import TextField


@dataclass(frozen=True)
class Chunks:
    """The chunks of one text field.

    Attributes:
        ids: Token ids [batch, chunks, tokens] with those before and behind a chunk.
        mask: 1 for a token, 0 for padding; same shape.
        dropped_tokens: Tokens of each row that found no place [batch].
    """

    ids: Tensor
    mask: Tensor
    dropped_tokens: Tensor


@dataclass(frozen=True)
class Borders:
    """The tokens of all rows, and where messages and rows begin, in token numbers.

    Attributes:
        ids: The token ids.
        at: The token numbers, ascending; the last one, the end of all, stands twice.
        number: For each token number, how many borders there are up to it.
    """

    ids: Tensor
    at: Tensor
    number: Tensor

    def last(self, token: Tensor) -> Tensor:
        """The last border up to a token."""
        return self.at[self.number[token] - 1]

    def following(self, token: Tensor) -> Tensor:
        """The first border behind a token; behind the last border, that itself."""
        return self.at[self.number[token]]


def find_borders(graph: Graph, tokens: Tokens) -> Borders:
    """The borders of all rows; the end of the last row is one too."""
    begins = graph.concat([0], tokens.row_ends, tokens.message_begins)
    nowhere = graph.zeros(tokens.ids.size() + 1)
    flags = nowhere.with_entries(begins, begins * 0 + 1)
    at = graph.concat((flags > 0).places(), tokens.ids.size().reshape(1))
    return Borders(tokens.ids, at, flags.running_sum())


def pack_chunks(
    graph: Graph,
    field: TextField,
    borders: Borders,
    rows: tuple[Tensor, Tensor],
    tables: WordPiece,
) -> Chunks:
    """The chunks of one text field.

    Args:
        graph: Where the nodes go.
        field: Says how long and how many chunks may be.
        borders: The tokens of all fields that share the vocabulary, and their borders.
        rows: First token of each row of this field, and the first behind it.
        tables: The vocabulary, for the tokens before and behind a chunk.
    """
    limit = field.max_sen_len - 2
    start, end = rows

    def step(number: Tensor, at: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        reach = graph.least(at + limit, end)
        whole = borders.last(reach)
        longer = borders.following(at) if field.chunk_truncate else reach
        behind = graph.least(graph.select(whole > at, whole, longer), end)
        length = graph.least(behind - at, limit)
        return (end - behind).largest() > 0, [behind], [at, length]

    _, begins, lengths = graph.loop(
        field.max_total_chunks, graph.constant(np.array(True)), [start], step
    )
    dropped = end - start - graph.op("ReduceSum", lengths, [0], keepdims=0)
    begins, lengths = (
        graph.op("Transpose", one, perm=[1, 0]) for one in (begins, lengths)
    )
    return Chunks(*_filled(graph, borders.ids, (begins, lengths), tables), dropped)


def _filled(
    graph: Graph, ids: Tensor, chunks: tuple[Tensor, Tensor], tables: WordPiece
) -> tuple[Tensor, Tensor]:
    """Ids and mask of chunks, given the first token and the length [batch, chunks].

    A chunk without tokens is all padding.
    """
    begins, lengths = (graph.op("Unsqueeze", one, [2]) for one in chunks)
    place = graph.count_up(graph.most(lengths.largest(), 1) + 2)
    # Place 0 is the token before the chunk, which reads the token before it, if any.
    token = graph.concat([0], ids, [0, 0])[graph.least(begins + place, ids.size() + 1)]
    token = graph.select(place.equals(0), tables.cls_id, token)
    token = graph.select(graph.op("Equal", place, lengths + 1), tables.sep_id, token)
    mask = graph.op("Less", place, lengths + 2) & (lengths > 0)
    return graph.select(mask, token, tables.pad_id), mask.number()
