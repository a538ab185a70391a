"""What processes of a launch do in tests; they import this module by its name."""

import os
import signal
import time

import torch

from tabweave.errors import SchemaError
from tabweave.training.processes.distributed import (
    Agreement,
    from_first,
    gathered,
    rank_and_world,
    summed,
    together,
)


def talk(own):
    """What two processes hear of each other."""
    rank, _ = rank_and_world()
    agreement = Agreement(20)
    return gathered(
        {
            "together": together(),
            "place": list(rank_and_world()),
            "gathered": gathered(own[rank]),
            "first": from_first(own[rank]),
            "summed": summed([rank + 1, 0.5]),
            "agreed": [agreement.any(rank == wanted) for wanted in (0, 1, 2)],
            "threads": torch.get_num_threads(),
        }
    )


def where():
    """The first process's own answer; the other one has another."""
    return {"rank": rank_and_world()[0], "pids": gathered(os.getpid())}


def refuse(rank, pids):
    """One process refuses its input."""
    meet(pids)
    if rank_and_world()[0] == rank:
        raise SchemaError("column 'a' is not there")
    gathered("never")


def fail(rank, pids):
    """One process has a mistake."""
    meet(pids)
    if rank_and_world()[0] == rank:
        raise LookupError("a mistake")
    gathered("never")


def die(rank, pids):
    """One process is killed from outside."""
    meet(pids)
    if rank_and_world()[0] == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    gathered("never")


def leave(rank, pids):
    """One process leaves without a word."""
    meet(pids)
    if rank_and_world()[0] == rank:
        os._exit(0)
    gathered("never")


def terminated(rank, pids):
    """All have saved after SIGTERM."""
    meet(pids)
    raise SystemExit(143)


def meet(pids):
    """Every process leaves its id, and sees the others once."""
    (pids / str(os.getpid())).touch()
    gathered("here")
    time.sleep(0.1)
