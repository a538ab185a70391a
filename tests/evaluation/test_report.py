from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tabweave.evaluation.config import EvaluationConfig
from tabweave.evaluation.predictions import prediction_table
from tabweave.evaluation.report import curve_figures, evaluate
from tabweave.schema import DataSchema

SCHEMA = DataSchema(
    id="i", label="y", text=("t",), classes=("0", "1"), positive_label="1"
)
CONFIG = EvaluationConfig(bootstrap_samples=200)


def _split(seed: int, noise: float, rows: int = 300) -> tuple[pa.Table, pa.Table, dict]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)

    def scores(spread: float) -> np.ndarray:
        score = 1 / (1 + np.exp(-(labels - 0.5 + rng.normal(scale=spread, size=rows))))
        return np.stack([1 - score, score], 1).astype(np.float32)

    good, poor = scores(noise), scores(noise * 6)
    ids = [str(i) for i in range(rows)]
    baseline = pa.table(
        {
            "id": ids,
            "logistic_regression:0": poor[:, 0],
            "logistic_regression:1": poor[:, 1],
        }
    )
    truth = {"labels": labels, "model": good[:, 1], "baseline": poor[:, 1]}
    return prediction_table(ids, labels, good, SCHEMA.classes), baseline, truth


@pytest.fixture(scope="module")
def evaluated():
    val, test = _split(1, 0.5), _split(2, 0.5)
    flat, full = evaluate(
        {"val": val[0], "test": test[0]},
        {"val": val[1], "test": test[1]},
        SCHEMA,
        CONFIG,
    )
    return flat, full, {"val": val[2], "test": test[2]}


@pytest.mark.parametrize("split", ["val", "test"])
def test_flat_metrics_equal_scikit_learn_for_model_and_baseline(evaluated, split):
    flat, _, truth = evaluated
    for prefix, who in (("", "model"), ("baseline/logistic_regression/", "baseline")):
        labels, score = truth[split]["labels"], truth[split][who]
        assert flat[f"{prefix}{split}/auroc"] == pytest.approx(
            roc_auc_score(labels, score), abs=1e-12
        )
        assert flat[f"{prefix}{split}/average_precision/0"] == pytest.approx(
            average_precision_score(labels == 0, 1 - score), abs=1e-12
        )


def test_every_metric_has_an_interval_around_its_value(evaluated):
    flat, full, _ = evaluated
    assert set(full) == {f"{s}/{m}" for s in ("val", "test") for m in CONFIG.metrics}
    for name, entry in full.items():
        assert entry["value"] == flat[name]
        assert entry["n"] == 300
        assert entry["interval"]["low"] <= entry["value"] <= entry["interval"]["high"]
        assert entry["interval"]["low"] < entry["interval"]["high"]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_each_value_is_the_estimate_of_its_own_interval_in_all_digits(classes, rows):
    names = tuple(str(n) for n in range(classes))
    schema = SCHEMA.model_copy(update={"classes": names})
    rng = np.random.default_rng(rows)
    labels = rng.integers(0, classes, rows)
    first, second, third = rng.dirichlet(np.ones(classes), (3, rows)).astype(np.float32)
    ids = [str(n) for n in range(rows)]
    beside = {
        f"{name}:{n}": answers[:, number]
        for name, answers in {"one": second, "two": third}.items()
        for number, n in enumerate(names)
    }
    config = EvaluationConfig(bootstrap_samples=20)
    flat, full = evaluate(
        {"test": prediction_table(ids, labels, first, schema.classes)},
        {"test": pa.table(beside)},
        schema,
        config,
    )
    for metric in config.metrics:
        entry = full[f"test/{metric}"]
        value = flat[f"test/{metric}"]
        assert entry["value"] == entry["interval"]["estimate"] == value
        assert (value is None) == (entry["reason"] is not None)
        for name, other in entry["baselines"].items():
            assert other["value"] == flat[f"baseline/{name}/test/{metric}"]
            both = value is not None and other["value"] is not None
            expected = value - other["value"] if both else None
            assert other["difference"]["estimate"] == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_metric_says_in_which_arithmetic_it_was_predicted(precision):
    config = CONFIG.model_copy(update={"precision": precision})
    tables, baselines, _ = _split(1, 0.5)
    _, full = evaluate({"val": tables}, {"val": baselines}, SCHEMA, config)
    assert {entry["arithmetic"] for entry in full.values()} == {precision}


def test_the_difference_to_a_worse_baseline_is_above_zero(evaluated):
    flat, full, _ = evaluated
    beside = full["test/auroc"]["baselines"]["logistic_regression"]
    assert beside["value"] == flat["baseline/logistic_regression/test/auroc"]
    assert beside["difference"]["low"] > 0
    assert beside["difference"]["estimate"] == flat["test/auroc"] - beside["value"]


def test_a_single_class_split_gives_reasons_and_no_number():
    table, baseline, _ = _split(3, 0.5)
    ones = table.filter(pa.compute.equal(table["label"], "1"))
    beside = baseline.filter(pa.compute.equal(table["label"], "1"))
    flat, full = evaluate({"test": ones}, {"test": beside}, SCHEMA, CONFIG)
    assert flat["test/auroc"] is None
    assert full["test/auroc"]["reason"]
    assert full["test/auroc"]["interval"]["low"] is None


def test_figures_show_both_splits_and_the_baseline():
    val, test = _split(1, 0.5), _split(2, 0.5)
    for figure in curve_figures(val[0], test[0], test[1], SCHEMA):
        (axes,) = figure.axes
        legend = axes.get_legend() or figure.legends[0]
        labels = " ".join(text.get_text() for text in legend.get_texts())
        assert "val (300 rows)" in labels
        assert "test (300 rows)" in labels
        assert "logistic regression" in labels
