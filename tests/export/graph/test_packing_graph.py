import numpy as np
import pytest

from preparation_fixtures import run_graph, text_field, wordpiece_tables
from tabweave.export.graph.graph_builder import INT64, Graph
from tabweave.export.graph.packing_graph import find_borders, pack_chunks
from tabweave.export.graph.text_graph import Tokens
from tabweave.text.chunking import pack_messages


def packed(rows, *, limit, max_chunks, truncate):
    """Ids, mask and dropped tokens of rows of messages of tokens, by a graph."""
    graph = Graph()
    ids, ends, begins = (graph.input(n, INT64) for n in ("ids", "ends", "begins"))
    tokens = Tokens(ids, ends, begins, [])
    field = text_field(
        max_sen_len=limit + 2, max_total_chunks=max_chunks, chunk_truncate=truncate
    )
    starts = graph.concat([0], ends.cut([0], [-1]))
    chunks = pack_chunks(
        graph, field, find_borders(graph, tokens), (starts, ends), wordpiece_tables()
    )
    graph.output(chunks.ids, "found", INT64, ["b", "c", "s"])
    graph.output(chunks.mask, "mask", INT64, ["b", "c", "s"])
    graph.output(chunks.dropped_tokens, "dropped", INT64, ["b"])
    sizes = [[len(message) for message in row] for row in rows]
    counts = np.array([size for row in sizes for size in row], np.int64)
    return run_graph(
        graph,
        ids=np.array([t for row in rows for m in row for t in m], np.int64),
        ends=np.cumsum([sum(row) for row in sizes], dtype=np.int64),
        begins=np.cumsum(counts) - counts,
    )


def chunks_of(found, row):
    tables = wordpiece_tables()
    chunks = []
    for ids, mask in zip(found["found"][row], found["mask"][row], strict=True):
        size = int(mask.sum())
        assert mask.tolist() == [1] * size + [0] * (len(mask) - size)
        assert (ids[size:] == tables.pad_id).all()
        if size:
            assert (ids[0], ids[size - 1]) == (tables.cls_id, tables.sep_id)
            chunks.append(ids[1 : size - 1].tolist())
    return chunks


def random_rows(source, count):
    """Rows of short and over-long messages, empty ones and rows without any."""
    lengths = (0, 1, 2, 3, 5, 8, 13, 30)
    return [
        [
            source.integers(10, 99, source.choice(lengths)).tolist()
            for _ in range(source.integers(7))
        ]
        for _ in range(count)
    ]


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize("max_chunks", [1, 3, 50])
@pytest.mark.parametrize("limit", [1, 2, 7, 10, 200])
def test_equals_the_packing_of_training(limit, max_chunks, truncate):
    source = np.random.default_rng(limit * 100 + max_chunks)
    for count in (1, 2, 40):
        rows = random_rows(source, count)
        found = packed(rows, limit=limit, max_chunks=max_chunks, truncate=truncate)
        for row, messages in enumerate(rows):
            expected = pack_messages(
                map(bytes, messages), limit, max_chunks, truncate=truncate, width=1
            )
            assert chunks_of(found, row) == [list(c) for c in expected.chunks]
            assert found["dropped"][row] == expected.dropped


def test_rows_without_tokens_are_padding_wherever_they_stand():
    rows = [[], [[5, 6]], [[]], [], [[7]], []]
    for truncate in (True, False):
        found = packed(rows, limit=4, max_chunks=3, truncate=truncate)
        assert [chunks_of(found, row) for row in range(6)] == [
            [],
            [[5, 6]],
            [],
            [],
            [[7]],
            [],
        ]
        assert found["dropped"].tolist() == [0] * 6
        assert found["found"].shape == (6, 1, 4)


def test_a_batch_is_no_larger_than_its_longest_row_needs():
    found = packed([[[5] * 9], [[6]]], limit=4, max_chunks=9, truncate=False)
    assert found["found"].shape == (2, 3, 6)
    found = packed([[], []], limit=4, max_chunks=9, truncate=False)
    assert found["mask"].shape == (2, 1, 3)
    assert not found["mask"].any()
