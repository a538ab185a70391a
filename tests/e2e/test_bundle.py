"""The bundle of a whole run, and what is scored with it."""

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest

from tabweave.scoring import Scorer
from tabweave.tables.files import TableFile

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


def rows_in(project):
    """Every row of the three raw files."""
    for split in ("train", "val", "test"):
        source = project.data(f"01_raw/{split}/marketplace.csv")
        with open(source, newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def test_no_text_and_no_id_of_a_user_is_in_the_bundle(finished, bundle):
    """Messages of 30 characters and more, as such and as JSON and CSV write them."""
    wanted = set()
    for row in rows_in(finished.project):
        wanted.add(f'"{row["order_id"]}"')
        pieces = re.split(r"\[[be]om\]", row["dialogue"])
        wanted.update(piece.strip() for piece in pieces if len(piece.strip()) >= 30)
    assert len(wanted) > 500
    forms = {json.dumps(text, ensure_ascii=False)[1:-1] for text in wanted}
    forms |= {text.replace('"', '""') for text in wanted} | wanted
    every = sorted(forms)
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert bundle / "sample" / "rows.csv" in files
    for path in files:
        content = path.read_bytes().decode("utf-8", "replace")
        # Megabytes of weights are searched for a part of them, which takes seconds.
        sought = every[::50] if path.suffix == ".onnx" else every
        assert [text for text in sought if text in content] == [], path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["val", "none"])
def test_a_sample_of_val_or_none_where_that_is_asked_for(copied, kind):
    copied.ran("--pipelines=export", f"--params=export.sample={kind}")
    bundle = copied.data("07_model_output/bundle")
    assert (bundle / "sample").exists() == (kind == "val")
    assert (Scorer.open(bundle).check_sample() is None) == (kind == "none")
    if kind == "val":
        with open(copied.data("01_raw/val/marketplace.csv"), encoding="utf-8") as file:
            first = next(csv.DictReader(file))
        rows = json.loads((bundle / "sample" / "rows.json").read_text("utf-8"))
        assert rows[0]["dialogue"] == first["dialogue"]
