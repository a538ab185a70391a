import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tabweave.errors import SchemaError
from tabweave.evaluation.baselines import (
    BaselineInputs,
    fit_baselines,
    sample_rows,
)
from tabweave.evaluation.config import EvaluationConfig
from tabweave.schema import DataSchema

CLOTHING = Path(
    os.environ.get("TABWEAVE_DATA", Path(__file__).parents[3] / "shared" / "data")
) / ("womens_clothing")
CONFIG = EvaluationConfig()


def schema(*classes):
    return DataSchema(
        id="i", label="y", text=("t",), classes=classes, positive_label=classes[-1]
    )


BINARY = schema("0", "1")


def inputs(labels, seed, *, text=False, category=False, number=False):
    """Rows that show their label in the named places and nowhere else."""
    rng = np.random.default_rng([seed, 1])
    labels = np.asarray(labels)
    hidden = rng.integers(0, 2, len(labels))
    words = [
        ["good fine", "bad late", "odd new"][k] for k in (labels if text else hidden)
    ]
    kinds = ["xyz"[k] for k in (labels if category else hidden)]
    numbers = rng.normal(size=(len(labels), 2))
    if number:  # far from 0 on either side: nothing that a straight line could tell
        numbers[:, 0] = np.where(labels == 1, 2, 0.3) * rng.choice([-1, 1], len(labels))
    return BaselineInputs(words, {"kind": kinds}, numbers.astype(np.float32), labels)


def splits(classes=2, rows=150, **where):
    return [
        inputs(np.random.default_rng(seed).integers(0, classes, rows), seed, **where)
        for seed in range(3)
    ]


def auroc(baseline, split, labels):
    return roc_auc_score(labels, baseline.probabilities[split][:, 1])


def test_majority_says_the_shares_of_train():
    train, val, test = splits()
    majority, _ = fit_baselines(train, val, test, BINARY, CONFIG)
    share = np.mean(train.labels == 1)
    assert majority.name == "majority"
    assert set(majority.probabilities) == {"val", "test"}
    for probabilities in majority.probabilities.values():
        assert probabilities.shape == (150, 2)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(
            probabilities, np.tile([1 - share, share], (150, 1)), atol=1e-6
        )
    assert (majority.train_rows, majority.fitted_rows) == (150, 150)


@pytest.mark.parametrize("where", ["text", "category", "number"])
def test_logistic_regression_reads_every_kind_of_column(where):
    train, val, test = splits(**{where: True})
    _, model = fit_baselines(train, val, test, BINARY, CONFIG)
    assert model.name == "logistic_regression"
    for split, part in (("val", val), ("test", test)):
        assert auroc(model, split, part.labels) > 0.98
        assert model.probabilities[split].dtype == np.float32
        np.testing.assert_allclose(model.probabilities[split].sum(axis=1), 1, atol=1e-6)
    assert model.details["converged"]


def test_without_a_signal_it_finds_none():
    train, val, test = splits(rows=600)
    _, model = fit_baselines(train, val, test, BINARY, CONFIG)
    assert auroc(model, "test", test.labels) == pytest.approx(0.5, abs=0.1)


def test_classes_keep_the_order_of_the_schema():
    train, val, test = splits(classes=3, text=True)
    classes = schema("zebra", "ant", "bee")
    _, model = fit_baselines(train, val, test, classes, CONFIG)
    predicted = model.probabilities["test"].argmax(axis=1)
    assert np.mean(predicted == test.labels) > 0.98


def test_a_class_that_train_never_showed_has_probability_0():
    train, val, test = splits(text=True)
    for baseline in fit_baselines(train, val, test, schema("0", "1", "2"), CONFIG):
        assert baseline.probabilities["test"].shape == (150, 3)
        assert not baseline.probabilities["test"][:, 2].any()


def test_equal_inputs_give_equal_bits():
    first, again = (
        fit_baselines(*splits(text=True), BINARY, CONFIG)[1] for _ in range(2)
    )
    for split in ("val", "test"):
        assert np.array_equal(first.probabilities[split], again.probabilities[split])


def test_test_rows_change_nothing_but_their_own_answers():
    train, val, test = splits(text=True, rows=80)
    other = replace(
        test,
        texts=["unseen words here"] * 80,
        categorical={"kind": ["never seen"] * 80},
        labels=1 - test.labels,
    )
    one = fit_baselines(train, val, test, BINARY, CONFIG)[1]
    two = fit_baselines(train, val, other, BINARY, CONFIG)[1]
    assert one.details == two.details
    assert np.array_equal(one.probabilities["val"], two.probabilities["val"])
    turned = replace(test, labels=1 - test.labels)
    three = fit_baselines(train, val, turned, BINARY, CONFIG)[1]
    assert np.array_equal(one.probabilities["test"], three.probabilities["test"])


