import pickle
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models_fixtures import FEATURES, FIELDS, token_column, write_features, write_tokens
from tabweave.batching.batches import (
    Rows,
    TokenColumn,
    pad,
)
from tabweave.errors import ArtifactError
from tabweave.tables.files import ArrowFile, write_arrow

TOKENS = {
    np.uint16: st.integers(0, 2**16 - 1),
    np.int32: st.integers(0, 2**31 - 1),
}


@st.composite
def columns_and_indices(draw):
    """Rows of 0 to 3 chunks, and any choice of them: repeats, any order, none."""
    dtype = draw(st.sampled_from(list(TOKENS)))
    chunk = st.lists(TOKENS[dtype], min_size=2, max_size=5)
    rows = draw(st.lists(st.lists(chunk, max_size=3), min_size=1, max_size=8))
    index = draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    return dtype, rows, np.array(index, np.int64)


def plain_gather(rows, index):
    """What a packed text says, by the book."""
    found = {"ids": [], "positions": [], "token_chunk": [], "chunk_row": []}
    lengths = []
    for number, row in enumerate(index):
        for chunk in rows[row]:
            for position, token in enumerate(chunk):
                found["ids"].append(token)
                found["positions"].append(position)
                found["token_chunk"].append(len(lengths))
            found["chunk_row"].append(number)
            lengths.append(len(chunk))
    return found, lengths


def column_of(rows, dtype=np.uint16):
    return TokenColumn(pa.chunked_array([token_column(rows, dtype)]))


@settings(deadline=None)
@given(columns_and_indices())
def test_gather_says_what_a_loop_over_rows_says(case):
    dtype, rows, index = case
    packed = column_of(rows, dtype).gather(index)
    expected, lengths = plain_gather(rows, index)
    for name, values in expected.items():
        found = getattr(packed, name)
        assert found.dtype == torch.int64
        assert found.tolist() == values
    assert packed.lengths == lengths
    assert packed.rows == len(index)


@settings(deadline=None)
@given(columns_and_indices())
def test_padding_shows_every_token_at_its_place_and_nothing_else(case):
    dtype, rows, index = case
    ids, mask = pad(column_of(rows, dtype).gather(index), pad_id=7)
    chosen = [rows[n] for n in index]
    chunks = max([1, *map(len, chosen)])
    longest = max([1, *(len(chunk) for row in chosen for chunk in row)])
    assert ids.shape == mask.shape == (len(index), chunks, longest)
    assert ids.dtype == mask.dtype == torch.int64
    for number, row in enumerate(chosen):
        for place in range(chunks):
            chunk = row[place] if place < len(row) else []
            gap = longest - len(chunk)
            assert ids[number, place].tolist() == chunk + [7] * gap
            assert mask[number, place].tolist() == [1] * len(chunk) + [0] * gap


@settings(deadline=None)
@given(columns_and_indices())
def test_counts_are_the_tokens_of_every_row(case):
    dtype, rows, _ = case
    expected = [sum(map(len, row)) for row in rows]
    assert column_of(rows, dtype).token_counts().tolist() == expected


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_the_tokens_are_views_of_the_map(tmp_path, dtype):
    long = [[[2, *range(10, 60), 3]] * 3] * 400
    file = write_tokens(tmp_path / "tokens.arrow", {"t": long}, dtype)
    before = pa.total_allocated_bytes()
    column = TokenColumn(file.open()["t"])
    assert pa.total_allocated_bytes() == before  # Arrow has copied nothing
    buffers = (column.tokens, column.chunk_offsets, column.row_offsets)
    assert not any(buffer.flags.owndata for buffer in buffers)  # neither has NumPy
    assert column.tokens.dtype == dtype
    assert column.gather(np.array([399])).ids.tolist() == [*chain(*long[0])]


def test_a_column_of_several_record_batches_is_refused():
    part = token_column([[[2, 3]]])
    with pytest.raises(ArtifactError, match=r"must be one record batch.*stage text"):
        TokenColumn(pa.chunked_array([part, part]))


@pytest.mark.parametrize("chunked", [[], [token_column([])]])
def test_a_column_without_rows_gives_an_empty_batch(chunked):
    column = TokenColumn(pa.chunked_array(chunked, token_column([]).type))
    assert column.token_counts().tolist() == []
    packed = column.gather(np.zeros(0, np.int64))
    assert (packed.rows, packed.lengths, packed.ids.tolist()) == (0, [], [])


