"""Runs a pipeline over typed columns, in batches of rows of like length."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.bundle import Bundle
from tabweave.bundle.contents import INT8_PIPELINE, PIPELINE
from tabweave.errors import ArtifactError, shorten
from tabweave.scoring.contract import PROBABILITIES, Contract, read_contract
from tabweave.scoring.limits import (
    ended_in_time,
    limit_that_was_met,
    share_bounded_memory,
)

Rows: TypeAlias = npt.NDArray[np.int64]
Probabilities: TypeAlias = npt.NDArray[np.float32]
# Sums of float32 softmax values may exceed 1 by this.
ROUNDING = 1e-5


@dataclass(frozen=True)
class BatchSize:
    """How much the model sees at once.

    Attributes:
        rows: Most rows.
        bytes: Most bytes of text, counting every row as the longest of the batch.
    """

    rows: int = 32
    bytes: int = 2**14


def available_threads() -> int:
    """Cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


class PipelineRuntime:
    """A pipeline of a bundle, ready to run on the CPU.

    Args:
        bundle: The bundle.
        threads: Compute threads; None takes one per core that may be used.
        int8: Whether to run pipeline.int8.onnx, not pipeline.onnx.

    Attributes:
        contract: Which columns it reads and which classes it knows.

    Raises:
        ArtifactError: The bundle does not hold the file, or it cannot be run.
    """

    def __init__(
        self, bundle: Bundle, threads: int | None = None, *, int8: bool = False
    ) -> None:
        self._name = f"{bundle.folder}/{INT8_PIPELINE if int8 else PIPELINE}"
        self._session = _session(_content(bundle, int8), threads, self._name)
        self.contract: Contract = read_contract(
            self._session, bundle.schema, self._name
        )

    def predict(
        self, columns: Mapping[str, pa.Array], size: BatchSize | None = None
    ) -> Probabilities:
        """Probabilities of every row, shape [rows, classes], in the order of the rows.

        Args:
            columns: Every column that the model reads, as `tabweave.tables.cells` types it.
            size: How much the model sees at once.

        A row with an answer that is not finite has NaN throughout: its numbers are too
        large for the model.

        Raises:
            ArtifactError: The graph fails, or gives what are no probabilities.
        """
        feed = {
            one.name: _input(columns[one.column], one.kind)
            for one in self.contract.inputs
        }
        rows = len(next(iter(feed.values())))
        lengths = np.zeros(rows, np.int64)
        for name in self.contract.text:
            lengths += pc.binary_length(columns[name]).to_numpy()
        found = np.empty((rows, len(self.contract.classes)), np.float32)
        for batch in length_batches(lengths, size or BatchSize()):
            found[batch] = self._run({n: v[batch] for n, v in feed.items()})
        found[~np.isfinite(found).all(axis=1)] = np.nan
        self._check(found)
        return found

    def _run(self, feed: dict[str, npt.NDArray[Any]]) -> Probabilities:
        rows = len(next(iter(feed.values())))
        options = _without_other_outputs()
        try:
            with ended_in_time(options):
                (found,) = self._session.run([PROBABILITIES], feed, options)
        except Exception as error:
            # The runtime has no error class of its own that all its errors share.
            why = limit_that_was_met(options, error) or shorten(str(error), 300)
            raise ArtifactError(
                f"{self._name} failed on a batch of {rows} rows: {why}.",
                stages=("export",),
            ) from error
        if np.shape(found) != (rows, len(self.contract.classes)):
            raise ArtifactError(
                f"{self._name} gave probabilities of shape {np.shape(found)} for {rows} "
                f"rows and {len(self.contract.classes)} classes.",
                stages=("export",),
            )
        return found

    def _check(self, found: Probabilities) -> None:
        wrong = np.flatnonzero(((found < 0) | (found > 1 + ROUNDING)).any(axis=1))
        if len(wrong):
            row = int(wrong[0])
            raise ArtifactError(
                f"{self._name} gave {shorten(found[row].tolist())} for row {row + 1}, "
                "which are not probabilities.",
                stages=("train", "export"),
            )


def length_batches(lengths: Rows, size: BatchSize) -> Iterator[Rows]:
    """Positions of rows, batch by batch: short rows first, equal ones in their order.

    Args:
        lengths: Shape [rows]: bytes of text in each row.
        size: Bounds of a batch; a row beyond them is a batch of its own.

    Example:
        >>> [b.tolist() for b in length_batches(np.array([9, 1, 1]), BatchSize(2))]
        [[1, 2], [0]]
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = min(start + size.rows, len(order))
        # Sorted, so the last row of the batch is its longest.
        widths = lengths[order[start:stop]] * np.arange(1, stop - start + 1)
        fits = int(np.searchsorted(widths, size.bytes, side="right"))
        stop = start + max(1, fits)
        yield order[start:stop]
        start = stop


def _input(values: pa.Array, kind: str) -> npt.NDArray[Any]:
    if kind == "numeric":
        return values.to_numpy(zero_copy_only=False).astype(np.float32)
    return np.array(values.to_pylist(), dtype=object)


def _content(bundle: Bundle, int8: bool) -> bytes:
    """Bytes of the pipeline that is to run."""
    if int8 and INT8_PIPELINE in bundle.manifest.by_path:
        return bundle.read(INT8_PIPELINE)
    if bundle.pipeline is None:
        raise ArtifactError(
            f"{bundle.folder} has no {PIPELINE}: {bundle.manifest.pipeline_refused} Raw "
            "rows cannot be scored with this bundle; model.onnx and the files in "
            "tokenizer/ can be used instead."
        )
    if int8:
        raise ArtifactError(
            f"{bundle.folder} holds no {INT8_PIPELINE}{_why_no_int8(bundle)} Score "
            "without int8, or make it.",
            stages=("export",),
            params="export.int8=true",
        )
    return bundle.pipeline


def _why_no_int8(bundle: Bundle) -> str:
    figures = bundle.manifest.parity.get("int8")
    refused = figures.get("refused") if isinstance(figures, dict) else None
    return f": {refused}" if isinstance(refused, str) else "."


def _without_other_outputs() -> Any:
    """Options of a run that leave out what no wanted output depends on."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    return options


def session_options() -> Any:
    """Options of every session that may multiply 8-bit integers.

    Kernels of x64 processors without VNNI instructions add pairs of products in 16 bits
    and saturate; asked for precision, they take a slower way to the exact sums.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _session(content: bytes, threads: int | None, name: str) -> Any:
    import onnxruntime

    options = session_options()
    options.intra_op_num_threads = threads or available_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised as well
    # A thread that waits by spinning keeps others off a shared core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    share_bounded_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Weights are bounded by the size of the file; the limit is for what they become.
    options.add_session_config_entry(
        "session.use_device_allocator_for_initializers", "1"
    )
    try:
        return onnxruntime.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
            # It computes while the file is loaded, where neither limit holds. Our graphs
            # have no constants left that it could compute.
            disabled_optimizers=["ConstantFolding"],
        )
    except Exception as error:
        # As above: anything that it says means that the file cannot be used.
        raise ArtifactError(
            f"{name} cannot be loaded: {shorten(str(error), 300)}. Use a newer "
            "onnxruntime, or export again.",
            stages=("export",),
        ) from error
