import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tabweave

HEAVY = ("torch", "lightning", "transformers", "onnx", "sklearn", "matplotlib.pyplot")
TRAINING_ONLY = ("torch", "lightning", "transformers", "torchmetrics")
REGISTER = """
import json, sys
from tabweave.pipeline_registry import register_pipelines
assert register_pipelines()
print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))
"""
PREPARE = """
import json, sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path.cwd())
with KedroSession.create(project_path=Path.cwd()) as session:
    session.run(pipeline_names=["load", "text", "tabular"])
print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))
"""


PACKAGES = [
    found.name
    for found in pkgutil.walk_packages(tabweave.__path__, "tabweave.")
    if found.ispkg
]


def test_reading_the_pipelines_imports_nothing_heavy(root):
    done = subprocess.run(
        [sys.executable, "-c", REGISTER, *HEAVY],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []


def test_preparation_runs_without_torch(make_project, tmp_path):
    project = make_project(tmp_path / "project")
    done = project.python("-c", PREPARE, *TRAINING_ONLY)
    assert done.code == 0, done.text
    assert json.loads(done.out.splitlines()[-1]) == []
    assert project.data("05_model_input/train_tokens.arrow").exists()
    assert project.data("05_model_input/train_features.arrow").exists()


def test_import_contracts_hold(root, tmp_path):
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("import-linter is not installed beside this interpreter")
    done = subprocess.run(
        [str(command), "--cache-dir", str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist(package):
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None


@pytest.mark.parametrize(
    "package", ["models", "text", "tabular", "fabrication", "project_setup"]
)
def test_library_packages_say_what_is_public(package):
    module = importlib.import_module(f"tabweave.{package}")
    assert module.__all__ == sorted(module.__all__)
    assert module.__doc__


def test_the_drawing_of_the_rooms_is_that_of_the_contract(root):
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    order = contracts["tool"]["importlinter"]["contracts"][0]["layers"]
    level = {room: at for at, line in enumerate(order) for room in line.split(" | ")}
    arrows = re.findall(r"^    (\w+)(?:\[.*?\])? --> (\w+)", page, re.MULTILINE)
    assert len(arrows) > 10
    assert [arrow for arrow in arrows if level[arrow[0]] >= level[arrow[1]]] == []
    packages = {path.name for path in (root / "src" / "tabweave").iterdir()}
    rooms = {room for room in level if room in packages}
    assert rooms <= set(re.findall(r"\w+", page))


def test_the_ground_floor_and_the_rooms_stay_small(root):
    source = root / "src" / "tabweave"
    folders = [source, *(path for path in source.rglob("*") if path.is_dir())]
    files = {str(f.relative_to(source)): len(list(f.glob("*.py"))) for f in folders}
    assert files["."] <= 8
    assert {name: count for name, count in files.items() if count > 14} == {}
