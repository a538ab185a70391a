"""Runs a function in several processes at once, on one machine or on several.

The function runs once per process and nothing else does: what it takes crosses as it is
pickled, so large tables cross as paths. Whatever ends one process ends them all, and the
error says which one it was and why.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tabweave import errors
from tabweave.errors import TrainingError, cut
from tabweave.running.signals import interrupt
from tabweave.storage.artifacts import scratch_folder
from tabweave.storage.processes import die_with_parent
from tabweave.training.processes.notes import TERMINATED, read_notes
from tabweave.training.processes.warden import Warden

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

    from tabweave.training.config import TrainingConfig

logger = logging.getLogger(__name__)

Task = tuple[Callable[..., Any], tuple[Any, ...]]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
LAUNCHERS = ("torch.distributed.elastic", "torch.multiprocessing")
PRELOADED = ["tabweave.training.processes.rank_server", "tabweave.training.engine"]
"""Modules of the server that ranks are forked from, so that they start at once."""
GUARD = (
    "Every process reads the script again, so one that starts a training at its top level "
    'is the likely cause: put the call under `if __name__ == "__main__":`'
)
GRACE_S = 15
"""Seconds that processes get to save and leave before they are killed."""


@dataclass(frozen=True)
class Ranks:
    """How many processes work together, and where they meet.

    Attributes:
        devices: Processes on each machine.
        nodes: Machines.
        node: Number of this machine; 0 runs Kedro.
        rendezvous: HOST:PORT of machine 0, for several machines.
        timeout_s: Seconds after which a process that does not answer is given up.
        threads: Compute threads of each process; None shares out the cores.
    """

    devices: int = 1
    nodes: int = 1
    node: int = 0
    rendezvous: str | None = None
    timeout_s: int = 300
    threads: int | None = None

    @classmethod
    def of(cls, config: TrainingConfig) -> Self:
        """As a training is configured; "auto" looks for GPUs.

        Raises:
            TrainingError: There are GPUs, but fewer than processes.
        """
        devices, there = config.devices, local_devices()
        if devices == "auto":
            devices = there
        elif there > 1 and devices > there:
            raise TrainingError(
                f"training.devices is {devices}, but there are {there} GPUs. Give at most "
                "one process per GPU, or auto."
            )
        return cls(
            devices=devices,
            nodes=config.num_nodes,
            rendezvous=config.rendezvous,
            timeout_s=config.timeout_s,
            threads=config.threads,
        )

    @property
    def world(self) -> int:
        """Number of all processes."""
        return self.devices * self.nodes


def local_devices() -> int:
    """One process per GPU, or one."""
    import torch

    return max(1, torch.cuda.device_count())


def launch(task: Task | None, ranks: Ranks, logs: Path, *, saves: bool = True) -> Any:
    """Calls a function in every process.

    Args:
        task: A function of a module, and what it takes; None on a machine that joins.
        ranks: How many processes, and where.
        logs: Folder of the log files, one per process.
        saves: Whether a process that is told to end saves first.

    Returns:
        What the function gave in the first process; None on a machine that joins.

    Raises:
        TrainingError: A process failed; the message names it and gives its own error. Or
            the machines did not meet in time.
        TabweaveError: A process refused its input; the error is that of the process.
        KeyboardInterrupt: Ctrl-C.
        SystemExit: 143 after SIGTERM, 129 after SIGHUP; a line of the log names
            processes that did not save.
    """
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import elastic_launch

    from tabweave.training.processes.ranks import Meeting, work

    _refuse_while_a_process_reads_the_script()
    die_with_parent()
    _await_machine_0(ranks)
    multiprocessing.set_forkserver_preload(PRELOADED)
    threads = ranks.threads or max(1, (os.cpu_count() or 1) // ranks.devices)
    with scratch_folder("ranks-") as notes, _own_signals(), _silent_launcher():
        meeting = Meeting(logs, notes, ranks.timeout_s, threads)
        warden = Warden(notes, GRACE_S)
        try:
            with warden:
                results = elastic_launch(_config(ranks, notes), work)(meeting, task)
        except ChildFailedError as error:
            raise _explained(error, notes, logs, warden) from None
        except (DistError, RendezvousError) as error:
            raise _unmet(ranks, error) from error
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            if saves:
                _say_who_did_not_save(notes)
            interrupt(error.sigval)
    return next((found for found in results.values() if found is not None), None)


def _refuse_while_a_process_reads_the_script() -> None:
    # multiprocessing marks a process that is about to read the script of its parent.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise TrainingError(f"A process cannot start the training anew. {GUARD}.")


def _await_machine_0(ranks: Ranks) -> None:
    """Waits until the rendezvous answers: PyTorch would log a page for every attempt."""
    if ranks.node == 0 or ranks.rendezvous is None:
        return
    host, _, port = ranks.rendezvous.rpartition(":")
    deadline = time.monotonic() + ranks.timeout_s
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            socket.create_connection((host.strip("[]"), int(port)), left).close()
        except (OSError, UnicodeError) as error:  # no name of a host is the latter
            if time.monotonic() + 1 >= deadline:
                raise _unmet(ranks, error) from error
            time.sleep(1)
        else:
            return


def _unmet(ranks: Ranks, error: Exception) -> TrainingError:
    """What to start where, when the machines do not meet."""
    place, seconds = ranks.rendezvous, ranks.timeout_s
    settings = f"training.num_nodes={ranks.nodes},training.rendezvous={place}"
    if ranks.node:
        said = (
            f"Machine 0 did not answer at {place} within {seconds} seconds (--timeout). "
            f"Start there: kedro run --params={settings}; and see that this machine can "
            "reach the port."
        )
    elif place:
        said = (
            f"The {ranks.nodes} machines did not meet at {place} within {seconds} seconds "
            "(training.timeout_s). Start on every other one, --node counting from 1: "
            f"tabweave join --rendezvous={place} --num-nodes={ranks.nodes} --node=1; and "
            "see that the port is free here and that they can reach it."
        )
    else:
        said = "The processes of the training could not meet on this machine."
    return TrainingError(f"{said} It was: {cut(str(error).partition(chr(10))[0], 300)}")


def _likely_cause() -> str:
    """Says what a script must look like, where a script of the user runs."""
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    if script is None or main.__spec__ is not None or Path(script).suffix != ".py":
        return ""
    return f"{GUARD}; this script is {script}. "


def _say_who_did_not_save(folder: Path) -> None:
    unsaved = [
        str(note["rank"])
        for note in read_notes(folder)
        if note["state"] != "done" and note.get("exit_code") != TERMINATED
    ]
    if unsaved:
        logger.warning(
            "Ended before a step was done in which ranks %s could save; last.ckpt is the "
            "one of before.",
            ", ".join(unsaved),
        )


def _config(ranks: Ranks, notes: Path) -> LaunchConfig:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    endpoint = ranks.rendezvous or f"127.0.0.1:{_free_port()}"
    return LaunchConfig(
        min_nodes=ranks.nodes,
        max_nodes=ranks.nodes,
        nproc_per_node=ranks.devices,
        run_id="tabweave",
        rdzv_backend="static",
        rdzv_endpoint=endpoint,
        rdzv_configs={"rank": ranks.node, "timeout": ranks.timeout_s},
        local_addr="localhost" if ranks.nodes == 1 else None,
        max_restarts=0,
        monitor_interval=0.1,
        start_method="forkserver",
        shutdown_timeout=GRACE_S,
        logs_specs=DefaultLogsSpecs(log_dir=str(notes / "elastic")),
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def _own_signals() -> Iterator[None]:
    """Puts back the handlers that the launcher replaces and leaves in place."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _silent_launcher() -> Iterator[None]:
    """What PyTorch's launcher says of a failure is said once, by the error."""
    loggers = [logging.getLogger(name) for name in LAUNCHERS]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _explained(error: Any, folder: Path, logs: Path, warden: Warden) -> BaseException:
    """The error of the process that failed first, by what the processes left word of."""
    notes = read_notes(folder)
    failed = [note for note in notes if note["state"] == "failed"]
    left = [note for note in notes if note["state"] == "started"]
    seen = {failure.pid for failure in error.failures.values()}
    if any(note["exit_code"] == TERMINATED for note in failed):
        return SystemExit(TERMINATED)
    for wanted in (
        [note for note in failed if not note["lost_another"]],
        # The launcher ends the others as soon as it has seen one gone.
        [note for note in left if note["pid"] in seen],
        [note for note in left if note["rank"] in warden.gone],
        left,
        [note for note in failed if note["rank"] in warden.stuck],
        failed,
    ):
        if wanted:
            first = min(wanted, key=lambda note: note.get("time", time.time()))
            return _of_process(first, logs, warden)
    _, failure = error.get_first_failure()
    return TrainingError(
        f"A process of the training ended with exit code {failure.exitcode} before it "
        f"began: {failure.message}. {_likely_cause()}The logs are in {logs}."
    )


