"""Seconds from a row to its probabilities: PyTorch, model.onnx, pipeline.onnx, int8.

    python -m benchmarks.scoring --encoder <folder> --data <folder>

`eager` is PyTorch in fp32: the encoder's own tokenizer, then padded tensors through plain
layers; its features are given. `model` and `int8` get token ids, `pipeline` and
`pipeline_int8` the raw row. Batches have 32 rows; those of the pipelines are sorted by
length, the others come as they lie. The arms take turns, one process each; the figures
are medians over the repeats. Before, all forms are compared with PyTorch as an export does
it; the model is untrained. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arms import (
    Results,
    answer,
    arguments,
    medians,
    rounded,
    run,
    take_turns,
)

WAYS = ("eager", "model", "int8", "pipeline", "pipeline_int8")
RAW = ("pipeline", "pipeline_int8")
BATCH, SINGLES, ENOUGH = 32, 200, 3600.0
FIGURES = {"load_seconds": 3, "p50_ms": 2, "p95_ms": 2, "rows_per_second": 1}
EAGER = "transformers' tokenizer, then padded tensors through torch's own layers, fp32"

Inputs = Callable[[np.ndarray], Any]
"""Row numbers -> what a way is asked about them."""


def measure_way(folder: Path, way: str, encoder: Path, threads: int) -> dict[str, Any]:
    """Times one way; a pipeline together with its preprocessing alone."""
    import torch  # before tabweave, which changes how the threads of torch wait

    torch.set_num_threads(threads)
    from benchmarks.scoring_files import test_rows
    from tabweave.export.measures.timing import System, measure
    from tabweave.models import load_model

    rows = test_rows(folder, load_model(folder / "model").spec)
    inputs, load = _way(folder, way, encoder, threads)
    order = np.arange(len(rows))
    if way in RAW:
        order = np.argsort(_lengths(folder), kind="stable")
    batches = np.split(order, range(BATCH, len(order), BATCH))
    asked = [inputs(np.array([row])) for row in range(min(SINGLES, len(rows)))]
    together = [(inputs(batch), len(batch)) for batch in batches]
    systems = {way: System(load, asked, together)}
    if way in RAW:
        first = _onnx(folder, "preprocessing", threads)
        systems["preprocessing"] = System(first, asked, together)
    found = measure(systems, seconds=ENOUGH)
    return {name: asdict(timing) for name, timing in found.items()}


def _way(
    folder: Path, way: str, encoder: Path, threads: int
) -> tuple[Inputs, Callable[[], Callable[[Any], Any]]]:
    """What a way is asked, and how it is loaded."""
    if way == "eager":
        return _texts_and_features(folder), lambda: _eager(folder, encoder)
    if way in RAW:
        return _raw_columns(folder), _onnx(folder, way, threads)
    return _token_ids(folder), _onnx(folder, way, threads)


def _onnx(folder: Path, name: str, threads: int) -> Callable[[], Callable[[Any], Any]]:
    from tabweave.export.config import OUTPUT, ExportConfig
    from tabweave.export.measures.timing import onnx_answer
    from tabweave.export.onnx_model import input_names
    from tabweave.models import load_model

    content = (folder / f"{name}.onnx").read_bytes()
    outputs = [OUTPUT]
    if name == "preprocessing":  # as much of it as the model needs
        outputs = input_names(load_model(folder / "model").spec, ExportConfig())
    return lambda: onnx_answer(content, outputs, threads)


# What is asked.


def _about(folder: Path) -> dict[str, Any]:
    from benchmarks.scoring_files import ABOUT

    about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return about


def _columns(folder: Path) -> dict[str, np.ndarray]:
    """The raw columns that the model reads, as arrays."""
    from tabweave.tables.files import TableFile

    table = TableFile(folder / "test.parquet").read()
    found = {}
    for name, kind in _about(folder)["kinds"].items():
        values = table[name].to_pylist()
        if kind == "numeric":
            found[name] = np.array(values, np.float32)  # None is NaN
        else:
            found[name] = np.array([value or "" for value in values], object)
    return found


def _lengths(folder: Path) -> np.ndarray:
    """Characters of every row, over all texts."""
    columns, about = _columns(folder), _about(folder)
    texts = [n for one in about["texts"].values() for n in one["columns"]]
    return sum(np.array([len(text) for text in columns[name]]) for name in texts)


def _raw_columns(folder: Path) -> Inputs:
    columns = _columns(folder)
    return lambda index: {name: values[index] for name, values in columns.items()}


def _token_ids(folder: Path) -> Inputs:
    from benchmarks.scoring_files import test_rows
    from tabweave.export.config import ExportConfig
    from tabweave.export.onnx_model import input_names, padded_inputs
    from tabweave.models import load_model

    spec = load_model(folder / "model").spec
    rows, names = test_rows(folder, spec), input_names(spec, ExportConfig())

    def inputs(index: np.ndarray) -> dict[str, np.ndarray]:
        given = padded_inputs(rows.batch(index), spec)
        return {name: x.numpy() for name, x in zip(names, given, strict=True)}

    return inputs


def _texts_and_features(folder: Path) -> Inputs:
    from benchmarks.scoring_files import test_rows
    from tabweave.models import load_model

    rows = test_rows(folder, load_model(folder / "model").spec)
    columns, about = _columns(folder), _about(folder)
    if about["chunks"] > 1:
        raise SystemExit(
            "eager reads one chunk per text. Take an --env with text.max_total_chunks 1."
        )
    texts = [
        [" ".join(parts) for parts in zip(*(columns[n] for n in names), strict=True)]
        for names in (one["columns"] for one in about["texts"].values())
    ]

    def inputs(index: np.ndarray) -> tuple[list[list[str]], Any]:
        return [[one[n] for n in index] for one in texts], rows.batch(index).features

    return inputs


def _eager(folder: Path, encoder: Path) -> Callable[[Any], Any]:
    """Texts and features -> probabilities, as plain PyTorch does it."""
    import torch
    from torch import nn
    from transformers import AutoTokenizer

    from tabweave.models import load_model
    from tabweave.models.classifier import PaddedClassifier
    from tabweave.models.linear import FastLinear

    model = PaddedClassifier(load_model(folder / "model")).eval()
    for layer in model.modules():
        if type(layer) is FastLinear:
            layer.__class__ = nn.Linear
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    most = [one["most"] for one in _about(folder)["texts"].values()]
    options = {"padding": True, "truncation": True, "return_tensors": "pt"}

    def probabilities(given: tuple[Sequence[list[str]], Any]) -> Any:
        texts, features = given
        tensors = []
        for field, longest in zip(texts, most, strict=True):
            made = tokenizer(field, max_length=longest, **options)
            tensors += [made["input_ids"][:, None], made["attention_mask"][:, None]]
        with torch.inference_mode():
            return model(*tensors, features)

    return probabilities


# The comparison.


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All arms in turn."""
    from benchmarks.scoring_files import COMPARISONS, write_files

    given = (options.data, options.encoder, options.rows, options.env)
    write_files(folder, *given)
    sizes = {way: (folder / f"{way}.onnx").stat().st_size for way in WAYS[1:]}
    found = take_turns(WAYS, one_arm, options, folder)
    compared = json.loads((folder / COMPARISONS).read_text(encoding="utf-8"))
    return {**report(options, found, sizes), **compared}


