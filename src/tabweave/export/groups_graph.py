"""Runs a model over the rows of a batch in groups of like size, in a graph.

A model computes padded tensors: every row is as wide as the widest one, and attention
costs its square. So a batch of texts of any lengths is sorted and cut into groups of
bounded size, as a scoring does; memory grows with the widest row and not with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto

from tabweave.export.graph_builder import FLOAT, INT64, Graph, Tensor

ROWS = 32
"""Most rows of a group."""
TOKENS = 2**12
"""Most tokens of a group, padding included; a longer row is a group of its own."""
NARROWEST = 3
"""Tokens of a chunk at least: those before and behind it, and one."""


@dataclass(frozen=True)
class _Sizes:
    """The chunks, and the tokens of the longest chunk, of every row of one text."""

    chunks: Tensor
    tokens: Tensor


def in_groups(
    graph: Graph,
    core: GraphProto,
    names: Sequence[tuple[str, str]],
    texts: Sequence[tuple[str, str]],
) -> Tensor:
    """Probabilities [batch, classes] of a model, computed group by group.

    Args:
        graph: Where the nodes go.
        core: The model with one output; its weights go into the body of the loop.
        names: Value that is there -> input of the model.
        texts: Names of ids and mask of every text, among the values.
    """
    sizes = [_sizes(graph, Tensor(graph, mask)) for _, mask in texts]
    key = sizes[0].chunks * sizes[0].tokens
    for one in sizes[1:]:
        key = key + one.chunks * one.tokens
    rows = key.size().reshape(1)
    order = _ascending(graph, key, rows)
    found = _loop(graph, core, (order, rows), sizes, (names, texts))
    places = graph.zeros(key.size()).with_entries(order, graph.count_up(key.size()))
    return found[places]


def _sizes(graph: Graph, mask: Tensor) -> _Sizes:
    lengths = graph.op("ReduceSum", mask, [2], keepdims=0)
    chunks = (lengths > 0).number().row_sum()
    widest = graph.op("ReduceMax", lengths, [1], keepdims=0)
    return _Sizes(graph.most(chunks, 1), graph.most(widest, NARROWEST))


def _ascending(graph: Graph, key: Tensor, rows: Tensor) -> Tensor:
    """Positions of the entries in the order of their size."""
    _, order = graph.ops("TopK", 2, key, rows, axis=0, largest=0)
    return order


def _loop(
    graph: Graph,
    core: GraphProto,
    rows: tuple[Tensor, Tensor],
    sizes: Sequence[_Sizes],
    given: tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]],
) -> Tensor:
    order, count = rows
    (output,) = core.output
    classes = output.type.tensor_type.shape.dim[1].dim_value
    nothing = graph.constant(np.empty((0, classes), np.float32))

    def body(start: Tensor, found: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        pick, widths = _next_group(graph, order, start, sizes)
        _feed(graph, pick, widths, given)
        graph.take(core.node)
        stop = start + pick.size().reshape(1)
        together = graph.concat(found, Tensor(graph, output.name))
        return (stop < count).reshape(), [stop, together]

    kinds = [(INT64, [1]), (FLOAT, [None, classes])]
    first = [graph.constant([0]), nothing]
    _, answers = graph.repeat(first, kinds, body, weights=core.initializer)
    return answers


def _next_group(
    graph: Graph, order: Tensor, start: Tensor, sizes: Sequence[_Sizes]
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The rows of a group, and its chunks and tokens, as vectors of one, of each text."""
    pick = order.cut(start, start + ROWS)
    number = graph.count_up(pick.size())
    until = number.column() >= graph.op("Unsqueeze", number, [0])
    total, widths = None, []
    for one in sizes:
        chunks = _largest_so_far(graph, one.chunks[pick], until)
        tokens = _largest_so_far(graph, one.tokens[pick], until)
        widths.append((chunks, tokens))
        area = chunks * tokens
        total = area if total is None else total + area
    assert total is not None, "a model that is run in groups reads a text"
    fits = (total * (number + 1) <= TOKENS).number()
    rows = graph.most(graph.op("ReduceSum", fits, [0], keepdims=1), 1)
    last = rows - 1
    return pick.cut([0], rows), [(c[last], t[last]) for c, t in widths]


def _largest_so_far(graph: Graph, values: Tensor, until: Tensor) -> Tensor:
    row = graph.op("Unsqueeze", values, [0])
    return graph.op("ReduceMax", graph.select(until, row, 0), [1], keepdims=0)


def _feed(
    graph: Graph,
    pick: Tensor,
    widths: Sequence[tuple[Tensor, Tensor]],
    given: tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]],
) -> None:
    """What the model reads of the rows of a group, padded to the widest of them."""
    names, texts = given
    width_of = {name: w for pair, w in zip(texts, widths, strict=True) for name in pair}
    for name, inside in names:
        rows = Tensor(graph, name)[pick]
        if name in width_of:
            chunks, tokens = width_of[name]
            rows = rows.cut([0], chunks, axis=1).cut([0], tokens, axis=2)
        graph.append("Identity", [rows], [inside])