def test_val_settles_the_penalty():
    train, val, test = splits(text=True, rows=300)
    clear = fit_baselines(train, val, test, BINARY, CONFIG)[1]
    # Where val contradicts train, the weakest belief loses least.
    turned = replace(val, labels=1 - val.labels)
    doubtful = fit_baselines(train, turned, test, BINARY, CONFIG)[1]
    assert doubtful.details["C"] < clear.details["C"]
    assert clear.details["val_log_loss"] < 0.1


@pytest.mark.parametrize(
    "texts", [["one only", *[""] * 59], [""] * 60, [f"w{i}" for i in range(60)]]
)
def test_texts_without_a_repeated_word_are_no_obstacle(texts):
    train, val, test = splits(rows=60, category=True)
    train = replace(train, texts=texts)
    _, model = fit_baselines(train, val, test, BINARY, CONFIG)
    assert auroc(model, "test", test.labels) > 0.98


def test_tables_without_categories_or_numbers_are_no_obstacle():
    parts = [
        replace(part, categorical={}, numeric=np.zeros((len(part.labels), 0)))
        for part in splits(text=True)
    ]
    _, model = fit_baselines(*parts, BINARY, CONFIG)
    assert auroc(model, "test", parts[2].labels) > 0.98


def test_with_nothing_to_go_by_it_says_the_shares_of_train():
    parts = [
        replace(
            part,
            texts=[""] * 60,
            categorical={},
            numeric=np.zeros((60, 0)),
        )
        for part in splits(rows=60)
    ]
    majority, model = fit_baselines(*parts, BINARY, CONFIG)
    np.testing.assert_allclose(
        model.probabilities["test"], majority.probabilities["test"], atol=1e-3
    )


def test_a_larger_train_split_is_sampled_and_the_result_says_so():
    config = EvaluationConfig(baseline_max_rows=100)
    majority, model = fit_baselines(*splits(text=True, rows=400), BINARY, config)
    assert majority.fitted_rows == 400
    assert model.train_rows == 400
    assert 98 <= model.fitted_rows <= 100


def test_a_sample_keeps_the_shares_and_every_class():
    labels = np.array([0] * 8000 + [1] * 2000 + [2] * 3)
    rows = sample_rows(labels, 1000, seed=1)
    assert np.array_equal(rows, np.unique(rows))
    assert np.bincount(labels[rows]).tolist() == [799, 199, 1]
    assert np.array_equal(rows, sample_rows(labels, 1000, seed=1))
    assert not np.array_equal(rows, sample_rows(labels, 1000, seed=2))
    assert np.array_equal(sample_rows(labels, 10_003, seed=1), np.arange(10_003))


def test_inputs_that_do_not_fit_are_refused():
    train, val, test = splits(rows=20)
    with pytest.raises(SchemaError, match=r"val has 20 labels.*'texts': 19"):
        fit_baselines(train, replace(val, texts=val.texts[1:]), test, BINARY, CONFIG)
    with pytest.raises(SchemaError, match=r"test has the categorical columns \[\]"):
        fit_baselines(train, val, replace(test, categorical={}), BINARY, CONFIG)
    single = replace(train, labels=np.zeros(20, np.int64))
    with pytest.raises(SchemaError, match="at least two classes"):
        fit_baselines(single, val, test, BINARY, CONFIG)


def test_no_torch_is_loaded():
    code = (
        "import sys; import numpy as np\n"
        "from tabweave.evaluation.baselines import *\n"
        "from tabweave.schema import DataSchema\n"
        "s = DataSchema(id='i', label='y', text=('t',), classes=('0', '1'),"
        " positive_label='1')\n"
        "x = BaselineInputs(['a b'] * 4, {}, np.zeros((4, 0)), np.array([0, 1, 0, 1]))\n"
        "fit_baselines(x, x, x, s, EvaluationConfig())\n"
        "assert not {'torch', 'torchmetrics', 'lightning'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.data
@pytest.mark.skipif(not CLOTHING.is_dir(), reason=f"{CLOTHING.name} is not there")
def test_clothing_reviews_reach_the_published_level():
    tables = {
        s: pq.read_table(CLOTHING / f"{s}.parquet") for s in ("train", "val", "test")
    }
    numeric = ["rating", "age", "positive_feedback_count"]
    train = tables["train"].select(numeric).to_pandas()

    def part(table):
        frame = table.to_pandas().fillna("")
        return BaselineInputs(
            texts=(frame["title"] + " " + frame["review_text"]).tolist(),
            categorical={
                name: frame[name].tolist()
                for name in ("division_name", "department_name", "class_name")
            },
            numeric=((frame[numeric] - train.mean()) / train.std()).to_numpy(float),
            labels=frame["recommended"].astype(int).to_numpy(),
        )

    parts = [part(table) for table in tables.values()]
    _, model = fit_baselines(*parts, BINARY, CONFIG)
    labels, probabilities = parts[2].labels, model.probabilities["test"]
    assert roc_auc_score(labels, probabilities[:, 1]) == pytest.approx(0.980, abs=0.002)
    assert average_precision_score(labels == 0, probabilities[:, 0]) > 0.915
