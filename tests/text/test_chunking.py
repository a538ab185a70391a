import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.text.chunking import ChunkLimits, pack_messages, pack_rows

messages_of_letters = st.lists(st.text("abcdefgh", max_size=14), max_size=12)
limits = st.integers(1, 9)
widths = st.sampled_from([1, 2, 4])


def oracle(messages, limit, max_chunks, truncate):
    """Slow: lists of single tokens, one open chunk, the rules word for word."""
    done, chunk = [], []
    for message in messages:
        tokens = list(message)
        if truncate:
            tokens = tokens[:limit]
        if len(chunk) + len(tokens) > limit and chunk:
            done.append(chunk)
            chunk = []
        for token in tokens:
            if len(chunk) == limit:
                done.append(chunk)
                chunk = []
            chunk.append(token)
    if chunk:
        done.append(chunk)
    kept = ["".join(tokens) for tokens in done[:max_chunks]]
    return kept, sum(map(len, messages)) - sum(map(len, kept))


def pack(messages, limit, max_chunks, truncate, width):
    """Packs letters as tokens of `width` bytes and reads them back as letters."""
    encoded = [m.encode().ljust(1)[: len(m)] for m in messages]
    wide = [b"".join(bytes([b]) + b"\0" * (width - 1) for b in m) for m in encoded]
    packed = pack_messages(wide, limit, max_chunks, truncate=truncate, width=width)
    return [chunk[::width].decode() for chunk in packed.chunks], packed.dropped


@given(messages_of_letters, limits, st.integers(1, 6), st.booleans(), widths)
def test_equals_the_oracle(messages, limit, max_chunks, truncate, width):
    found = pack(messages, limit, max_chunks, truncate, width)
    assert found == oracle(messages, limit, max_chunks, truncate)


@given(messages_of_letters, limits, widths)
def test_no_token_is_lost_and_the_order_stays(messages, limit, width):
    chunks, dropped = pack(messages, limit, 10_000, False, width)
    assert "".join(chunks) == "".join(messages)
    assert dropped == 0
    assert all(0 < len(chunk) <= limit for chunk in chunks)


@given(messages_of_letters, limits)
def test_a_message_that_fits_a_chunk_is_never_torn(messages, limit):
    numbered = [bytes([n]) * min(len(m), limit) for n, m in enumerate(messages)]
    packed = pack_messages(numbered, limit, 10_000, truncate=False, width=1)
    for message in filter(None, numbered):
        assert sum(message in chunk for chunk in packed.chunks) == 1


@given(messages_of_letters, limits, st.integers(1, 6), st.booleans())
def test_fewer_chunks_are_a_prefix_of_more(messages, limit, max_chunks, truncate):
    few, dropped = pack(messages, limit, max_chunks, truncate, 1)
    more, fewer_dropped = pack(messages, limit, max_chunks + 1, truncate, 1)
    assert more[:max_chunks] == few
    assert fewer_dropped <= dropped


@pytest.mark.parametrize(
    ("messages", "truncate", "chunks", "dropped"),
    [
        ([], False, [], 0),
        (["", ""], False, [], 0),
        (["ab", "", "c"], False, ["abc"], 0),
        (["aaa", "bb"], False, ["aaa", "bb"], 0),
        (["aaaa"], False, ["aaaa"], 0),
        (["a", "bbbbbb", "c"], False, ["a", "bbbb", "bbc"], 0),
        (["a", "bbbbbb", "c"], True, ["a", "bbbb", "c"], 2),
        (["aaaa", "bbbb", "cccc", "dddd"], False, ["aaaa", "bbbb", "cccc"], 4),
        (["a" * 30], False, ["aaaa"] * 3, 18),
    ],
)
def test_rules_with_four_tokens_and_three_chunks(messages, truncate, chunks, dropped):
    assert pack(messages, 4, 3, truncate, 2) == (chunks, dropped)


@given(
    st.lists(messages_of_letters, max_size=8),
    limits,
    st.integers(1, 6),
    st.booleans(),
    widths,
)
def test_many_rows_are_packed_as_each_row_alone(rows, limit, most, truncate, width):
    wide = [[bytes(width * len(m) * [65 + len(m)]) for m in row] for row in rows]
    flat = [message for row in wide for message in row]
    offsets = np.cumsum([0, *map(len, wide)])
    found = pack_rows(
        pa.array(flat, pa.large_binary()),
        offsets,
        ChunkLimits(limit, most, truncate, width),
    )
    expected = [
        pack_messages(row, limit, most, truncate=truncate, width=width) for row in wide
    ]
    assert found.chunks.to_pylist() == [c for one in expected for c in one.chunks]
    assert np.diff(found.offsets).tolist() == [len(one.chunks) for one in expected]
    assert found.dropped.tolist() == [one.dropped for one in expected]
