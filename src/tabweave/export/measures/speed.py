"""How large and how fast the exported models are, beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tabweave.batching.batches import Rows
from tabweave.errors import ExportError
from tabweave.export.config import OUTPUT, ExportConfig
from tabweave.export.gates.pipeline_gate import pipeline_feed, taken
from tabweave.export.int8.quantization import Integers
from tabweave.export.measures.report import EAGER, RAW
from tabweave.export.measures.timing import System, measure, onnx_answer
from tabweave.export.onnx_model import open_session, padded_inputs, token_feed
from tabweave.models.classifier import Classifier, PaddedClassifier
from tabweave.models.config import ModelSpec
from tabweave.models.registry import WEIGHTS, load_model, save_model
from tabweave.storage.artifacts import scratch_folder

BATCH_ROWS, MOST_ROWS = 32, 512


def measure_models(
    model: Classifier,
    contents: Mapping[str, bytes],
    val: tuple[pa.Table, Rows],
    config: ExportConfig,
) -> dict[str, Any]:
    """Bytes of every model, and seconds of its answers about rows of val.

    PyTorch computes padded batches in fp32, with the layers of a prediction. Pipelines are
    asked about raw rows, all others about token ids and features. A batch has rows of like
    length, as in a scoring. PyTorch is loaded from a folder, all others from bytes.

    Args:
        model: What the files were made from.
        contents: File name -> content; empty ones are left out.
        val: The typed table of val, and the same rows as the model reads them.
        config: `timing_seconds`, and the names of the inputs.
    """
    table, rows = val
    single, batches = _drawn(rows)
    systems: dict[str, System[Any]] = {}
    sizes: dict[str, int] = {}
    with scratch_folder() as folder:
        saved = folder / "model"
        save_model(model, saved)
        sizes[EAGER] = (saved / WEIGHTS).stat().st_size

        def padded(index: Integers) -> list[torch.Tensor]:
            return padded_inputs(rows.batch(index), model.spec)

        systems[EAGER] = _system(lambda: _eager(saved), padded, single, batches)
        for name, content in contents.items():
            if not content:
                continue
            sizes[name] = len(content)
            asked: Callable[[Integers], Any]
            if _reads_raw_rows(name):
                asked = _raw(content, table)
            else:
                asked = _tokens(rows, model, config)
            load = partial(onnx_answer, content, [OUTPUT], torch.get_num_threads())
            systems[name] = _system(load, asked, single, batches)
        timings = (
            measure(systems, seconds=config.timing_seconds)
            if config.timing_seconds
            else {}
        )
    return {
        "models": {
            name: {
                "given": _given(name, model.spec),
                "bytes": size,
                **(asdict(timings[name]) if name in timings else {}),
            }
            for name, size in sizes.items()
        },
        "batch_rows": BATCH_ROWS,
        "threads": torch.get_num_threads(),
        "seconds": config.timing_seconds,
    }


def _given(name: str, spec: ModelSpec) -> str:
    """What a model is asked about."""
    if _reads_raw_rows(name):
        return "raw rows"
    parts = {"token ids": spec.text, "features": spec.features}
    return " and ".join(part for part, there in parts.items() if there)


def _reads_raw_rows(name: str) -> bool:
    return name in RAW


def _drawn(rows: Rows) -> tuple[list[Integers], list[Integers]]:
    """Rows of val evenly spread, one by one as they lie and sorted in batches.

    Raises:
        ExportError: val has no row.
    """
    if not len(rows):
        raise ExportError("val has no row that the models could be timed with.")
    some = np.unique(np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64))
    ordered = some[np.argsort(rows.token_counts()[some], kind="stable")]
    batches = np.split(ordered, range(BATCH_ROWS, len(ordered), BATCH_ROWS))
    # When time is short, the batches that are timed shall not be the short ones alone.
    mixed = np.random.default_rng(0).permutation(len(batches))
    return np.split(some, len(some)), [batches[n] for n in mixed]


def _system(
    load: Callable[[], Callable[[Any], object]],
    asked: Callable[[Integers], Any],
    single: Sequence[Integers],
    batches: Sequence[Integers],
) -> System[Any]:
    return System(
        load,
        [asked(index) for index in single],
        [(asked(index), len(index)) for index in batches],
    )


def _eager(folder: Path) -> Callable[[Sequence[torch.Tensor]], object]:
    model = PaddedClassifier(load_model(folder)).eval()

    def answer(inputs: Sequence[torch.Tensor]) -> object:
        with torch.inference_mode():
            return model(*inputs)

    return answer


def _tokens(
    rows: Rows, model: Classifier, config: ExportConfig
) -> Callable[[Integers], dict[str, np.ndarray]]:
    return lambda index: token_feed(rows, index, model.spec, config)


def _raw(
    content: bytes, table: pa.Table
) -> Callable[[Integers], dict[str, np.ndarray]]:
    feed = pipeline_feed(table, open_session(content))
    return lambda index: taken(feed, index)
