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

from tabweave.export.graph.graph_builder import FLOAT, INT64, Graph, Tensor

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

    def area(self, graph: Graph) -> Tensor:
        """Tokens of every row [batch] as it would be padded among rows of less area.

        A row of several chunks counts as if its chunks were the longest of all; so no
        row of less area is longer or has more chunks.
        """
        longest = graph.select(self.chunks > 1, self.tokens.largest(), self.tokens)
        return self.chunks * longest


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
    area = sizes[0].area(graph)
    for one in sizes[1:]:
        area = area + one.area(graph)
    rows = area.size().reshape(1)
    areas, order = graph.ops("TopK", 2, area, rows, axis=0, largest=0)
    found = _loop(graph, core, (areas, order, rows), sizes, (names, texts))
    places = graph.zeros(rows).with_entries(order, graph.count_up(area.size()))
    return found[places]


def _sizes(graph: Graph, mask: Tensor) -> _Sizes:
    lengths = graph.op("ReduceSum", mask, [2], keepdims=0)
    chunks = (lengths > 0).number().row_sum()
    widest = graph.op("ReduceMax", lengths, [1], keepdims=0)
    return _Sizes(graph.most(chunks, 1), graph.most(widest, NARROWEST))


def _loop(
    graph: Graph,
    core: GraphProto,
    rows: tuple[Tensor, Tensor, Tensor],
    sizes: Sequence[_Sizes],
    given: tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]],
) -> Tensor:
    areas, order, count = rows
    (output,) = core.output
    classes = output.type.tensor_type.shape.dim[1].dim_value
    nothing = graph.constant(np.empty((0, classes), np.float32))

    def body(start: Tensor, found: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        pick, widths = _next_group(graph, (areas, order), start, sizes)
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
    graph: Graph,
    rows: tuple[Tensor, Tensor],
    start: Tensor,
    sizes: Sequence[_Sizes],
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The rows of a group, and its chunks and tokens, as vectors of one, of each text."""
    areas, order = (one.cut(start, start + ROWS) for one in rows)
    padded = areas * graph.constant(np.arange(1, ROWS + 1)).cut(
        [0], areas.size().reshape(1)
    )
    fits = (padded <= TOKENS).number()
    count = graph.most(graph.op("ReduceSum", fits, [0], keepdims=1), 1)
    pick = order.cut([0], count)
    return pick, [
        (one.chunks[pick].largest().reshape(1), one.tokens[pick].largest().reshape(1))
        for one in sizes
    ]


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
