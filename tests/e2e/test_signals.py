"""Commands that a signal ends, as users start them: at once, whole, with a way to go on."""

import itertools
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
LIMIT_S = 5.0
PATIENCE_S = 120
KEDRO = ("-m", "kedro", "run")
LAST = "06_models/checkpoints/last.ckpt"


@dataclass(frozen=True)
class Ended:
    """A command that was sent a signal, and the seconds from then to its end."""

    code: int
    seconds: float
    said: str

    @property
    def again(self):
        """The arguments for Python that the command says to go on with."""
        (line,) = re.findall(r"^Ended by .*$", self.said, re.MULTILINE)
        words = shlex.split(line.rpartition(": ")[2])
        if words[0] == "python":
            return words[1:]
        return ["-m", *words]


def interrupted(project, arguments, number, *, sign=None, delay=0.0, group=False):
    """Starts Python with arguments and sends a signal, `delay` seconds after `sign`.

    The sign is a pattern in what the command says; without, it is the start.
    """
    said, seen = [], threading.Event()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=project.path,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def read():
        while block := os.read(process.stdout.fileno(), 65536):
            said.append(block.decode(errors="replace"))
            if sign and re.search(sign, "".join(said)):
                seen.set()
        seen.set()

    reader = threading.Thread(target=read)
    reader.start()
    if sign:
        assert seen.wait(PATIENCE_S), "".join(said)
    time.sleep(delay)
    since = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, number)
    code = process.wait(PATIENCE_S)
    seconds = time.monotonic() - since
    reader.join()
    process.stdout.close()
    return Ended(code, seconds, "".join(said))


def assert_ended(found, number, limit=LIMIT_S):
    """In time, with its code, and with one line for people."""
    assert found.code == CODES[number], found.said
    assert found.seconds < limit, found.said
    assert "Traceback" not in found.said
    assert "Aborted" not in found.said
    assert len(re.findall(r"^Ended by ", found.said, re.MULTILINE)) == 1, found.said


def assert_whole(project):
    """Nothing is half-written, in the project and in the folder of temporary files."""
    assert not list(project.path.rglob(".*.part"))
    assert not list(project.path.rglob(".*.old"))
    assert not list(Path(project.environment()["TMPDIR"]).glob("tabweave-*"))


@dataclass(frozen=True)
class Quiet:
    """A project with a folder of temporary files of its own."""

    project: object
    scratch: Path

    def __getattr__(self, name):
        return getattr(self.project, name)

    def environment(self):
        return {**self.project.environment(), "TMPDIR": str(self.scratch)}


@pytest.fixture
def fresh(make_project, tmp_path):
    """A project in which nothing has run."""
    (tmp_path / "scratch").mkdir()
    return Quiet(make_project(tmp_path / "project"), tmp_path / "scratch")


@pytest.fixture
def done(copied, tmp_path):
    """A project in which all stages have run."""
    (tmp_path / "scratch").mkdir()
    return Quiet(copied, tmp_path / "scratch")


@pytest.mark.parametrize(
    ("number", "group"), [(signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_a_run_that_has_just_begun_is_ended(fresh, number, group):
    command = (*KEDRO, "--pipelines=load")
    found = interrupted(fresh, command, number, sign="environment base", group=group)
    assert_ended(found, number)
    assert found.again[-2:] == ["run", "--pipelines=load"]
    assert_whole(fresh)


def test_init_is_ended_while_it_imports(fresh):
    arguments = ("--data=data/01_raw", "--label=label", "--text=dialogue", "--name=a b")
    command = ("-m", "tabweave", "init", *arguments)
    found = interrupted(fresh, command, signal.SIGINT, delay=0.7)
    assert_ended(found, signal.SIGINT)
    assert found.again == list(command)
    assert not (fresh.path / "conf" / "a b").exists()


def test_a_scoring_goes_on_with_the_same_command(fresh, good_bundle):
    rows = "".join(f"text {n},a,{n}\n" for n in range(40_000))
    (fresh.path / "in.csv").write_text(f"note,shop,price\n{rows}", encoding="utf-8")
    command = ("-m", "tabweave", "score", str(good_bundle), "in.csv", "out.csv")
    found = interrupted(fresh, command, signal.SIGTERM, sign="scoring: ", delay=0.2)
    assert_ended(found, signal.SIGTERM)
    assert found.again == list(command)
    assert "The same command goes on where it was: " in found.said
    assert not (fresh.path / "out.csv").exists()
    assert_whole(fresh)
    assert fresh.project.python(*found.again).code == 0
    assert len((fresh.path / "out.csv").read_text("utf-8").splitlines()) == 40_001
    assert not (fresh.path / "out.csv.parts").exists()


STAGES = (
    "fabricate",
    "split",
    "load",
    "text",
    "tabular",
    "train",
    "evaluate",
    "export",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "number"),
    # One signal each, in turn.
    [*zip(STAGES, itertools.cycle((signal.SIGTERM, signal.SIGINT)), strict=False)],
)
def test_every_stage_is_ended_and_the_line_goes_on(done, stage, number):
    """At a random moment of the stage; what was there before is there still, and whole."""
    draw = random.Random(f"{stage} {number}")
    source = ["--params=split.source=data/01_raw/train/marketplace.csv"]
    command = (*KEDRO, f"--pipelines={stage}", *(source if stage == "split" else []))
    delay = draw.uniform(0, 4)
    sign = "environment base"
    while True:
        found = interrupted(done, command, number, sign=sign, delay=delay)
        # A stage that was done before the signal came has said how long it took.
        if not re.search(r"^total ", found.said, re.MULTILINE):
            break
        delay /= 2
        assert delay > 0.01, found.said
    assert_ended(found, number, limit=2 * LIMIT_S if stage == "train" else LIMIT_S)
    assert_whole(done)
    again = done.python(*found.again)
    assert again.code == 0, again.text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_after_training_a_signal_is_heard(fresh, number):
    found = interrupted(fresh, KEDRO, number, sign=r"train +[\d.]+ s", delay=0.3)
    assert_ended(found, number)
    assert_whole(fresh)
    assert found.again == ["-m", "kedro", "run", "--pipelines=evaluate,export"]
    again = fresh.python(*found.again)
    assert again.code == 0, again.text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_training_goes_on_with_the_line_that_it_says(done, number):
    best = done.data("06_models/checkpoints/best.ckpt")
    before = best.read_bytes()
    command = (
        *KEDRO,
        "--pipelines=train,evaluate",
        "--params=training.seed=3,training.max_epochs=30",
    )
    sign = r"\n?.*training: +\d+%.* [2-9]\d/"
    found = interrupted(done, command, number, sign=sign, group=True)
    assert_ended(found, number, limit=2 * LIMIT_S)
    assert_whole(done)
    assert best.read_bytes() == before
    assert "training.resume=auto" in found.said.splitlines()[-1]
    assert done.data(LAST).exists()
    shorter = [
        word.replace("max_epochs=30", "max_epochs=4,training.max_steps=40")
        for word in found.again
    ]
    again = done.python(*shorter)
    assert again.code == 0, again.text
    assert best.read_bytes() != before
