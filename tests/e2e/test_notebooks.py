"""What a person runs after ``kedro run``: the notebooks and the Python of the pages."""

import re
import shutil
from datetime import datetime, timedelta

import nbformat
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from documentation_fixtures import PAGES, fences

NOTEBOOKS = ("01_explore_data", "02_read_results", "03_use_the_model")
SECONDS = 30
EXECUTE = f"""
import sys
from pathlib import Path
import nbformat
from nbclient import NotebookClient
path = Path(sys.argv[1])
book = nbformat.read(path, as_version=4)
where = {{"metadata": {{"path": str(path.parent)}}}}
NotebookClient(book, timeout={SECONDS}, resources=where).execute()
nbformat.write(book, path)
"""


@pytest.fixture(scope="module")
def project(finished, root, tmp_path_factory):
    """The finished project at another place, with the notebooks in it."""
    assert finished.result.code == 0, finished.result.text
    copy = finished.project.copy(tmp_path_factory.mktemp("notebooks") / "project")
    shutil.copytree(
        root / "notebooks",
        copy.path / "notebooks",
        ignore=shutil.ignore_patterns(".*", "__pycache__"),
    )
    return copy


def test_there_are_these_notebooks(root):
    assert sorted(path.stem for path in root.glob("notebooks/*.ipynb")) == [*NOTEBOOKS]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_are_cleared(root, name):
    path = root / "notebooks" / f"{name}.ipynb"
    assert path.stat().st_size < 20_000
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.fixture(scope="module", params=NOTEBOOKS)
def executed(request, project):
    """Each notebook after a run: its name, its outputs, and whether data changed."""
    path = project.path / "notebooks" / f"{request.param}.ipynb"
    before = project.files()
    done = project.python("-c", EXECUTE, str(path))
    assert done.code == 0, done.text
    book = nbformat.read(path, as_version=4)
    outputs = [one for cell in book.cells for one in cell.get("outputs", [])]
    return request.param, outputs, project.files() == before


def said_by(outputs):
    return "".join(one.text for one in outputs if one.output_type == "stream")


def test_the_notebook_runs_and_is_quiet(executed):
    _, outputs, unchanged = executed
    assert said_by(outputs)
    # Python's warnings, that is; findings about the data are what the first one shows.
    assert "Warning" not in said_by(outputs)
    assert not [one for one in outputs if one.get("name") == "stderr"]
    assert unchanged


def test_the_notebook_says_what_it_is_for(executed):
    name, outputs, _ = executed
    said = said_by(outputs)
    if name.startswith("01"):
        assert "positive label: 1" in said
        assert "rows without text" in said
    elif name.startswith("02"):
        assert re.search(r"\d+ of 120 rows of test are wrong", said)
        shown = [one for one in outputs if "image/png" in one.get("data", {})]
        assert len(shown) == 3  # two figures and the training curves
    else:
        found = re.search(r"probability on 64 rows: (\d\.\de-\d+)", said)
        assert float(found[1]) <= 1e-5


@pytest.mark.slow
def test_the_check_of_the_third_notebook_can_fail(project):
    """With other weights than the exported ones, the two disagree and the cell stops."""
    path = project.path / "notebooks" / "03_use_the_model.ipynb"
    weights = project.data("06_models/model/model.safetensors")
    content = weights.read_bytes()
    shuffle = (
        "import sys; from safetensors.torch import load_file, save_file\n"
        "found = load_file(sys.argv[1]); found['head.weight'] *= -1\n"
        "save_file(found, sys.argv[1])"
    )
    try:
        assert project.python("-c", shuffle, str(weights)).code == 0
        done = project.python("-c", EXECUTE, str(path))
    finally:
        weights.write_bytes(content)
    assert done.code != 0
    assert "AssertionError" in done.err


@pytest.fixture
def orders_with_times(project):
    """The file of docs/splitting.md: orders of the demo, one an hour."""
    table = csv.read_csv(project.data("01_raw/train/marketplace.csv"))
    first = datetime(2026, 1, 1)
    times = [first + timedelta(hours=8 * n) for n in range(table.num_rows)]
    text = pa.array([time.isoformat() for time in times])
    parquet.write_table(
        table.append_column("ordered_at", text), project.path / "all.parquet"
    )


@pytest.mark.parametrize(
    ("page", "number"),
    [(p, n) for p in PAGES for n in range(len(fences(p, "python")))],
    ids=lambda value: value if isinstance(value, int) else value.stem,
)
@pytest.mark.usefixtures("orders_with_times")
def test_python_of_a_page_runs_in_the_project_folder(project, page, number):
    done = project.python("-c", fences(page, "python")[number])
    assert done.code == 0, done.text
    assert done.out.strip()