def _of_process(note: dict[str, Any], logs: Path, warden: Warden) -> Exception:
    rank, log = note["rank"], logs / f"rank_{note['rank']}.log"
    if note["state"] == "started" or (note["lost_another"] and rank in warden.stuck):
        code = warden.exit_code(note["pid"])
        ending = _ending(code, hung=rank in warden.stuck)
        return TrainingError(
            f"Rank {rank} (pid {note['pid']}) {ending}. The last "
            f"checkpoint is whole: set training.resume to auto and run again. Log: {log}"
        )
    if note["expected"]:
        kind = getattr(errors, note["kind"], TrainingError)
        found: Exception = kind(
            f"{note['message']}\nSo said rank {rank} (pid {note['pid']}). Log: {log}"
        )
        return found
    return TrainingError(
        f"Rank {rank} (pid {note['pid']}) failed with {note['kind']}: {note['message']}\n"
        f"{note['traceback']}Log: {log}"
    )


def _ending(code: int | None, *, hung: bool) -> str:
    if hung:
        return (
            "did not answer within training.timeout_s; the stacks of all ranks are in "
            "their logs"
        )
    if code is None:
        return "is gone, and nobody knows why"
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (the kernel does so when memory runs out)" if code == -9 else ""
        return f"was ended by {name}{hint}"
    return f"ended with exit code {code} before the training was done"
