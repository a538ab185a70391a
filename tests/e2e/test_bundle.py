"""The bundle of a whole run, and what is scored with it."""

import numpy as np
import pandas as pd
import pytest

from tabweave.scoring import Scorer
from tabweave.tables import TableFile

# What a machine that scores may lack.
BLOCKED = ("torch", "onnx", "transformers", "lightning", "safetensors")
SCORE = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None  # to import it is an error
from tabweave.__main__ import main
sys.argv = ["tabweave", "score", *sys.argv[1:]]
main()
"""


@pytest.fixture(scope="module")
def bundle(finished):
    assert finished.result.code == 0, finished.result.text
    return finished.project.data("07_model_output/bundle")


def test_raw_rows_get_the_answers_of_the_run_without_pytorch(
    finished, bundle, tmp_path
):
    source = finished.project.data("01_raw/test/marketplace.csv")
    output = tmp_path / "out.csv"
    done = finished.project.python("-c", SCORE, str(bundle), str(source), str(output))
    assert done.code == 0, done.text
    found = pd.read_csv(output, dtype={"order_id": str}, keep_default_na=False)
    path = finished.project.data("07_model_output/test_predictions.parquet")
    expected = TableFile(path).read().to_pandas()
    assert found["order_id"].tolist() == expected["id"].tolist()
    assert found["predicted"].astype(str).tolist() == expected["predicted"].tolist()
    for name in ("prob_0", "prob_1"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5)


def test_the_sample_has_the_answers_that_the_bundle_gives(bundle):
    Scorer.open(bundle).check_sample()


@pytest.mark.slow
def test_the_sample_is_exact_when_evaluation_is_not(copied):
    option = "--params=evaluation.precision=bf16"
    copied.ran("--pipelines=evaluate,export", option)
    Scorer.open(copied.data("07_model_output/bundle")).check_sample()


@pytest.mark.slow
def test_a_run_without_a_pipeline_says_so_in_its_bundle(copied):
    copied.ran("--pipelines=export", "--params=export.pipeline=false")
    assert not copied.data("06_models/pipeline.onnx").exists()
    done = copied.python(
        *("-m", "tabweave", "score", str(copied.data("07_model_output/bundle"))),
        *(str(copied.data("01_raw/test/marketplace.csv")), "out.csv"),
    )
    assert done.code == 1
    assert "export.pipeline is false." in done.err