def one_arm(way: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One arm in a process of its own."""
    given = ["--ours", folder, "--way", way, "--encoder", options.encoder]
    return run("benchmarks.scoring", *given, "--threads", options.threads)


def report(
    options: argparse.Namespace, found: Results, sizes: dict[str, int]
) -> dict[str, Any]:
    """Medians and ratios."""
    own = {way: [one[way] for one in ones] for way, ones in found.items()}
    alone = [one["preprocessing"] for one in found["pipeline"]]
    own["preprocessing"] = alone
    figures = {name: medians(own, name) for name in FIGURES}
    p50, rate = figures["p50_ms"], figures["rows_per_second"]
    return {
        "benchmark": "scoring",
        **{name: rounded(figures[name], digits) for name, digits in FIGURES.items()},
        "single_row_p50_vs_eager": round(p50["pipeline"] / p50["eager"], 3),
        "batch_rows_per_second_vs_padded": round(rate["pipeline"] / rate["eager"], 2),
        "preprocessing_share": round(p50["preprocessing"] / p50["pipeline"], 4),
        "preprocessing_share_in_batches": round(
            rate["pipeline"] / rate["preprocessing"], 4
        ),
        "single_row_p50_vs_eager_int8": round(p50["pipeline_int8"] / p50["eager"], 3),
        "batch_rows_per_second_vs_padded_int8": round(
            rate["pipeline_int8"] / rate["eager"], 2
        ),
        "megabytes": {way: round(size / 1e6, 1) for way, size in sizes.items()},
        "rows": options.rows,
        "single_rows": own["eager"][0]["single_calls"],
        "batch_rows": BATCH,
        "repeats": options.repeats,
        "threads": options.threads,
        "eager": EAGER,
    }


def main() -> None:
    """Compares, or is the process of one arm."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=512, help="test rows to score")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="per call"
    )
    parser.add_argument("--way", help=argparse.SUPPRESS)
    answer(parser, compare, lambda o: measure_way(o.ours, o.way, o.encoder, o.threads))


if __name__ == "__main__":
    main()
