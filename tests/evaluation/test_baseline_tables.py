from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tabweave.evaluation.baseline_tables import (
    baseline_inputs,
    fit_baseline_tables,
    read_baselines,
    read_predictions,
)
from tabweave.evaluation.config import EvaluationConfig
from tabweave.evaluation.predictions import prediction_table
from tabweave.schema import DataSchema
from tabweave.tables.files import ArrowFile, TableFile, write_arrow, write_parquet

SCHEMA = DataSchema(
    id="key",
    label="y",
    text=("title", "body"),
    categorical=("kind",),
    numeric=("price",),
    classes=("no", "a:b"),
    positive_label="a:b",
)


@pytest.fixture
def split(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    words = np.where(labels == 1, "good", "bad")
    table = pa.table(
        {
            "key": [str(i) for i in range(60)],
            "title": [f"{w} thing" for w in words],
            "body": ["" if i % 7 == 0 else "a text" for i in range(60)],
            "kind": rng.choice(["x", "y", ""], 60),
        }
    )
    features = pa.table(
        {
            "id": table["key"],
            "label": pa.array(labels),
            "num:price": pa.array(rng.normal(size=60).astype(np.float32)),
            "cat:kind": pa.array(np.full(60, 9, np.float32)),
            "missing:price": pa.array(np.zeros(60, np.float32)),
        }
    )
    write_parquet(tmp_path / "t.parquet", table)
    write_arrow(tmp_path / "f.arrow", features)
    return TableFile(tmp_path / "t.parquet"), ArrowFile(tmp_path / "f.arrow")


def test_inputs_join_texts_and_leave_out_what_the_label_has_been_in(split):
    inputs = baseline_inputs(*split, SCHEMA)
    table = split[0].read()
    assert inputs.texts == [
        f"{title} {body}"
        for title, body in zip(
            table["title"].to_pylist(), table["body"].to_pylist(), strict=True
        )
    ]
    assert list(inputs.categorical) == ["kind"]
    # Risk values (cat:) hold the target; the baseline one-hot encodes instead.
    assert inputs.numeric.shape == (60, 2)
    assert 9 not in inputs.numeric


def test_columns_that_are_not_in_the_schema_are_left_out(split):
    inputs = baseline_inputs(*split, SCHEMA.model_copy(update={"categorical": ()}))
    whole = baseline_inputs(*split, SCHEMA)
    assert inputs.categorical == {}
    # Numbers come from the features, which hold the selected ones; texts all stay.
    np.testing.assert_array_equal(inputs.numeric, whole.numeric)
    assert inputs.texts == whole.texts


def test_a_schema_without_text_gives_empty_texts(split):
    schema = SCHEMA.model_copy(update={"text": ()})
    assert baseline_inputs(*split, schema).texts == [""] * 60


def test_answers_come_back_from_the_table_per_baseline_and_class(split):
    inputs = baseline_inputs(*split, SCHEMA)
    ids = split[1].open()["id"]
    tables, report = fit_baseline_tables(
        dict.fromkeys(("train", "val", "test"), inputs),
        dict.fromkeys(("train", "val", "test"), ids),
        SCHEMA,
        EvaluationConfig(),
    )
    assert tables["test"]["id"].to_pylist() == ids.to_pylist()
    answers = read_baselines(tables["test"], SCHEMA)
    assert set(answers) == {"majority", "logistic_regression"} == set(report)
    for probabilities in answers.values():
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    predicted = answers["logistic_regression"].argmax(1)
    assert (predicted == inputs.labels).mean() > 0.95


@pytest.mark.parametrize(
    "classes", [("b", "c:b"), ("c:b", "b"), ("a:", ":a"), (":", "")]
)
def test_labels_with_colons_come_back_too(split, classes):
    schema = SCHEMA.model_copy(update={"classes": classes})
    inputs = baseline_inputs(*split, SCHEMA)
    tables, _ = fit_baseline_tables(
        dict.fromkeys(("train", "val", "test"), inputs),
        dict.fromkeys(("train", "val", "test"), split[1].open()["id"]),
        schema,
        EvaluationConfig(),
    )
    answers = read_baselines(tables["val"], schema)
    assert list(answers) == ["majority", "logistic_regression"]
    shares = np.bincount(inputs.labels) / 60
    np.testing.assert_allclose(answers["majority"][0], shares, atol=1e-6)


def test_without_baselines_the_tables_hold_only_ids(split):
    inputs = baseline_inputs(*split, SCHEMA)
    tables, report = fit_baseline_tables(
        dict.fromkeys(("train", "val", "test"), inputs),
        dict.fromkeys(("train", "val", "test"), split[1].open()["id"]),
        SCHEMA,
        EvaluationConfig(baselines=False),
    )
    assert report == {}
    assert tables["val"].column_names == ["id"]
    assert read_baselines(tables["val"], SCHEMA) == {}


def test_predictions_come_back_as_they_went_in():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 20)
    probabilities = rng.dirichlet([1, 1], 20).astype(np.float32)
    table = prediction_table(
        [str(i) for i in range(20)], labels, probabilities, SCHEMA.classes
    )
    again, label_again = read_predictions(table, SCHEMA)
    np.testing.assert_array_equal(again, probabilities)
    np.testing.assert_array_equal(label_again, labels)
