"""The bundle of a whole run, and what is scored with it."""

import json

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


# All that it takes to use pipeline.onnx: onnxruntime, numpy, and a reader of CSV.
ALONE = """
import csv, json, sys
for name in ("tabweave", "torch", "onnx", "pandas", "pyarrow", "tokenizers", "pydantic"):
    sys.modules[name] = None  # to import it is an error
import numpy as np
import onnxruntime
pipeline, source, output = sys.argv[1:]
session = onnxruntime.InferenceSession(pipeline)
about = json.loads(session.get_modelmeta().custom_metadata_map["tabweave"])
with open(source, newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
feed = {}
for one in about["inputs"]:
    cells = [row[one["column"]] for row in rows]
    if one["kind"] == "numeric":
        numbers = [float(cell) if cell else float("nan") for cell in cells]
        feed[one["name"]] = np.array(numbers, np.float32)
    else:
        feed[one["name"]] = np.array(cells, object)
found, labels = session.run(["probabilities", "label"], feed)
with open(output, "w", encoding="utf-8") as file:
    json.dump({"probabilities": found.tolist(), "labels": labels.tolist()}, file)
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


def test_pipeline_onnx_needs_onnxruntime_and_numpy_alone(finished, bundle, tmp_path):
    source = finished.project.data("01_raw/test/marketplace.csv")
    output = tmp_path / "answers.json"
    pipeline = bundle / "pipeline.onnx"
    done = finished.project.python("-c", ALONE, str(pipeline), str(source), str(output))
    assert done.code == 0, done.text
    found = json.loads(output.read_text(encoding="utf-8"))
    path = finished.project.data("07_model_output/test_predictions.parquet")
    expected = TableFile(path).read().to_pandas()
    assert found["labels"] == expected["predicted"].tolist()
    np.testing.assert_allclose(
        found["probabilities"], expected[["prob_0", "prob_1"]], rtol=0, atol=1e-5
    )


def test_the_sample_has_the_answers_that_the_bundle_gives(bundle):
    Scorer.open(bundle).check_sample()


@pytest.mark.slow
def test_the_sample_is_exact_when_evaluation_is_not(copied):
    option = "--params=evaluation.precision=bf16"
    copied.ran("--pipelines=evaluate,export", option)
    Scorer.open(copied.data("07_model_output/bundle")).check_sample()


@pytest.mark.slow
def test_a_table_alone_is_exported_drawn_and_scored(copied, tmp_path):
    given = "--params=model.model_class=tabular"
    copied.ran("--pipelines=train,evaluate,export", given)
    report = copied.data("08_reporting/export_report.json").read_text(encoding="utf-8")
    assert json.loads(report)["mismatches"] is None
    assert copied.data("08_reporting/export_report.png").exists()
    bundle = copied.data("07_model_output/bundle")
    Scorer.open(bundle).check_sample()


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
