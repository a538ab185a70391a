import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sk

STAGES = ("load", "text", "tabular", "train", "evaluate", "export")
SPLITS = {"train": 240, "val": 80, "test": 120}
FILES = (
    *(f"02_intermediate/{split}.parquet" for split in SPLITS),
    "04_feature/selected_schema.json",
    "04_feature/imputer.json",
    "04_feature/risk_tables.json",
    "04_feature/scaler.json",
    "04_feature/tokenizer/dialogue/tokenizer.json",
    *(f"05_model_input/{split}_tokens.arrow" for split in SPLITS),
    *(f"05_model_input/{split}_features.arrow" for split in SPLITS),
    "06_models/model/model.safetensors",
    "06_models/model/config.json",
    "06_models/checkpoints/last.ckpt",
    "06_models/checkpoints/best.ckpt",
    "06_models/model.onnx",
    "06_models/pipeline.onnx",
    "06_models/preparation.json",
    "06_models/model.pth",
    "06_models/model_artifacts.pth",
    "06_models/impute_dict.json",
    "06_models/impute_dict.pkl",
    "06_models/risk_table_map.json",
    "06_models/risk_table_map.pkl",
    "07_model_output/predict_results.pth",
    "07_model_output/bundle/manifest.json",
    "07_model_output/bundle/pipeline.onnx",
    "07_model_output/val_predictions.parquet",
    "07_model_output/test_predictions.parquet",
    "07_model_output/predictions/val.csv",
    "07_model_output/predictions/test.csv",
    "08_reporting/metrics.json",
    "08_reporting/roc_curve.png",
    "08_reporting/pr_curve.png",
    "08_reporting/data_report.json",
    "08_reporting/data_report.png",
    "08_reporting/tabular_report.json",
    "08_reporting/training_history.json",
    "08_reporting/parity_report.json",
    "08_reporting/pipeline_report.json",
    "08_reporting/int8_report.json",
    "08_reporting/export_report.json",
    "08_reporting/export_report.png",
)


@pytest.fixture(scope="module")
def data(finished):
    assert finished.result.code == 0, finished.result.text
    return finished.project.data


def raw(data, split):
    path = data(f"01_raw/{split}/marketplace.csv")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def read_json(path):
    def no_constant(name):
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=no_constant)


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_there(data, name):
    assert data(name).stat().st_size > 0


def test_everybody_may_read_the_files(finished):
    for path in finished.project.data("").rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o044 == 0o044, path


def test_nothing_half_written_is_left(finished):
    assert [n for n in finished.project.files() if n.endswith((".part", ".old"))] == []


def test_files_say_nothing_of_the_folders_of_this_machine(finished, root):
    folders = [str(place).encode() for place in (root, finished.project.path)]
    for name, content in finished.project.files().items():
        if not name.startswith(("06_models/checkpoints/", "06_models/tensorboard/")):
            assert [folder for folder in folders if folder in content] == [], name


def test_the_typed_tables_keep_every_row(data):
    for split in SPLITS:
        source = raw(data, split)
        table = pq.read_table(data(f"02_intermediate/{split}.parquet"))
        assert table["order_id"].to_pylist() == source["order_id"].tolist()
        assert table["dialogue"].to_pylist() == source["dialogue"].tolist()
        assert table["is_abuse"].to_pylist() == source["is_abuse"].tolist()


def test_the_model_inputs_keep_every_row(data):
    for split, rows in SPLITS.items():
        with pa.memory_map(str(data(f"05_model_input/{split}_tokens.arrow"))) as file:
            tokens = pa.ipc.open_file(file)
            assert tokens.num_record_batches == 1
            table = tokens.read_all()
        assert table.num_rows == rows
        assert str(table.schema.field("dialogue").type) == (
            "large_list<item: large_list<item: uint16>>"
        )
        path = data(f"05_model_input/{split}_features.arrow")
        with pa.memory_map(str(path)) as file:
            features = pa.ipc.open_file(file).read_all()
        assert features["id"].to_pylist() == raw(data, split)["order_id"].tolist()
        numbers = features.drop_columns(["id", "label"]).to_pandas().to_numpy()
        assert np.isfinite(numbers).all()


