import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.data_report import summaries
from tabweave.schema import DataSchema

SCHEMA = DataSchema(
    id="i", label="y", text=("t",), categorical=("c",), numeric=("n",),
    classes=("b", "a", "never"), positive_label="a",
)  # fmt: skip
ROW = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["", "x", "日本", "a longer text"]),
    st.sampled_from(["", "u", "v"]),
    st.none() | st.integers(-5, 5).map(float),
)
ROWS = st.lists(ROW, min_size=1, max_size=20)


def table(rows):
    labels, texts, categories, numbers = zip(*rows, strict=True)
    whole = pa.table(
        {
            "i": [str(n) for n in range(len(rows))],
            "y": labels,
            "t": texts,
            "c": categories,
            "n": pa.array(numbers, pa.float32()),
        }
    )
    half = len(rows) // 2
    return pa.concat_tables([whole[:half], whole[half:]])


@given(ROWS)
def test_counts_are_those_of_a_loop(rows):
    found = table(rows)
    labels, texts, categories, numbers = zip(*rows, strict=True)
    counts = [labels.count("b"), labels.count("a"), 0]
    assert summaries.class_rows(found, SCHEMA) == counts
    assert summaries.missing_cells(found, SCHEMA) == {
        "t": texts.count(""),
        "c": categories.count(""),
        "n": numbers.count(None),
    }
    assert summaries.distinct_cells(found, SCHEMA) == {"c": len(set(categories))}
    columns = {"t": texts, "c": categories, "n": numbers}
    constant = [name for name, cells in columns.items() if len(set(cells)) == 1]
    assert summaries.constant_columns(found, SCHEMA) == constant


@given(st.lists(st.none() | st.integers(-1000, 1000), max_size=30))
def test_numbers_are_summed_up_as_statistics_does(values):
    there = [float(v) for v in values if v is not None]
    found = summaries.numeric_summary(pa.chunked_array([pa.array(values, "float32")]))
    if not there:
        assert set(found.values()) == {None}
        return
    assert (found["min"], found["max"]) == (min(there), max(there))
    assert found["mean"] == pytest.approx(statistics.fmean(there))
    assert found["median"] == pytest.approx(statistics.median(there))
    if len(there) > 1:
        low, _, high = statistics.quantiles(there, n=4, method="inclusive")
        assert (found["q25"], found["q75"]) == pytest.approx((low, high))


def test_a_mean_of_many_numbers_keeps_its_digits():
    column = pa.chunked_array([pa.array([16_777_216.0, 1.0] * 5000, "float32")])
    assert summaries.numeric_summary(column)["mean"] == (16_777_216 + 1) / 2


@given(st.lists(st.text("aé🙂日", max_size=200), max_size=30))
def test_lengths_are_characters_of_texts_that_are_there(texts):
    lengths = summaries.text_lengths(pa.chunked_array([pa.array(texts, "string")]))
    assert lengths.tolist() == [len(text) for text in texts if text]
    edges = summaries.length_edges(int(lengths.max(initial=0)))
    assert edges == sorted(set(edges))
    found = summaries.length_summary(lengths, edges)
    assert sum(found["histogram"]) == len(lengths)
    assert len(found["histogram"]) == len(edges) - 1
    if len(lengths):
        assert found["median"] == statistics.median(lengths.tolist())
        assert found["p95"] == pytest.approx(np.percentile(lengths, 95))
        assert found["max"] == max(lengths)


def test_unseen_categories_are_rows_that_train_cannot_know():
    train = pa.table({"c": ["a", "b", "b", ""]})
    other = pa.table({"c": ["a", "z", "z", "y", ""]})
    found = summaries.unseen_categories(train, other, SCHEMA)
    assert found == {"c": {"rows": 3, "share": 0.6}}


@given(st.lists(st.text("ab", min_size=70, max_size=120), unique=True, max_size=8))
def test_names_are_short_and_stay_apart(cells):
    names = summaries.display_names(cells)
    assert len(set(names)) == len(cells)
    assert all(len(name) <= summaries.LONGEST_CELL for name in names)
    assert all(n == c for n, c in zip(names, cells, strict=True) if len(c) <= 80)


def test_names_that_begin_alike_are_numbered():
    first, second = summaries.display_names(["x" * 100 + "1", "x" * 100 + "2"])
    assert first == "x" * 79 + "…"
    assert second == "x" * 75 + "… (2)"
