"""Trainings in processes of their own, which note every step and meet what is asked for.

A training is started in a session of its own, so that whatever it leaves behind can be
found. Every process notes the batches it computes before it computes them, and stops, or
is disturbed otherwise, at the place where the test wants it.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOM = 64 * 2**20
"""Bytes that a process may still take after its memory is limited."""


@dataclass(frozen=True)
class Trouble:
    """What happens to a process, and when.

    Attributes:
        what: A function of `TROUBLES`.
        rank: The process that meets it.
        step: It comes after so many batches that this process began.
        place: Where: before a batch, in a batch, or in a validation that follows it.
        delay: Seconds that it waits there, while training goes on.
    """

    what: str
    rank: int = 0
    step: int = 0
    place: str = "step"
    delay: float = 0.0


@dataclass(frozen=True)
class Run:
    """One training in one new process.

    Attributes:
        plan: What is trained.
        folder: Where its processes leave word; new for every run.
        trouble: What it meets, if anything.
        pause: Seconds that every step takes at least.
        own_server: Whether its ranks are forked from a server of its own, as in life.
    """

    plan: Any
    folder: Path
    trouble: Trouble | None = None
    pause: float = 0.0
    own_server: bool = False

    def steps(self, rank: int = 0) -> list[dict[str, Any]]:
        """The batches that a process began: epoch, batch, step and row numbers."""
        path = self.folder / f"steps-{rank}.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def result(self) -> dict[str, Any]:
        """Digest of the best model and the history of a run that came to its end."""
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return found

    def said(self) -> str:
        """All that the process wrote to the terminal."""
        return (self.folder / "terminal.txt").read_text(errors="replace")

    def troubled(self) -> float:
        """When the trouble came."""
        return float((self.folder / "trouble").read_text())


def broken_metric(probabilities: Any, labels: Any) -> Any:
    """A metric of a user that has a mistake."""
    raise LookupError("a mistake of the test")


def raise_error() -> None:
    """A mistake in a user's own code."""
    raise LookupError("a mistake of the test")


