"""A writer that dies leaves the old or the new content whole, and nothing for good."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from artifact_kinds import KINDS, save_for_ever, whole

from tabweave.errors import MissingDataError
from tabweave.schema import SPLITS
from tabweave.tables.lookup import find_split

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
KILLS = int(os.environ.get("TABWEAVE_STOPS", "3"))
MOST_KILLS = 10 * KILLS
# What takes long to import; writers are forked from a process that has it.
LOADED = [
    *("torch.utils.tensorboard.summary", "tensorboard.compat.proto.event_pb2"),
    *(
        "tabweave.training.checkpoints.checkpoint",
        "tabweave.models",
        "tabweave.datasets.files",
    ),
    *("tabweave.datasets.tables", "tabweave.datasets.split_files"),
]


@pytest.fixture(scope="module")
def writers():
    """Starts processes that save a kind again and again."""
    context = get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    sys.path.insert(0, str(HERE))

    def start(name, folder, inputs):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(
            target=save_for_ever, args=(name, folder, inputs, send), daemon=True
        )
        process.start()
        send.close()
        assert receive.poll(60), "the writer has not started"
        return process, receive.recv()

    yield start
    sys.path.remove(str(HERE))


def kill_one(start, name, folder, inputs, draw, *, writing):
    """Kills a writer at a random moment of its work, or of its writing."""
    process, seconds = start(name, folder, inputs)
    time.sleep(draw.uniform(0, seconds))
    deadline = time.monotonic() + 10 * seconds
    while writing and not temporary_in(folder) and time.monotonic() < deadline:
        time.sleep(draw.uniform(0, 0.001))
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL


def temporary_in(folder):
    """Names of hidden files and folders, however fast they come and go."""
    return [
        str((Path(at) / name).relative_to(folder))
        for at, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if name.startswith(".")
    ]


@pytest.mark.parametrize("name", KINDS)
def test_a_killed_writer_leaves_whole_content(name, writers, inputs, tmp_path):
    kind, draw = KINDS[name], random.Random(name)
    versions = [whole(kind, version, inputs) for version in (0, 1)]
    kills = interrupted = 0
    while kills < KILLS or (not interrupted and kills < MOST_KILLS):
        kill_one(writers, name, tmp_path, inputs, draw, writing=kills % 2)
        kills += 1
        left = temporary_in(tmp_path)
        interrupted += bool(left)
        assert kind.read(tmp_path) in versions
        assert_no_file_of_a_split(tmp_path, left)
        kind.save(tmp_path, 0, inputs)
        assert temporary_in(tmp_path) == []
        assert kind.read(tmp_path) == versions[0]
    assert interrupted, "no writer was killed while it wrote"


def assert_no_file_of_a_split(folder, left):
    """What a killed writer left is nothing that the search for split files finds."""
    for name in left:
        for split in SPLITS:
            try:
                found = find_split((folder / name).parent, split).path
            except MissingDataError:
                continue
            assert not found.name.startswith("."), found


# Saves both versions of every kind; the second save takes the place of the first.
SAVE_ALL = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from artifact_kinds import KINDS
events, fsync = [], os.fsync

def noted(handle):
    events.append(["fsync", os.readlink(f"/proc/self/fd/{handle}")])
    fsync(handle)

def renamed(event, given):
    if event == "os.rename":
        events.append(["rename", *map(os.fsdecode, given[:2])])

if sys.argv[4:] == ["noted"]:
    os.fsync = noted
    sys.addaudithook(renamed)
for name, kind in KINDS.items():
    for version in (0, 1):
        kind.save(Path(sys.argv[2]) / name, version, Path(sys.argv[3]))
json.dump(events, sys.stdout)
"""
TRACED = "write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2"
CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += +(?:0|[1-9]\d*)$", re.MULTILINE)


def noted_events(folder, inputs):
    """What Python itself tells of flushes and renames."""
    command = [sys.executable, "-c", SAVE_ALL, HERE, folder, inputs, "noted"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def traced_events(folder, inputs):
    """What the system was asked for, writes too."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    trace = folder / "trace"
    tool = ["strace", "-f", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-o", trace]
    command = [*tool, sys.executable, "-c", SAVE_ALL, HERE, folder, inputs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr:
        pytest.skip("needs the right to trace a process")
    assert done.returncode == 0, done.stderr
    events = []
    for name, given in CALL.findall(
        trace.read_text(encoding="utf-8", errors="replace")
    ):
        if name.startswith("rename"):
            events.append(["rename", *re.findall(r'"([^"]*)"', given)])
        else:
            path = re.match(r"\d+<([^>]*)>", given)
            events.append(["fsync" if "sync" in name else "write", path[1]])
    return events


@pytest.mark.parametrize("events_of", [noted_events, traced_events])
def test_content_is_on_the_disk_before_it_takes_its_name(events_of, inputs, tmp_path):
    events = events_of(tmp_path, inputs)
    for name, kind in KINDS.items():
        target = tmp_path / name / kind.target
        renames = [
            n
            for n, (what, *paths) in enumerate(events)
            if what == "rename" and paths[1] == str(target)
        ]
        # Python does not tell of two folders that swap their names.
        untold = events_of is noted_events and target.is_dir()
        assert len(renames) == 2 - untold, name
        for at in renames:
            assert_flushed(events, at, target)


def assert_flushed(events, at, target):
    """All that is renamed was flushed after it was written; then the folder is."""
    part = events[at][1]
    below = [f"{part}/{path.relative_to(target)}" for path in target.rglob("*")]
    fixed = [path for path in (part, *below) if "tfevents" not in path]
    for path in fixed:
        done = [what for what, *paths in events[:at] if paths == [path]]
        assert done, f"{path} was not flushed"
        assert done[-1] == "fsync", f"{path} was written after it was flushed"
    later = [paths for what, *paths in events[at + 1 :] if what in ("fsync", "rename")]
    assert later[0] == [str(target.parent)]
