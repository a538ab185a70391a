"""Whole runs from hyperparameters.json, as a container or `tabweave train` does them."""

import csv
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tabweave.models.config import ModelSpec
from tabweave.models.registry import build_model
from tabweave.sagemaker.hyperparameters import (
    parse_hyperparameters,
    read_hyperparameters,
    to_parameters,
    unsupported,
)

EXAMPLES = json.loads(
    (Path(__file__).parents[1] / "specification_examples.json").read_text("utf-8")
)
ROWS = {"train": 120, "val": 40, "test": 40}
# What differs from the examples: there is no hub in a test, and little time.
PARAMS = "text.encoder=scratch,training.max_epochs=1"
MODEL = {
    "hyperparameters.json",
    "impute_dict.json",
    "impute_dict.pkl",
    "model",
    "model.onnx",
    "model.pth",
    "model_artifacts.pth",
    "pipeline.onnx",
    "risk_table_map.json",
    "risk_table_map.pkl",
}
EVALUATION = {
    "bundle",
    "metrics.json",
    "predict_results.pth",
    "predictions",
    "tensorboard_eval",
    "test_predictions.parquet",
}


def fabricate(folder, example):
    """Files with the columns of an example; the text tells the class."""
    rng = random.Random(7)
    labels = [str(label) for label in example.get("multiclass_categories", [0, 1])]
    words = [f"word{number}" for number in range(60)]
    names = [example[name] for name in ("id_name", "text_name", "label_name")]
    categorical, numeric = example["cat_field_list"], example["tab_field_list"]
    for split, rows in ROWS.items():
        (folder / split).mkdir(parents=True)
        (folder / split / "_SUCCESS").touch()
        with open(folder / split / "rows.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*names, *categorical, *numeric])
            for row in range(rows):
                label = row % len(labels)
                text = " ".join([*rng.choices(words, k=8), *[f"sign{label}"] * 3])
                numbers = ["" if rng.random() < 0.1 else row for _ in numeric]
                kinds = [rng.choice(["a", "b", "c"]) for _ in categorical]
                writer.writerow(
                    [f"{split}{row}", text, labels[label], *kinds, *numbers]
                )
    return folder


def run(folder, *arguments, path=None):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def train(folder, example, params=PARAMS):
    (folder / "hyperparameters.json").write_text(json.dumps(example), encoding="utf-8")
    fabricate(folder / "data", example)
    return run(
        folder,
        *("-m", "tabweave", "train", "--hyperparameters", "hyperparameters.json"),
        *("--data", "data", "--model-dir", "model", "--output-dir", "output"),
        *("--checkpoint-dir", "checkpoints", "--params", params),
    )


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[] if name == "mixture_of_experts" else [pytest.mark.slow]
        )
        for name in EXAMPLES
    ],
)
def test_examples_of_the_specification_run_unchanged(name, tmp_path):
    example = EXAMPLES[name]
    done = train(tmp_path, example)
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(tmp_path / "model") >= MODEL
    assert names(tmp_path / "model" / "model") == {"config.json", "model.safetensors"}
    assert names(tmp_path / "output") >= EVALUATION
    assert "failure" not in names(tmp_path / "output")
    assert names(tmp_path / "checkpoints") >= {"last.ckpt", "best.ckpt"}
    every = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [n for n in every if n.endswith((".part", ".old"))]
    assert_results(tmp_path, example)
    assert_hyperparameters(tmp_path, example)


@pytest.mark.slow
def test_two_processes_train_and_every_file_is_written_once(tmp_path):
    example = EXAMPLES["binary_bert"]
    params = f"{PARAMS},training.devices=2,training.threads=1"
    done = train(tmp_path, example, params)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("training: 100%") == 1
    assert_results(tmp_path, example)
    history = tmp_path / "output" / "training_history.json"
    assert json.loads(history.read_text("utf-8"))["processes"] == 2
    logs = sorted(path.name for path in tmp_path.rglob("rank_*.log"))
    assert logs == ["rank_0.log", "rank_1.log"]


def assert_results(folder, example):
    source = pd.read_csv(folder / "data" / "test" / "rows.csv")
    scored = pd.read_csv(folder / "output" / "predictions" / "test.csv")
    assert scored[example["id_name"]].tolist() == source[example["id_name"]].tolist()
    assert sum(n.startswith("prob_") for n in scored.columns) == example["num_classes"]
    metrics = json.loads((folder / "output" / "metrics.json").read_text("utf-8"))
    for name in example.get("metric_choices", ["auroc", "f1_score"]):
        assert f"test/{name}" in metrics
    table = pd.read_csv(folder / "data" / "train" / "rows.csv")
    means = json.loads((folder / "model" / "impute_dict.json").read_text("utf-8"))
    expected = {name: table[name].mean() for name in example["tab_field_list"]}
    assert means == pytest.approx(expected, rel=1e-6)
    risks = json.loads((folder / "model" / "risk_table_map.json").read_text("utf-8"))
    assert set(risks) == set(example["cat_field_list"])
    for name, expected in (("impute_dict", means), ("risk_table_map", risks)):
        content = (folder / "model" / f"{name}.pkl").read_bytes()
        assert pickle.loads(content) == expected
    assert_reads_back(folder, example, scored)


