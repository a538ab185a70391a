"""Small copies of the project, and the commands that run in them."""

import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from tabweave.fabrication import FabricationConfig, fabricate
from tabweave.storage.processes import Process
from tabweave.tables.files import write_rows

ROOT = Path(__file__).resolve().parents[1]
ROWS = {"train": 240, "val": 80, "test": 120}
# Settings under which all stages take seconds.
SMALL = {
    "text": {"max_sen_len": 64, "max_total_chunks": 2, "vocabulary_size": 500},
    "model": {"scratch": {"hidden_size": 32, "intermediate_size": 64}},
    "training": {"max_epochs": 1},
    "evaluation": {"bootstrap_samples": 50},
    "export": {"parity_rows": 64, "pipeline_single_rows": 16, "timing_seconds": 0.2},
}


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def text(self):
        return self.out + self.err


@dataclass(frozen=True)
class Project:
    """A copy of the project in a folder of its own."""

    path: Path

    def environment(self):
        """Nothing is fetched, and one thread makes bytes comparable."""
        return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def python(self, *arguments, timeout=900):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def run(self, *options):
        """``kedro run`` with options."""
        return self.python("-m", "kedro", "run", *options)

    def ran(self, *options):
        """``kedro run`` with options that must end well."""
        done = self.run(*options)
        assert done.code == 0, done.text
        return done

    def data(self, name):
        return self.path / "data" / name

    def files(self):
        """Every file under data, hidden ones included -> its bytes."""
        found = sorted(p for p in self.data("").rglob("*") if p.is_file())
        return {str(p.relative_to(self.data(""))): p.read_bytes() for p in found}

    def copy(self, path):
        """The same project, data included, at another place."""
        shutil.copytree(self.path, path, symlinks=True)
        return Project(path)


def small_parameters():
    """The small settings as a value of --params."""

    def flat(values, prefix):
        for key, value in values.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}={value}"

    return ",".join(flat(SMALL, ""))


@pytest.fixture(autouse=True)
def _logs_reach_pytest(monkeypatch):
    """Importing Kedro's project sends our log lines to the terminal alone."""
    monkeypatch.setattr(logging.getLogger("tabweave"), "propagate", True)


@pytest.fixture
def dead_process():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def dead_writer(dead_process):
    """What that process has put into the names of temporary files."""
    return str(replace(Process.here(), number=dead_process))


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def small():
    """``--params`` for runs of an environment, which does not see conf/local."""
    return small_parameters()


@pytest.fixture(scope="session")
def make_project():
    """Makes a project copy with small fabricated data and small settings."""

    def make(path, *, rows=ROWS):
        (path / "src").mkdir(parents=True)
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(ROOT / name, path / name)
        # conf/local holds what one person has set on one machine.
        shutil.copytree(
            ROOT / "conf", path / "conf", ignore=shutil.ignore_patterns("local")
        )
        (path / "conf" / "local").mkdir()
        settings = path / "conf" / "local" / "parameters.yml"
        settings.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
        counts = {f"{split}_rows": count for split, count in rows.items()}
        for split, table in fabricate(FabricationConfig(**counts)).items():
            target = path / "data" / "01_raw" / split / "marketplace.csv"
            write_rows(target, iter(table.to_batches()), table.schema)
        return Project(path)

    return make


def pytest_configure(config):
    """Registers the modules of shared fixtures, which no package makes importable."""
    # A shell starts what runs in the background deaf to Ctrl-C, a service manager or
    # nohup to other signals, and so would be every command that a test starts.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = number == signal.SIGINT and signal.default_int_handler
            signal.signal(number, default or signal.SIG_DFL)
    for path in sorted(Path(__file__).parent.glob("*_fixtures.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config.pluginmanager.register(module)


@pytest.fixture(scope="session")
def public_data():
    """Folder of a public dataset, or a skip that says where it was sought."""
    folder = Path(os.environ.get("TABWEAVE_DATA", ROOT.parent / "shared" / "data"))

    def find(name):
        found = (ROOT / folder / name).resolve()
        if not found.is_dir():
            pytest.skip(f"needs the public dataset {found} (TABWEAVE_DATA)")
        return found

    return find


@pytest.fixture(scope="session")
def minilm():
    """Folder of a pretrained encoder, or a skip that says how to get it."""
    given = os.environ.get("TABWEAVE_MINILM", ".cache/all-MiniLM-L6-v2")
    folder = (ROOT / given).resolve()
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"needs the encoder {folder} (make minilm)")
    return folder
