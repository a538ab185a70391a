"""A pretrained encoder on real reviews, small enough for every machine."""

import json
import shutil

import pandas as pd
import pytest

pytestmark = pytest.mark.data

ROWS = {"train": 1280, "val": 1000}


@pytest.fixture(scope="module")
def reviews(make_project, tmp_path_factory, public_data, minilm):
    """A finished run on samples of train and val and on all of test."""
    source = public_data("womens_clothing")
    folder = tmp_path_factory.mktemp("reviews")
    project = make_project(folder / "project")
    data = folder / "data"
    data.mkdir()
    for split, rows in ROWS.items():
        table = pd.read_parquet(source / f"{split}.parquet")
        table.sample(rows, random_state=0).to_parquet(data / f"{split}.parquet")
    shutil.copy(source / "test.parquet", data)
    settings = (
        f"data_dir={data},text.encoder={minilm},training.max_epochs=1,"
        "training.val_check_interval=1.0,training.threads=2,evaluation.bootstrap_samples=50"
    )
    result = project.ran("--env=womens_clothing", f"--params={settings}")
    return project, result


def report(project, name):
    path = project.data(f"08_reporting/womens_clothing/{name}.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_model_has_learned(reviews):
    metrics = report(reviews[0], "metrics")
    assert metrics["test/auroc"] >= 0.97
    assert metrics["test/auroc"] > metrics["baseline/majority/test/auroc"] + 0.4
    # Of the rarer class, 18% of the rows, which is what a ranking at random gets.
    assert metrics["test/average_precision/0"] >= 0.87


def test_the_model_is_not_below_a_logistic_regression_on_the_same_rows(reviews):
    metrics = report(reviews[0], "metrics")
    baseline = metrics["baseline/logistic_regression/test/auroc"]
    assert baseline > 0.95
    assert metrics["test/auroc"] >= baseline - 0.003


def test_the_exported_model_says_the_same(reviews):
    parity = report(reviews[0], "parity_report")
    assert parity["rows"] >= 256
    assert parity["largest_difference"] <= 1e-5


def test_every_row_is_scored_in_the_users_format(reviews, public_data):
    source = pd.read_parquet(public_data("womens_clothing") / "test.parquet")
    path = reviews[0].data("07_model_output/womens_clothing/predictions/test.parquet")
    scored = pd.read_parquet(path)
    pd.testing.assert_frame_equal(scored[source.columns], source)
    assert (scored["prob_0"] + scored["prob_1"]).sub(1).abs().max() < 1e-6


def test_the_output_is_clean(reviews):
    text = reviews[1].text.lower()
    for word in ("warning", "deprecat", "traceback", "some weights"):
        assert word not in text