def assert_reads_back(folder, example, scored):
    """The .pth files say what the other files say, and are enough for a model."""
    model, output = folder / "model", folder / "output"
    artifacts = torch.load(model / "model_artifacts.pth", weights_only=True)
    assert artifacts["model_class"] == example["model_class"]
    classes = artifacts["id_to_label"]
    assert artifacts["label_to_id"] == {label: n for n, label in enumerate(classes)}
    assert len(artifacts["embedding_mat"]) >= len(artifacts["vocab"])
    again = build_model(ModelSpec(**artifacts["model_spec"]))
    again.load_state_dict(torch.load(model / "model.pth", weights_only=True))
    results = torch.load(output / "predict_results.pth", weights_only=True)
    columns = [f"prob_{label}" for label in classes]
    np.testing.assert_allclose(
        results["y_pred"].numpy(), scored[columns].to_numpy(), rtol=0, atol=1e-6
    )
    labels = scored[example["label_name"]].astype(str).tolist()
    assert [classes[n] for n in results["y_true"].tolist()] == labels


def assert_hyperparameters(folder, example):
    """The file beside the model says what was done, and would do it again."""
    path = folder / "model" / "hyperparameters.json"
    found = read_hyperparameters(path)
    expected = example | {"tokenizer": "scratch", "max_epochs": 1}
    for key, value in expected.items():
        assert getattr(found, key) == (
            tuple(value) if isinstance(value, list) else value
        ), key
    assert to_parameters(found) == to_parameters(parse_hyperparameters(expected))


@pytest.mark.parametrize(
    "change",
    [
        {"imputation_dict": {"price": 1.0}, "risk_tables": {"marketplace": {}}},
        {"model_class": "multimodal_brt"},
    ],
    ids=["values that nothing acts on", "an unknown architecture"],
)
def test_what_cannot_be_done_is_refused_by_name(change, tmp_path):
    example = EXAMPLES["binary_bert"] | change
    done = train(tmp_path, example)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    failure = (tmp_path / "output" / "failure").read_text("utf-8")
    sentences = unsupported(parse_hyperparameters(example))
    assert len(sentences) == len(change)
    for text in (done.stderr, failure):
        for sentence in sentences:
            assert sentence in text
    assert not (tmp_path / "model").exists()


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """The built package, unpacked: as installed, without a checkout around it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", "local")
    for name in ("src", "conf"):
        shutil.copytree(root / name, source / name, ignore=ignored)
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder))
    done = run(source, *build)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_the_configuration_ships_inside_the_wheel(wheel, root):
    def files(conf):
        found = [*(conf / "base").rglob("*"), *(conf / "container").rglob("*")]
        return {str(p.relative_to(conf)): p.read_bytes() for p in found if p.is_file()}

    shipped = wheel / "tabweave" / "conf"
    assert files(shipped) == files(root / "conf")
    assert names(shipped) == {"base", "container", "logging.yml"}


MAIN = """
import argparse, json, sys
from tabweave.sagemaker import container
assert container.conf_source().parent == container.Path(container.__file__).parents[1]
given = json.loads(sys.argv[1])
job_args = argparse.Namespace(params=given.pop("params"))
found = container.main(**given, job_args=job_args)
assert found is None
"""


@pytest.mark.slow
def test_the_installed_wheel_trains_in_an_empty_folder(wheel, tmp_path):
    """Through main, with a split elsewhere and an imputation from an earlier step."""
    example = EXAMPLES["binary_bert"]
    fabricate(tmp_path / "data", example)
    (tmp_path / "data" / "val").rename(tmp_path / "other")
    (tmp_path / "hyperparameters.json").write_text(json.dumps(example))
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    given_means = {"seller_rating": 3.5, "price": -2.0}
    (artifacts / "impute_dict.json").write_text(json.dumps(given_means))
    output = {n: str(tmp_path / n) for n in ("model_output", "evaluation_output")}
    (tmp_path / "evaluation_output").mkdir()
    (tmp_path / "evaluation_output" / "failure").write_text("of an earlier run")
    given = {
        "input_paths": {
            "input_path": str(tmp_path / "data"),
            "val": str(tmp_path / "other"),
            "hyperparameters_s3_uri": str(tmp_path / "hyperparameters.json"),
            "model_artifacts_input": str(artifacts),
        },
        "output_paths": output | {"checkpoints": str(tmp_path / "checkpoints")},
        "environ_vars": {"USE_PRECOMPUTED_IMPUTATION": "true"},
        "params": {"text": {"encoder": "scratch"}, "training": {"max_epochs": 1}},
    }
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "empty", "-c", MAIN, json.dumps(given), path=wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(tmp_path / "empty") == set()
    assert names(tmp_path / "model_output") >= MODEL
    assert names(tmp_path / "evaluation_output") >= EVALUATION
    assert "failure" not in names(tmp_path / "evaluation_output")
    assert "best.ckpt" in names(tmp_path / "checkpoints")
    means = json.loads((tmp_path / "model_output" / "impute_dict.json").read_text())
    assert means == given_means


def test_python_m_reads_the_folders_of_a_container(wheel, tmp_path):
    if Path("/opt/ml").exists():
        pytest.skip("this is a container of the kind that the command is for")
    done = run(tmp_path, "-m", "tabweave.sagemaker.container", "--help", path=wheel)
    assert done.returncode == 0, done.stderr
    assert "--params" in done.stdout
