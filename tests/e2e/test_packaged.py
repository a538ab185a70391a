"""The wheel and the archive of the configuration are enough: no checkout is needed."""

import os
import shutil
import subprocess
import sys
import tarfile

import pytest

pytestmark = pytest.mark.slow

# As `kedro package` does it, but with the tools that are installed.
BUILD = ("-m", "build", "--wheel", "--no-isolation", "--outdir")
INSTALL = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target")


def python(folder, *arguments, installed=None):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    if installed is not None:  # before the editable install of the checkout
        environment["PYTHONPATH"] = str(installed)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def package(root, make_project, tmp_path_factory):
    """A folder of the installed wheel, the archive, and a small project's data."""
    folder = tmp_path_factory.mktemp("package")
    project = make_project(folder / "project")
    for name in ("setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(root / name, project.path)
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
    shutil.copytree(
        root / "src", project.path / "src", ignore=ignored, dirs_exist_ok=True
    )
    done = python(project.path, *BUILD, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    done = python(folder, *INSTALL, folder / "installed", wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(folder / "conf-tabweave.tar.gz", "w:gz") as archive:
        archive.add(project.path / "conf", "conf")
    return folder


def test_a_packaged_project_runs_whole_where_one_stands(package, tmp_path):
    """Relative data paths count from the current folder; the small settings are local."""
    source = package / "conf-tabweave.tar.gz"
    data = os.path.relpath(package / "project" / "data" / "01_raw", tmp_path)
    given = (f"--conf-source={source}", f"--params=data_dir={data}")
    done = python(
        tmp_path, "-m", "tabweave", "run", *given, installed=package / "installed"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "export" in done.stdout
    assert (tmp_path / "data" / "07_model_output" / "bundle" / "manifest.json").exists()
    # What it leaves is fresh for a single stage from the same place, unpacked or not.
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    again = ("--pipelines=evaluate", f"{given[1]},evaluation.bootstrap_samples=60")
    done = python(
        tmp_path,
        *("-m", "tabweave", "run", "--conf-source=unpacked/conf", *again),
        installed=package / "installed",
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((), "There is no configuration"),
        (("--conf-source=conf-tabweave.tar.gz", "--env=mien"), "no environment 'mien'"),
        (("--conf-source=conf-tabweave.zip",), "does not exist"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(package, tmp_path, given, sentence):
    (tmp_path / "conf-tabweave.tar.gz").symlink_to(package / "conf-tabweave.tar.gz")
    done = python(
        tmp_path, "-m", "tabweave", "run", *given, installed=package / "installed"
    )
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 4