def take_memory() -> None:
    """Allocates more than the process may have."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    bytearray(4 * ROOM)


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def _send_launcher(number: signal.Signals) -> None:
    launcher = multiprocessing.parent_process()
    assert launcher is not None
    os.kill(launcher.pid, number)


TROUBLES = {
    "raises": raise_error,
    "memory": take_memory,
    "exits": partial(os._exit, 0),
    "sleeps": partial(time.sleep, 600),
    "SIGKILL": partial(_send, signal.SIGKILL),
    "SIGTERM": partial(_send, signal.SIGTERM),
    "launcher SIGKILL": partial(_send_launcher, signal.SIGKILL),
    "launcher SIGTERM": partial(_send_launcher, signal.SIGTERM),
}


def _recorder(run: Run) -> Any:
    """A callback that notes every batch and brings the trouble."""
    from lightning.pytorch.callbacks import Callback

    from tabweave.training.processes.distributed import rank_and_world

    class Recorder(Callback):
        def __init__(self) -> None:
            self.rank = rank_and_world()[0]
            self.path = run.folder / f"steps-{self.rank}.jsonl"
            self.begun = 0
            self.left = run.trouble if run.trouble else None
            if self.left and self.left.rank != self.rank:
                self.left = None

        def meet(self, place: str) -> None:
            found = self.left
            if not found or found.place != place or self.begun <= found.step:
                return
            self.left = None
            (run.folder / "trouble").write_text(str(time.time()))
            if found.delay:
                threading.Timer(found.delay, TROUBLES[found.what]).start()
            else:
                TROUBLES[found.what]()

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            word = {
                "epoch": trainer.current_epoch,
                "batch": batch_idx,
                "step": trainer.global_step,
                "rows": batch.index.tolist(),
            }
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(word) + "\n")
            self.begun += 1
            time.sleep(run.pause)
            self.meet("step")

        def on_validation_batch_start(self, *given):
            self.meet("validation")

        def on_validation_batch_end(self, *given):
            self.meet("end of validation")

    return Recorder()


def _record(run: Run) -> None:
    """Has the trainings of this process recorded."""
    from tabweave.training import fitting

    given = fitting._callbacks
    fitting._callbacks = lambda *args: [*given(*args), _recorder(run)]


def _fit_in_rank(run: Run, plan: Any) -> Any:
    """What every one of several processes does."""
    from tabweave.training.fitting import fit_in_rank

    _record(run)
    return fit_in_rank(plan)


def train(run: Run) -> None:
    """The whole life of the process that trains, or that launches those that do."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run.folder.mkdir(parents=True)
    terminal = os.open(run.folder / "terminal.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(terminal, 1)
    os.dup2(terminal, 2)
    if run.own_server:
        from multiprocessing import forkserver

        forkserver._forkserver.__init__()
    _train(run)


def _train(run: Run) -> None:
    from tabweave.training import engine

    _record(run)
    engine.fit_in_rank = partial(_fit_in_rank, run)
    trained = engine.train_model(run.plan)
    result = {
        "model": digest(trained.model.state_dict()),
        "records": trained.history["records"],
    }
    (run.folder / "result.json").write_text(json.dumps(result))


def digest(values: Any) -> str:
    """sha256 of tensors and numbers in nested dictionaries and lists."""
    import torch

    total = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            total.update(str(value.dtype).encode())
            total.update(
                value.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
            )
        elif isinstance(value, dict):
            for name in sorted(value, key=str):
                total.update(str(name).encode())
                add(value[name])
        elif isinstance(value, list | tuple):
            for each in value:
                add(each)
        else:
            total.update(repr(value).encode())

    add(values)
    return total.hexdigest()


class Training:
    """A run that has been started.

    Args:
        run: The run.

    Attributes:
        pid: Id of its first process, and of its session.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tabweave.training.engine"])
        self.process = context.Process(target=train, args=(run,))
        self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    def ended(self, seconds: float) -> int:
        """Waits for its end, and gives the exit code."""
        self.process.join(seconds)
        code = self.process.exitcode
        assert code is not None, f"it still runs after {seconds:.0f} s: {self.words()}"
        return code

    def reached(self, steps: int, rank: int = 0, seconds: float = 120) -> None:
        """Waits until a process has begun so many batches."""
        limit = time.monotonic() + seconds
        while len(self.run.steps(rank)) < steps:
            assert self.process.is_alive(), self.words()
            assert time.monotonic() < limit, self.words()
            time.sleep(0.02)

    def rank_pid(self, rank: int) -> int:
        """Id of one of its processes, by the first line of its log."""
        return int(self.log(rank).split("pid ")[1].split(",")[0])

    def log(self, rank: int) -> str:
        """The log of one of its processes."""
        path = self.run.plan.rank_logs / f"rank_{rank}.log"
        return path.read_text(encoding="utf-8", errors="replace")

    def words(self) -> str:
        """All that its processes said."""
        logs = [
            f"\n--- {path.name}\n{path.read_text(errors='replace')}"
            for path in sorted(self.run.plan.rank_logs.glob("*.log"))
        ]
        return self.run.said() + "".join(logs)

    def left(self, seconds: float = 0) -> list[str]:
        """Its processes that still run after so many seconds at most, in words."""
        limit = time.monotonic() + seconds
        while (found := self._alive()) and time.monotonic() < limit:
            time.sleep(0.1)
        return list(found.values())

    def _alive(self) -> dict[int, str]:
        pids = {self.pid}
        for path in self.run.plan.rank_logs.glob("*.log"):
            if "pid " in (text := path.read_text(errors="replace")):
                pids.add(int(text.split("pid ")[1].split(",")[0]))
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = path.read_text(errors="replace").rpartition(")")
            except OSError:
                continue
            state, _, _, session = rest.split()[:4]
            pid = int(path.parent.name)
            if state not in "ZX" and (int(session) in pids or pid in pids):
                found[pid] = f"{name}) {state}"
        return found

    def clear(self) -> None:
        """Ends whatever is left of it."""
        for pid in self._alive():
            os.kill(pid, signal.SIGKILL)
        self.process.join()
