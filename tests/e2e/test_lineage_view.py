"""kedro-viz on a finished run: the static site, the server's answers and the page."""

import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("kedro_viz") is None,
    reason="kedro-viz is not installed (extra viz)",
)

LAYERS = [
    *("raw", "intermediate", "feature", "model_input"),
    *("models", "model_output", "reporting"),
]
SPLITS = ("train", "val", "test")
TABLES = {
    *(f"{split}.{kind}" for split in SPLITS for kind in ("raw", "table", "tokens")),
    *(f"{split}.features" for split in SPLITS),
    *(f"{s}.{k}" for s in SPLITS[1:] for k in ("predictions", "scored", "baselines")),
}
IMAGES = {
    *("roc_curve", "pr_curve", "data_report_figure", "training_history_figure"),
    "export_report_figure",
}
VALUES = {
    *("schema", "imputer", "risk_tables", "scaler", "metrics", "parity_report"),
    *("comprehensive_metrics", "training_history", "data_report", "text_report"),
    *("baseline_report", "tabular_report", "pipeline_report"),
    *("int8_report", "export_report"),
    *("impute_dict", "risk_table_map", "selected_schema", "preparation"),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60


def free_port():
    """A port below those that the system gives out: kedro-viz refuses high ones."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("100 ports are all in use")


def get(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert answer.status == 200
        return json.load(answer)


def wait_for(address, process, log):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            return get(address)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(f"{address} did not answer within {PATIENCE} s")


@pytest.fixture(scope="module")
def server(finished, tmp_path_factory):
    """Address of ``kedro viz run`` on the finished project."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    log = tmp_path_factory.mktemp("server") / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "kedro", "viz", "run", "--no-browser"),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            cwd=finished.project.path,
            env=finished.project.environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(f"{address}/api/main", process, log)
        yield address
    finally:
        # The command runs its server in a process of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.fixture(scope="module")
def shown(server):
    """Dataset name -> what the server says about it."""
    return {
        node["name"]: get(f"{server}/api/nodes/{node['id']}")
        for node in get(f"{server}/api/main")["nodes"]
        if node["type"] == "data"
    }


def test_layers_are_in_the_order_of_the_work(server):
    main = get(f"{server}/api/main")
    assert main["layers"] == LAYERS
    assert main["selected_pipeline"] == "__default__"
    for node in main["nodes"]:
        if node["type"] == "data":
            assert node["layer"] in LAYERS, node["name"]


def test_every_stage_can_be_picked(server):
    names = {pipeline["id"] for pipeline in get(f"{server}/api/main")["pipelines"]}
    assert {"load", "text", "tabular", "train", "evaluate", "export"} <= names


def test_tables_have_previews(shown):
    for name in sorted(TABLES):
        preview = shown[name]["preview"]
        assert shown[name]["preview_type"] == "TablePreview", name
        assert len(preview["data"]) == len(preview["index"]) == 5, name
        for row in preview["data"]:
            assert len(row) == len(preview["columns"]), name
    assert shown["train.raw"]["preview"]["columns"][:2] == ["order_id", "dialogue"]
    assert shown["test.scored"]["preview"]["columns"][-1] == "predicted"


def test_figures_have_previews(shown):
    for name in sorted(IMAGES):
        assert shown[name]["preview_type"] == "ImagePreview"
        assert shown[name]["preview"].startswith("iVBORw0KGgo")  # PNG in base 64


def test_values_have_previews(shown, finished):
    for name in sorted(VALUES):
        assert shown[name]["preview_type"] == "JSONPreview", name
        assert json.loads(shown[name]["preview"]), name
    path = finished.project.data("08_reporting/metrics.json")
    metrics = json.loads(path.read_text(encoding="utf-8"))
    assert json.loads(shown["metrics"]["preview"]) == metrics


def test_every_dataset_answers(shown):
    others = {"tokenizer", "checkpoints", "tensorboard_train", "tensorboard_eval"}
    others |= {"row_vectors", "token_proofs", "pipeline_onnx", "bundle"}
    others |= {"model_weights", "model_artifacts", "predict_results"}
    others |= {"impute_dict_pkl", "risk_table_map_pkl", "int8_model", "int8_pipeline"}
    others |= {"impute_dict.raw", "risk_table_map.raw", "selected_features.raw"}
    assert set(shown) == TABLES | IMAGES | VALUES | others | {"model", "onnx_model"}
    for name, node in shown.items():
        assert node["type"].rpartition(".")[2].endswith("Dataset"), name


@pytest.mark.parametrize("node", [None, "roc_curve", "test.scored"])
def test_the_page_shows_the_layers_in_a_browser(server, tmp_path, node):
    browser = next((b for b in BROWSERS if shutil.which(b)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {BROWSERS} is on the PATH")
    address = f"{server}/?pid=__default__"
    if node is not None:
        nodes = {n["name"]: n["id"] for n in get(f"{server}/api/main")["nodes"]}
        address += f"&sid={nodes[node]}"
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={tmp_path}"),
            *("--window-size=1800,1200", "--virtual-time-budget=10000"),
            *("--dump-dom", address),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    for layer in LAYERS:
        assert f'data-id="layer-label--{layer}"' in done.stdout, layer
    for name in ("load_tables", "train_model", "export_onnx"):
        assert name in done.stdout
    if node == "roc_curve":
        assert "data:image/png;base64,iVBORw0KGgo" in done.stdout
    if node == "test.scored":
        assert "prob_1" in done.stdout


def test_the_static_site_is_whole(copied):
    done = copied.python("-m", "kedro", "viz", "build", "--include-previews")
    assert done.code == 0, done.text
    site = copied.path / "build"
    assert (site / "index.html").stat().st_size > 0
    main = json.loads((site / "api" / "main").read_text(encoding="utf-8"))
    assert main["layers"] == LAYERS
    for node in main["nodes"]:
        about = json.loads((site / "api" / "nodes" / node["id"]).read_text("utf-8"))
        if node["name"] in TABLES | IMAGES | VALUES:
            assert about["preview"], node["name"]


def test_looking_at_the_pipeline_imports_no_torch(copied):
    """kedro-viz loads the pipelines as `kedro registry list` does."""
    code = """
import sys
from pathlib import Path
from kedro_viz.data_access import data_access_manager
from kedro_viz.server import load_and_populate_data
load_and_populate_data(Path.cwd(), pipeline_name="__default__")
heavy = ("torch", "lightning", "transformers", "onnx", "sklearn")
print([name for name in heavy if name in sys.modules])
"""
    done = copied.python("-c", code)
    assert done.code == 0, done.text
    assert done.out.splitlines()[-1] == "[]"
