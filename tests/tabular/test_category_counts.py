"""Counts are those of a plain loop, and parts add up to the whole."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import SchemaError
from tabweave.schema import DataSchema
from tabweave.tabular import category_counts
from tabweave.tabular.category_counts import count_categories, count_table

SCHEMA = DataSchema(
    id="id",
    label="y",
    categorical=("c", "d"),
    classes=("x", "y", "z"),
    positive_label="z",
)
ROWS = st.lists(
    st.tuples(st.sampled_from("xyz"), st.text(max_size=2), st.sampled_from(["", "a"])),
    min_size=1,
    max_size=40,
)


def table(rows):
    labels, c, d = zip(*rows, strict=True)
    ids = [str(i) for i in range(len(rows))]
    return pa.table({"id": ids, "y": labels, "c": c, "d": d})


def count(data, chunk=None):
    return count_categories(data.to_batches(chunk), SCHEMA)


@given(rows=ROWS)
@settings(max_examples=40, deadline=None)
def test_counts_are_those_of_a_plain_loop(rows):
    data = table(rows)
    folds = [i * i % 4 for i in range(len(rows))]
    seen = Counter(
        (category, fold, SCHEMA.classes.index(label))
        for (label, category, _), fold in zip(rows, folds, strict=True)
    )
    column = count_table(data, SCHEMA, np.array(folds), 5).columns["c"]
    names = column.categories.to_pylist()
    assert names == sorted({category for _, category, _ in rows})
    for (i, fold, label), found in np.ndenumerate(column.rows):
        assert found == seen[names[i], fold, label]
    total = count(data).columns["c"]
    assert total.rows.shape == (len(names), 1, 3)
    assert total.per_class() == column.per_class()


@given(rows=ROWS, cut=st.integers(0, 40), chunk=st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_parts_add_up_to_the_whole(rows, cut, chunk):
    data = table(rows)
    cut = max(1, min(cut, len(rows) - 1))
    whole = count(data)
    assert count(data, chunk) == whole
    if len(rows) > 1:
        first, second = count(data.slice(0, cut)), count(data.slice(cut))
        assert first + second == whole
        assert second + first == whole


def test_many_batches_are_added_up_on_the_way(monkeypatch):
    monkeypatch.setattr(category_counts, "PENDING", 3)
    data = table([("xyz"[i % 3], str(i % 7), "") for i in range(50)])
    assert count(data, 4) == count(data)


def test_different_counts_differ():
    first = count(table([("x", "a", "")]))
    assert first != count(table([("y", "a", "")]))
    assert first != count(table([("x", "b", "")]))
    assert first != "counts"


def test_counts_of_another_kind_are_refused():
    data = table([("x", "a", "")])
    other = SCHEMA.model_copy(update={"classes": ("x", "z", "y")})
    for counted in (
        count_table(data, SCHEMA, np.zeros(1, np.int64), 2),
        count_table(data, other),
    ):
        with pytest.raises(SchemaError, match="do not add up"):
            count(data) + counted


def test_no_batch_is_refused():
    with pytest.raises(SchemaError, match="train split is empty"):
        count_categories([], SCHEMA)
