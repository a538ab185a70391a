"""Disks that are full, and every kind of artifact to write on them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# The folder is no package; processes that tests start import the modules by name.
for _name in ("artifact_kinds", "rank_work", "trainings"):
    _spec = importlib.util.spec_from_file_location(
        _name, Path(__file__).with_name(f"{_name}.py")
    )
    sys.modules[_name] = _module = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)


@dataclass(frozen=True)
class Disk:
    """A folder whose disk can be full.

    Attributes:
        folder: A folder on it.
        full: A context in which a file of 1 MB cannot be written.
        reason: What the system says then.
    """

    folder: Path
    full: Callable[[], AbstractContextManager[None]]
    reason: str


@contextmanager
def mounted(folder: Path, kibibytes: int) -> Iterator[None]:
    """A file system of its own in a folder, or a skip where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={kibibytes}k"
    tool = shutil.which("mount")
    command = [tool or "", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if not tool or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _filled(folder: Path, left: int) -> Iterator[None]:
    """Leaves only so many bytes free on the disk of a folder."""
    filler = folder / "filler"
    room = os.statvfs(folder)
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - left))
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture(scope="session")
def mount() -> Callable[[Path, int], AbstractContextManager[None]]:
    """Mounts a file system of so many KiB in a folder."""
    return mounted


@pytest.fixture(scope="module")
def small_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 16 MiB."""
    folder = tmp_path_factory.mktemp("disk")
    with mounted(folder, 16 * 1024):
        yield folder


@pytest.fixture(params=["no space", "little space", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    """A disk without space, with space for half a file, and a limit on file sizes."""
    from models_fixtures import small_disk

    if request.param == "limit":
        return Disk(tmp_path, lambda: small_disk(200_000), "File too large")
    root = request.getfixturevalue("small_mount")
    shutil.rmtree(root / "x", ignore_errors=True)
    (root / "x").mkdir()
    left = 0 if request.param == "no space" else 300_000
    return Disk(root / "x", lambda: _filled(root, left), "No space left on device")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the kinds are made from."""
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Starts trainings in processes of their own, which end with the module's tests."""
    from trainings import Run, Training

    started, here = [], str(Path(__file__).parent)
    sys.path.insert(0, here)

    def begin(plan: Any, **changes: Any) -> Training:
        folder = tmp_path_factory.mktemp("run") / "run"
        started.append(Training(Run(plan, folder, **changes)))
        return started[-1]

    yield begin
    for training in started:
        training.clear()
    sys.path.remove(here)


FOUND: list[tuple[str, str]] = []


@pytest.fixture
def note() -> Callable[[str, str], None]:
    """Keeps a figure of a test for the end of the report."""
    return lambda name, value: FOUND.append((name, value))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Shows what the tests have measured."""
    if FOUND:
        terminalreporter.section("faults")
    for name, value in FOUND:
        terminalreporter.write_line(f"{name}: {value}")
