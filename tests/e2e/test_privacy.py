"""Nothing is sent or looked up, and no file appears outside the project.

Each command runs with an empty home folder, under strace where that is installed, as a
new user of a new machine would run it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass

import pytest

SWITCHES = ("ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_OFFLINE", "CI")
# A port of DNS counts wherever it is: the name server may be on this machine.
ASKED = re.compile(r"(?:connect|sendto|sendmsg|sendmmsg)\(.*sa_family=AF_INET.*")
HERE = re.compile(r"127\.0\.0\.\d+|\"::1\"|::ffff:127\.")
NAMES = "htons(53)"
MADE = re.compile(r'"(?P<path>/[^"]+)", [A-Z_|]*O_CREAT')
# The memory that processes share is no file, and a list of fonts says nothing of a user.
ALLOWED = re.compile(r"/dev/(?:shm|null|tty)|/.*/matplotlib/|/.*/__pycache__/")
OPEN = """
import sys
from tabweave.scoring import Scorer
print(Scorer.open(sys.argv[1]).score([{"note": "a", "shop": "a", "price": 1.0}]))
"""
IMPORT = """
import tabweave.export.onnx_model, tabweave.training.engine, tabweave.evaluation.predict
import onnxruntime, peft
print("all imported")
"""


@dataclass(frozen=True)
class Watched:
    """A command that has ended, and what it asked and made outside its folders."""

    code: int
    text: str
    asked: list
    outside: list


def strace():
    """How to watch a command; None where that is not possible."""
    program = shutil.which("strace")
    if program is None:
        return None
    tried = subprocess.run([program, "-o", "/dev/null", "true"], check=False)
    return program if tried.returncode == 0 else None


def asked_in(lines):
    return [
        line
        for line in lines
        if ASKED.search(line) and (NAMES in line or not HERE.search(line))
    ]


@dataclass(frozen=True)
class Machine:
    """A home and a folder for temporary files, both empty at first."""

    home: object
    temporary: object
    trace: object

    def environment(self, **changes):
        own = {n: v for n, v in os.environ.items() if n not in SWITCHES}
        own = {n: v for n, v in own.items() if not n.startswith(("XDG_", "MPL"))}
        return {
            **own,
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "OMP_NUM_THREADS": "1",
            **changes,
        }

    def watching(self, command):
        program = strace()
        if program is None:
            pytest.skip("strace is not installed, or may not watch processes here")
        calls = "--trace=%network,openat,open,creat"
        return [
            *(program, "-f", "-qq", "-s", "200", "--seccomp-bpf", calls),
            *("-o", str(self.trace), *command),
        ]

    def run(self, *command, cwd, **changes):
        done = subprocess.run(
            self.watching(command),
            cwd=cwd,
            env=self.environment(**changes),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        asked, outside = self.seen(cwd)
        return Watched(done.returncode, done.stdout + done.stderr, asked, outside)

    def seen(self, cwd):
        lines = self.trace.read_text("utf-8", errors="replace").splitlines()
        own = (str(cwd), str(self.temporary))
        made = {m["path"] for m in map(MADE.search, lines) if m}
        left = {str(p) for p in self.home.rglob("*") if p.is_file()}
        outside = sorted(
            path
            for path in made | left
            if not path.startswith(own) and not ALLOWED.match(path)
        )
        return asked_in(lines), outside


@pytest.fixture
def machine(tmp_path):
    for name in ("home", "temporary", "work"):
        (tmp_path / name).mkdir()
    return Machine(tmp_path / "home", tmp_path / "temporary", tmp_path / "trace")


def quiet(done):
    assert done.code == 0, done.text
    assert done.asked == []
    assert done.outside == []


def test_the_watch_sees_a_lookup_a_connection_and_a_file(machine, tmp_path):
    code = (
        "import pathlib, socket, sys; pathlib.Path.home().joinpath('x').touch()\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    )
    done = machine.run(sys.executable, "-c", code, cwd=tmp_path / "work")
    assert len(done.asked) == 1
    assert done.outside == [str(machine.home / "x")]
    code = "import socket; socket.socket(2, 2).connect(('127.0.0.1', 53))"
    done = machine.run(sys.executable, "-c", code, cwd=tmp_path / "work")
    assert len(done.asked) == 1
    code = "import socket; socket.socket(2, 2).connect(('127.0.0.1', 5353))"
    done = machine.run(sys.executable, "-c", code, cwd=tmp_path / "work")
    assert done.asked == []


def test_scoring_a_file_keeps_to_itself(machine, tmp_path, good_bundle):
    work = tmp_path / "work"
    (work / "in.csv").write_text("id,note,shop,price\n1,where,a,3\n", encoding="utf-8")
    command = (sys.executable, "-m", "tabweave", "score", str(good_bundle), "in.csv")
    done = machine.run(*command, "out.csv", "--quiet", cwd=work)
    quiet(done)
    assert "1 of 1 rows scored" in done.text


def test_a_program_that_scores_keeps_to_itself(machine, tmp_path, good_bundle):
    command = (sys.executable, "-c", OPEN, str(good_bundle))
    quiet(machine.run(*command, cwd=tmp_path / "work"))


def test_who_asks_for_the_telemetry_of_a_library_gets_it(
    machine, tmp_path, good_bundle
):
    """What a user has set stays; and so the tests above would see it."""
    command = (sys.executable, "-c", OPEN, str(good_bundle))
    done = machine.run(*command, cwd=tmp_path / "work", ORT_DISABLE_TELEMETRY="0")
    if not done.outside:
        pytest.skip("this onnxruntime has no telemetry")
    assert any("onnxruntime" in path for path in done.outside)


@pytest.mark.slow
def test_what_training_and_export_import_keeps_to_itself(machine, tmp_path):
    done = machine.run(sys.executable, "-c", IMPORT, cwd=tmp_path / "work")
    quiet(done)
    assert "all imported" in done.text


@pytest.mark.parametrize(
    "command",
    [("run", "--pipelines=load"), ("viz", "--help")],
    ids=" ".join,
)
def test_kedro_s_commands_keep_to_themselves(machine, make_project, tmp_path, command):
    project = make_project(tmp_path / "project")
    # Without it kedro-telemetry takes consent for granted.
    (project.path / ".telemetry").unlink()
    quiet(machine.run(sys.executable, "-m", "kedro", *command, cwd=project.path))


@pytest.mark.slow
def test_all_stages_keep_to_themselves(machine, make_project, tmp_path):
    project = make_project(tmp_path / "project")
    quiet(machine.run(sys.executable, "-m", "kedro", "run", cwd=project.path))


@pytest.mark.slow
def test_the_lineage_view_keeps_to_itself(machine, make_project, tmp_path):
    pytest.importorskip("kedro_viz")
    project = make_project(tmp_path / "project")
    port = "21907"
    command = (sys.executable, "-m", "kedro", "viz", "run", "--no-browser")
    process = subprocess.Popen(
        machine.watching([*command, "--port", port]),
        cwd=project.path,
        env=machine.environment(),
        start_new_session=True,
    )
    try:
        for page in ("/", "/api/version", "/api/main"):
            open_page(f"http://127.0.0.1:{port}{page}", process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
    assert machine.seen(project.path) == ([], [])


def open_page(address, process):
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
