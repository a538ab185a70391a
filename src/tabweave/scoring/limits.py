"""Memory and time that a graph may take: a bundle may come from anyone.

A graph of a few hundred bytes can ask for any amount of either. Both are bounded inside
the process that scores, batch by batch: a trial in a process of its own would see only
what a graph does with the rows of the trial.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

GIBIBYTE = 2**30
MAX_MEMORY = 6 * GIBIBYTE
"""Most bytes of numbers that all sessions of the process hold, their weights aside."""
MAX_SECONDS = 600.0
"""Longest time of one batch: an endless loop ends then."""


@cache
def share_bounded_memory() -> None:
    """Registers the memory that sessions with `session.use_env_allocators` share."""
    import onnxruntime

    place = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    as_by_itself = dict.fromkeys(
        (
            "arena_extend_strategy",
            "initial_chunk_size_bytes",
            "max_dead_bytes_per_chunk",
        ),
        -1,
    )
    config = onnxruntime.OrtArenaCfg({"max_mem": MAX_MEMORY, **as_by_itself})
    onnxruntime.create_and_register_allocator(place, config)


@contextmanager
def ended_in_time(options: Any) -> Iterator[None]:
    """Ends what runs with these options of a run after `MAX_SECONDS`."""
    timer = threading.Timer(MAX_SECONDS, lambda: setattr(options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def limit_that_was_met(options: Any, error: Exception) -> str:
    """Which limit ended a run that failed; "" where it was something else."""
    if options.terminate:
        return f"it was not done after {MAX_SECONDS:g} s"
    words = str(error)
    if "bfc_arena" in words and "smaller than requested" in words:
        return (
            f"it needs more than the {MAX_MEMORY / GIBIBYTE:g} GiB of memory that the "
            "graphs of a process may take together"
        )
    if "bad_alloc" in words:
        return "it needs more memory than this process may take"
    return ""