@pytest.mark.parametrize("split", ["val", "test"])
def test_predictions_are_one_row_per_row(data, split):
    table = pq.read_table(data(f"07_model_output/{split}_predictions.parquet"))
    source = raw(data, split)
    assert table.column_names == ["id", "label", "prob_0", "prob_1", "predicted"]
    assert table["id"].to_pylist() == source["order_id"].tolist()
    assert table["label"].to_pylist() == source["is_abuse"].tolist()
    probabilities = np.stack([table["prob_0"], table["prob_1"]], axis=1)
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-6
    best = [str(i) for i in probabilities.argmax(axis=1)]
    assert table["predicted"].to_pylist() == best


@pytest.mark.parametrize("split", ["val", "test"])
def test_scored_rows_keep_the_file_cell_by_cell(data, split):
    source = raw(data, split)
    path = data(f"07_model_output/predictions/{split}.csv")
    scored = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert scored.columns.tolist() == [*source.columns, "prob_0", "prob_1", "predicted"]
    pd.testing.assert_frame_equal(scored[source.columns], source)
    table = pq.read_table(data(f"07_model_output/{split}_predictions.parquet"))
    assert scored["predicted"].tolist() == table["predicted"].to_pylist()
    # Nine digits say a float32 exactly.
    np.testing.assert_array_equal(
        scored["prob_1"].astype(np.float32), table["prob_1"].to_numpy()
    )


def expected_metrics(table):
    label = (np.array(table["label"].to_pylist()) == "1").astype(int)
    predicted = (np.array(table["predicted"].to_pylist()) == "1").astype(int)
    score = table["prob_1"].to_numpy()
    return {
        "auroc": sk.roc_auc_score(label, score),
        "average_precision": sk.average_precision_score(label, score),
        "average_precision/1": sk.average_precision_score(label, score),
        "average_precision/0": sk.average_precision_score(1 - label, 1 - score),
        "f1_score": sk.f1_score(label, predicted, zero_division=0),
        "precision": sk.precision_score(label, predicted, zero_division=0),
        "recall": sk.recall_score(label, predicted, zero_division=0),
        "accuracy": sk.accuracy_score(label, predicted),
    }


@pytest.mark.parametrize("split", ["val", "test"])
def test_metrics_are_those_of_scikit_learn_on_the_predictions(data, split):
    table = pq.read_table(data(f"07_model_output/{split}_predictions.parquet"))
    metrics = read_json(data("08_reporting/metrics.json"))
    for name, value in expected_metrics(table).items():
        found = metrics[f"{split}/{name}"]
        if found is None:  # precision without a positive prediction
            assert value == 0, name
        else:
            assert found == pytest.approx(value, abs=1e-5), name


def test_metrics_are_flat_and_finite_or_null(data):
    metrics = read_json(data("08_reporting/metrics.json"))
    for name, value in metrics.items():
        assert value is None or np.isfinite(value), name
    for split in ("val", "test"):
        for baseline in ("majority", "logistic_regression"):
            assert f"baseline/{baseline}/{split}/auroc" in metrics


def test_figures_are_pictures(data):
    from matplotlib.image import imread

    for name in ("roc_curve", "pr_curve"):
        picture = imread(data(f"08_reporting/{name}.png"))
        assert min(picture.shape[:2]) >= 400
        assert picture.std() > 0.01
        # TensorBoard's folder holds the same picture beside the events.
        assert data(f"08_reporting/tensorboard_eval/{name}.png").stat().st_size > 0
    assert list(data("08_reporting/tensorboard_eval").glob("events.out.tfevents.*"))


def test_reports_say_what_happened(data):
    report = read_json(data("08_reporting/data_report.json"))
    assert {s: v["rows"] for s, v in report["splits"].items()} == SPLITS
    history = read_json(data("08_reporting/training_history.json"))
    assert history["model_class"] == "multimodal_bert"
    assert history["records"]
    parity = read_json(data("08_reporting/parity_report.json"))
    assert parity["rows"] == 64 <= SPLITS["val"]
    assert parity["largest_difference"] <= 1e-5
    assert set(parity["largest_difference_by_batch_size"]) == {"1", "7", "32"}


