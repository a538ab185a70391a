"""Rows per second of prediction, ours in fp32 and bf16 against the Trainer's predict.

    python -m benchmarks.prediction --encoder <folder> --data <folder>

Same encoder and token ids, text alone; the rival predicts fp32 in batches of 32. Both
predict a few rows before the clock starts. The arms take turns, one process each; the
figures are medians. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.arms import Results, answer, arguments, medians, run, take_turns
from benchmarks.training import BATCH

WARM_ROWS, FEW_ROWS = 64, 256


def predict_ours(folder: Path, precision: Any, count: int) -> dict[str, Any]:
    """Predicts so many test rows with the product's own function."""
    import torch

    from benchmarks.reviews import first_rows, text_plan
    from tabweave.evaluation.predict import predict_probabilities
    from tabweave.models.registry import build_model

    plan = text_plan(folder)
    model = build_model(plan.spec, plan.encoders)
    warm, rows = (first_rows(folder, "test", n) for n in (WARM_ROWS, count))
    predict_probabilities(model, warm, precision=precision)
    started = time.monotonic()
    predict_probabilities(model, rows, precision=precision)
    seconds = time.monotonic() - started
    return {
        "rows": len(rows),
        "samples_per_second": len(rows) / seconds,
        "tokens_per_second": int(rows.token_counts().sum()) / seconds,
        "threads": torch.get_num_threads(),
    }


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All arms in turn."""
    from benchmarks.reviews import write_files

    write_files(folder, options.data, str(options.encoder), FEW_ROWS, options.env)
    return report(options, take_turns(("fp32", "bf16", "hf"), one_arm, options, folder))


def one_arm(way: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One arm in a process of its own."""
    if way != "hf":
        given = ["--ours", folder, "--precision", way, "--rows", options.rows]
        return run("benchmarks.prediction", *given)
    given = ["--encoder", options.encoder, "--batch-size", BATCH, "--split", "test"]
    given += ["--rows", options.rows, "--warm-rows", WARM_ROWS]
    return run("benchmarks.hugging_face", "predict", folder, *given)


def report(options: argparse.Namespace, found: Results) -> dict[str, Any]:
    """Medians and ratios."""
    rate = medians(found, "samples_per_second")
    tokens = medians(found, "tokens_per_second")
    return {
        "benchmark": "prediction",
        "samples_per_second": round(rate["fp32"], 1),
        "samples_per_second_bf16": round(rate["bf16"], 1),
        "hf_samples_per_second": round(rate["hf"], 1),
        "vs_hf_predict": round(rate["fp32"] / rate["hf"], 2),
        "vs_hf_predict_bf16_ours": round(rate["bf16"] / rate["hf"], 2),
        "tokens_per_second": {way: round(value) for way, value in tokens.items()},
        "rows": found["fp32"][0]["rows"],
        "warm_rows": WARM_ROWS,
        "repeats": options.repeats,
        "threads": found["fp32"][0]["threads"],
        "rival": f"Trainer.predict, fp32, batches of {BATCH}, padded to the longest",
    }


def main() -> None:
    """Compares, or is the process of one arm."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1024, help="test rows to predict")
    parser.add_argument("--precision", default="fp32", help=argparse.SUPPRESS)
    answer(parser, compare, lambda o: predict_ours(o.ours, o.precision, o.rows))


if __name__ == "__main__":
    main()