def test_a_batch_holds_the_rows_asked_for_in_that_order(tiny):
    tokens, features = tiny.files()
    rows = Rows(tokens, features, FIELDS)
    index = np.array([5, 0, 5, 2])
    batch = rows.batch(index)
    text, table = tokens.open(), features.open()
    for field, packed in zip(FIELDS, batch.texts, strict=True):
        expected, lengths = plain_gather(text[field].to_pylist(), index)
        assert packed.ids.tolist() == expected["ids"]
        assert packed.lengths == lengths
    values = np.stack([table[name].to_numpy() for name in FEATURES], 1)[index]
    assert batch.features.dtype == torch.float32
    np.testing.assert_array_equal(batch.features.numpy(), values)
    assert batch.labels.tolist() == table["label"].to_numpy()[index].tolist()
    assert batch.index.tolist() == index.tolist()
    assert len(batch) == 4
    assert batch.tokens == sum(len(packed.ids) for packed in batch.texts)
    assert rows.feature_names == list(FEATURES)
    assert rows.ids.to_pylist() == [f"row-{n}" for n in range(48)]


def test_only_the_chosen_fields_are_gathered(tiny):
    files = tiny.files()
    both = Rows(*files, FIELDS)
    for fields in ((), FIELDS[:1], FIELDS[::-1]):
        rows = Rows(*files, fields)
        batch = rows.batch(np.arange(4))
        expected = [both.columns[FIELDS.index(f)].token_counts() for f in fields]
        assert [t.rows for t in batch.texts] == [4] * len(fields)
        np.testing.assert_array_equal(
            rows.token_counts(), sum(expected, np.zeros(len(rows), np.int64))
        )


def test_one_row_is_a_batch_of_one(tiny):
    rows = tiny.rows()
    assert rows[3].index.tolist() == [3]
    assert rows.__getitems__([3, 1]).index.tolist() == [3, 1]


def test_rows_travel_to_another_process_as_paths(tiny):
    rows = tiny.rows()
    content = pickle.dumps(rows)
    assert len(content) < 1000
    again = pickle.loads(content)
    index = np.arange(len(rows))
    a, b = rows.batch(index), again.batch(index)
    assert torch.equal(a.features, b.features)
    assert all(torch.equal(x.ids, y.ids) for x, y in zip(a.texts, b.texts, strict=True))
    assert again.fields == rows.fields
    assert again.token_file == rows.token_file


def test_files_of_different_length_are_refused(tiny):
    tokens, _ = tiny.files(rows=4)
    _, features = tiny.files(rows=5)
    with pytest.raises(
        ArtifactError, match=r"has 4 rows and .* has 5\. They come from"
    ):
        Rows(tokens, features, FIELDS)


def test_an_absent_text_field_is_refused_with_those_there(tiny):
    with pytest.raises(ArtifactError, match=r"no text field \['body'\].*'review'"):
        Rows(*tiny.files(), ("review", "body"))


def test_a_table_without_features_gives_features_of_width_0(tmp_path):
    tokens = write_tokens(tmp_path / "t.arrow", {"t": [[[2, 3]], []]})
    features = write_features(tmp_path / "f.arrow", np.zeros((2, 0)), [0, 1], ())
    batch = Rows(tokens, features, ("t",)).batch(np.array([1, 0]))
    assert batch.features.shape == (2, 0)
    assert batch.texts[0].chunk_row.tolist() == [1]


def test_a_token_table_without_fields_still_opens(tmp_path):
    no_fields = pa.Table.from_struct_array(pa.array([{}, {}], pa.struct([])))
    write_arrow(tmp_path / "t.arrow", no_fields)
    features = write_features(tmp_path / "f.arrow", np.ones((2, 4)), [0, 1])
    rows = Rows(ArrowFile(tmp_path / "t.arrow"), features, ())
    assert rows.token_counts().tolist() == [0, 0]
    assert rows.batch(np.array([1])).texts == ()


def test_to_moves_every_tensor_but_the_row_numbers(tiny):
    batch = tiny.rows().batch(np.arange(4))
    moved = batch.to("meta")
    tensors = [moved.features, moved.labels]
    for text in moved.texts:
        tensors += [text.ids, text.positions, text.token_chunk, text.chunk_row]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.index.device.type == "cpu"
    assert batch.features.device.type == "cpu"