def test_the_exported_model_predicts_what_the_file_says(data):
    """The ONNX file alone, fed from the persisted inputs, gives the predictions."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data("06_models/model.onnx").read_bytes())
    assert [i.name for i in session.get_inputs()] == [
        "input_ids",
        "attention_mask",
        "tab",
    ]
    assert [o.name for o in session.get_outputs()] == ["probabilities"]
    config = read_json(data("06_models/model/config.json"))
    pad = config["text"][0]["pad_id"]
    with pa.memory_map(str(data("05_model_input/test_tokens.arrow"))) as file:
        rows = pa.ipc.open_file(file).read_all()["dialogue"].to_pylist()
    with pa.memory_map(str(data("05_model_input/test_features.arrow"))) as file:
        features = pa.ipc.open_file(file).read_all()
    tab = features.select(config["features"]).to_pandas().to_numpy(np.float32)
    shape = max(len(r) for r in rows), max(len(c) for r in rows for c in r)
    ids = np.full((len(rows), *shape), pad, np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        for j, chunk in enumerate(row):
            ids[i, j, : len(chunk)] = chunk
            mask[i, j, : len(chunk)] = 1
    feed = {"input_ids": ids, "attention_mask": mask, "tab": tab}
    (found,) = session.run(["probabilities"], feed)
    table = pq.read_table(data("07_model_output/test_predictions.parquet"))
    np.testing.assert_allclose(found[:, 1], table["prob_1"].to_numpy(), atol=1e-5)


def test_every_artifact_has_a_record_of_what_it_was_made_from(data):
    for name in FILES:
        path = data(name)
        if "checkpoints" in name or name.startswith("04_feature/tokenizer"):
            continue
        if name.startswith("06_models/model/"):
            path = path.parent
        if "/bundle/" in name:
            path = data("07_model_output/bundle")
        record = read_json(path.with_name(f"{path.name}.provenance.json"))
        assert record["stage"] in STAGES
        assert re.fullmatch("[0-9a-f]{64}", record["content"])
        assert record["inputs"]


def test_best_checkpoint_is_a_relative_link(data):
    link = data("06_models/checkpoints/best.ckpt")
    assert not link.is_symlink() or not link.readlink().is_absolute()


def test_the_output_says_one_line_per_stage(finished):
    out = finished.result.out
    lines = [line for line in out.splitlines() if line.strip()]
    assert lines[0].endswith("environment base: " + ", ".join(STAGES))
    for stage in STAGES:
        (line,) = [line for line in lines if line.startswith(f"{stage} ")]
        assert re.search(r"\d+\.\d s", line), line
    assert "240 / 80 / 120 rows" in out


def test_the_seconds_of_the_stages_add_up_to_the_run(finished):
    found = re.findall(r"^(\w+) +(\d+\.\d) s", finished.result.out, re.M)
    seconds = {name: float(value) for name, value in found}
    total = seconds.pop("total")
    assert set(seconds) == set(STAGES)
    # Each figure is rounded to a tenth.
    assert sum(seconds.values()) == pytest.approx(total, abs=0.5)


def test_the_output_ends_with_metrics_beside_baselines_and_files(finished, data):
    out = finished.result.out
    metrics = read_json(data("08_reporting/metrics.json"))
    for split in ("val", "test"):
        assert re.search(
            rf"^{split} +model +{metrics[f'{split}/auroc']:.4f}", out, re.M
        )
        for baseline in ("majority", "logistic_regression"):
            value = metrics[f"baseline/{baseline}/{split}/auroc"]
            shown = baseline.replace("_", " ")
            assert re.search(rf"^{split} +{shown} +{value:.4f}", out, re.M)
    for name in (
        "06_models/model",
        "06_models/model.onnx",
        "07_model_output/test_predictions.parquet",
        "07_model_output/predictions/test.csv",
        "08_reporting/metrics.json",
    ):
        assert re.search(rf" data/{re.escape(name)}$", out, re.M), name


def test_the_output_is_clean(finished):
    text = finished.result.text
    # Files this small have classes of few rows, which the line of the load stage says.
    text = re.sub(r"; \d warnings, see data_report\.json$", "", text, flags=re.M)
    for word in ("warning", "deprecat", "traceback", "future", "please", "tip:"):
        assert word not in text.lower(), text
    assert len(finished.result.out.splitlines()) <= 30
    # The progress bar of the training is all that the error stream shows.
    left = [line for line in re.split(r"[\r\n]", finished.result.err) if line.strip()]
    assert all(line.startswith("  training:") for line in left), left


def test_only_the_data_folder_changes(finished):
    top = {path.name for path in finished.project.path.iterdir()}
    assert top <= {"conf", "data", "src", "pyproject.toml", ".telemetry", ".viz"}
