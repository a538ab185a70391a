"""How fast a model answers: several ways take turns, within a budget of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from tabweave.errors import ExportError, some_of
from tabweave.scoring.runtime import session_options

Asked = TypeVar("Asked")
Answer = Callable[[Asked], object]
TAIL = 95
"""Percentile that stands for slow answers."""


@dataclass(frozen=True)
class System(Generic[Asked]):
    """One way to answer, and what it is asked; the inputs are ready before the clock.

    Attributes:
        load: Opens the model and returns what answers.
        rows: Inputs of one row each.
        batches: Inputs of several rows, each with its number of rows.
    """

    load: Callable[[], Answer[Asked]]
    rows: Sequence[Asked]
    batches: Sequence[tuple[Asked, int]]


@dataclass(frozen=True)
class Timing:
    """How fast one system was.

    Attributes:
        load_seconds: Wall seconds until it could answer.
        p50_ms: Median milliseconds of an answer about one row.
        p95_ms: Milliseconds that 95 of 100 such answers take at most.
        rows_per_second: In batches.
        single_calls: Answers about one row that were timed.
        batch_calls: Batches that were timed.
    """

    load_seconds: float
    p50_ms: float
    p95_ms: float
    rows_per_second: float
    single_calls: int
    batch_calls: int


def measure(
    systems: Mapping[str, System[Any]], *, seconds: float = 10.0
) -> dict[str, Timing]:
    """Times all systems in turn, so that whatever else runs slows all of them alike.

    Half of the seconds goes to single rows, half to batches. Loading and one call of
    each kind, which nobody counts, come on top. Every system has as many calls as the
    others: one at least, however short the time, and all that it is asked at most.

    Raises:
        ExportError: A system is asked nothing.
    """
    idle = [name for name, one in systems.items() if not (one.rows and one.batches)]
    if idle:
        raise ExportError(f"{some_of(idle)} cannot be timed without rows and batches.")
    loaded = {name: _load(system) for name, system in systems.items()}
    for name, system in systems.items():
        answer, _ = loaded[name]
        answer(system.batches[0][0])
        answer(system.rows[0])
    answers = {name: answer for name, (answer, _) in loaded.items()}
    single = _in_turn(
        answers, {name: one.rows for name, one in systems.items()}, seconds / 2
    )
    asked = {name: [batch for batch, _ in s.batches] for name, s in systems.items()}
    batched = _in_turn(answers, asked, seconds / 2)
    found = {}
    for name, system in systems.items():
        counts = [rows for _, rows in system.batches[: len(batched[name])]]
        found[name] = Timing(
            load_seconds=loaded[name][1],
            p50_ms=1e3 * float(np.median(single[name])),
            p95_ms=1e3 * float(np.percentile(single[name], TAIL)),
            rows_per_second=sum(counts) / sum(batched[name]),
            single_calls=len(single[name]),
            batch_calls=len(batched[name]),
        )
    return found


def _load(system: System[Any]) -> tuple[Answer[Any], float]:
    started = time.perf_counter()
    answer = system.load()
    return answer, time.perf_counter() - started


def _in_turn(
    answers: Mapping[str, Answer[Any]],
    asked: Mapping[str, Sequence[Any]],
    seconds: float,
) -> dict[str, list[float]]:
    """Seconds of every call: the first input of every system, then the second."""
    found: dict[str, list[float]] = {name: [] for name in answers}
    end = time.perf_counter() + seconds
    for turn in range(min(len(inputs) for inputs in asked.values())):
        for name, answer in answers.items():
            started = time.perf_counter()
            answer(asked[name][turn])
            found[name].append(time.perf_counter() - started)
        if time.perf_counter() >= end:
            break
    return found


def onnx_answer(
    content: bytes, outputs: Sequence[str] | None, threads: int = 0
) -> Answer[Mapping[str, Any]]:
    """A session on the CPU as something that answers: named inputs -> outputs.

    Args:
        content: The ONNX file.
        outputs: Names of the outputs that are asked for; None asks for all.
        threads: Threads of one call; 0 takes one per core.
    """
    import onnxruntime

    options = session_options()
    options.intra_op_num_threads = threads
    # Threads that wait by spinning would slow the system whose turn is next; while an
    # answer is computed they may.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )
    run = onnxruntime.RunOptions()
    run.only_execute_path_to_fetches = outputs is not None
    return lambda inputs: session.run(outputs, dict(inputs), run)
