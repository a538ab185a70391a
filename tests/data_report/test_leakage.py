import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.data_report import leakage
from tabweave.data_report.leakage import (
    LEAK_ROWS,
    leak_probe,
    strongest_separation,
)
from tabweave.schema import DataSchema

SCHEMA = DataSchema(
    id="i", label="y", categorical=("c",), numeric=("n",), classes=("0", "1"),
    positive_label="1",
)  # fmt: skip


def pairs_auroc(scores, positive):
    wins = [
        (p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]
    ]
    return sum(wins) / len(wins)


def oracle(codes, sizes, labels, num_classes):
    """The definition, row by row and pair by pair."""
    half = np.random.default_rng(0).random(len(codes)) < 0.5
    found = []
    for label in range(num_classes):
        positive = labels == label
        if min(positive.sum(), (~positive).sum()) < LEAK_ROWS:
            continue
        rates = []
        for row, code in enumerate(codes):
            others = half != half[row]
            prior = positive[others].sum() / max(1, others.sum())
            same = others & (codes == code)
            rates.append((positive[same].sum() + prior) / (same.sum() + 1))
        scores = [pairs_auroc(np.array(rates), positive)]
        there = ~np.isnan(sizes)
        hits = positive[there]
        if min(hits.sum(), (~hits).sum()) >= LEAK_ROWS:
            by_size = pairs_auroc(sizes[there], hits)
            scores += [by_size, 1 - by_size]
        else:
            scores.append(0.5)
        found.append(max(scores))
    return max(found, default=None)


@given(
    seed=st.integers(0, 2**20),
    rows=st.integers(1, 90),
    levels=st.integers(1, 12),
    classes=st.integers(2, 3),
)
@settings(max_examples=40, deadline=None)
def test_it_is_the_auroc_that_pairs_give(seed, rows, levels, classes):
    rng = np.random.default_rng(seed)
    codes, labels = rng.integers(levels, size=rows), rng.integers(classes, size=rows)
    sizes = np.where(rng.random(rows) < 0.2, np.nan, rng.integers(5, size=rows))
    found = strongest_separation(codes, sizes, labels, classes)
    expected = oracle(codes, sizes, labels, classes)
    assert (found and found.auroc) == (expected and pytest.approx(expected))


def test_the_class_that_is_told_is_named():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=400)
    found = strongest_separation(labels == 2, None, labels, 4)
    assert (found.auroc, found.label) == (pytest.approx(1.0), 2)


def test_no_class_with_enough_rows_gives_nothing():
    labels = np.array([0] * 100 + [1] * (LEAK_ROWS - 1))
    assert strongest_separation(labels, labels * 1.0, labels, 2) is None


def table(rows, category, number):
    labels = np.arange(rows) % 2
    return pa.table(
        {
            "i": [str(n) for n in range(rows)],
            "y": pa.array(labels).cast(pa.string()),
            "c": category(labels),
            "n": pa.array(number(labels), pa.float32()),
        }
    )


def noise(labels):
    return np.random.default_rng(1).random(len(labels))


def test_every_column_that_knows_the_label_is_near_one():
    leaks = table(400, lambda y: np.where(y, "paid", "open").tolist(), lambda y: -y)
    found = leak_probe(leaks, SCHEMA)["columns"]
    assert all(about["auroc"] > 0.99 for about in found.values())
    harmless = table(400, lambda y: [f"c{n}" for n in range(len(y))], noise)
    found = leak_probe(harmless, SCHEMA)["columns"]
    assert all(about["auroc"] < 0.6 for about in found.values())


def test_being_filled_for_one_class_only_is_seen():
    filled = table(
        400, lambda y: ["a"] * len(y), lambda y: np.where(y, noise(y), np.nan)
    )
    missing = pa.array(np.asarray(filled["n"]), pa.float32(), from_pandas=True)
    filled = filled.set_column(3, "n", missing)
    assert filled["n"].null_count == 200
    assert leak_probe(filled, SCHEMA)["columns"]["n"]["auroc"] > 0.99


def test_a_large_train_table_is_sampled_and_says_so(monkeypatch):
    monkeypatch.setattr(leakage, "PROBED_ROWS", 100)
    leaks = table(400, lambda y: y.astype(str).tolist(), noise)
    found = leak_probe(leaks, SCHEMA)
    assert (found["rows"], found["sampled"]) == (100, True)
    assert found["columns"]["c"]["auroc"] > 0.99
    assert found == leak_probe(leaks, SCHEMA)
