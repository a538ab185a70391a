"""Inside one of several processes that work together: meet, report, and die when due."""

from __future__ import annotations

import faulthandler
import fcntl
import logging
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import torch
import torch.distributed as dist

from tabweave.storage.processes import die_with_parent
from tabweave.training.processes.distributed import from_first
from tabweave.training.processes.notes import Note
from tabweave.training.processes.warden import DUMP

LOOPBACK = ("127.0.0.1", "localhost")
SIOCGIFADDR = 0x8915
"""Request of Linux for the address of an interface."""


@dataclass(frozen=True)
class Meeting:
    """How a process finds the others, and where it leaves word.

    Attributes:
        logs: Folder of the log files, one per process.
        notes: Folder in which the processes of this machine leave word for the launcher.
        timeout_s: Seconds after which a process that does not answer is given up.
        threads: Compute threads of each process.
    """

    logs: Path
    notes: Path
    timeout_s: int
    threads: int


def work(
    meeting: Meeting, task: tuple[Callable[..., Any], tuple[Any, ...]] | None
) -> Any:
    """The whole life of a process: meets the others, calls the function, says how it went.

    Args:
        meeting: How to find the others.
        task: A function of a module and what it takes; None takes both from the first
            process, on a machine that has joined.

    Returns:
        What the function gave in the first process, else None.
    """
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once
    die_with_parent()
    meeting.logs.mkdir(parents=True, exist_ok=True)
    path = meeting.logs / f"rank_{rank}.log"
    with path.open("w", encoding="utf-8", buffering=1) as log:
        _write_log(log, meeting, rank)
        note = Note(meeting.notes, local, rank)
        note.started()
        try:
            _meet(meeting, local)
            function, arguments = from_first(task)
            result = function(*arguments)
            dist.destroy_process_group()
        except BaseException as error:
            traceback.print_exc(file=log)
            note.failed(error)
            raise
        note.done()
        return result if rank == 0 else None


def _meet(meeting: Meeting, local: int) -> None:
    torch.set_num_threads(meeting.threads)
    if int(os.environ["GROUP_WORLD_SIZE"]) > 1:
        name = interface_towards(os.environ["MASTER_ADDR"])
        if name is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            # Without "=" it would be the beginning of a name: eth1 is also eth10.
            os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=timedelta(seconds=meeting.timeout_s))


def interface_towards(host: str) -> str | None:
    """The network interface through which this machine and a host reach each other.

    PyTorch would take the address of this machine's own name, which often is one that
    others cannot reach, such as 127.0.0.1.

    Args:
        host: Name or IPv4 address; it may be one of this machine.

    Returns:
        Name of the interface; None for a host that IPv4 does not reach, and for a name
        that this machine takes for its own loopback while others may not.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # asks for the route, sends nothing
            wanted = probe.getsockname()[0]
            if wanted.startswith("127.") and host not in LOOPBACK:
                return None
            for _, name in socket.if_nameindex():
                if _address(probe, name) == wanted:
                    return name
    except OSError:  # no such host, or no route: whoever meets there says so
        return None
    return None


def _address(probe: socket.socket, name: str) -> str | None:
    request = struct.pack("256s", name.encode()[:15])
    try:
        found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
    except OSError:  # an interface without an address
        return None
    return socket.inet_ntoa(found[20:24])


def _write_log(log: TextIO, meeting: Meeting, rank: int) -> None:
    """Sends what is logged, and stacks on demand, to the file of this process.

    The first process keeps the terminal as well, for the progress bar.
    """
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    faulthandler.enable(log)
    faulthandler.register(DUMP, log, all_threads=True)
    log.write(f"rank {rank}, pid {os.getpid()}, {meeting.threads} threads\n")
    if rank:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        os.dup2(log.fileno(), sys.__stderr__.fileno() if sys.__stderr__ else 2)
