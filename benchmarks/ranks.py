"""Two processes of one thread against one process of two threads, in training.

    python -m benchmarks.ranks --encoder <folder> --data <folder>

Both go through the product's own engine over the same rows; a process of the first arm
takes every other batch. The arms take turns, one run each; the figures are medians. Ends
with one JSON line.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.arms import Results, answer, arguments, medians, run, take_turns
from benchmarks.training import SETTINGS

ARMS: dict[str, dict[str, Any]] = {
    "one": {"devices": 1, "threads": 2},
    "ddp": {"devices": 2, "threads": 1},
    "ddp_bf16": {"devices": 2, "threads": 1, "gradient_compression": "bf16"},
}


def train(folder: Path, way: str) -> dict[str, Any]:
    """One pass over the train rows."""
    from benchmarks.reviews import text_plan
    from tabweave.training.engine import train_model

    # One validation at the end: an epoch of two processes has half the batches.
    settings = SETTINGS | {"val_check_interval": 1.0} | ARMS[way]
    history = train_model(text_plan(folder, **settings)).history
    return {
        "rows": sum(record["rows"] for record in history["records"]),
        "samples_per_second": history["samples_per_second"],
        "seconds": history["seconds"],
    }


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All arms in turn."""
    from benchmarks.reviews import write_files

    write_files(folder, options.data, str(options.encoder), options.rows, options.env)
    return report(options, take_turns(tuple(ARMS), one_arm, options, folder))


def one_arm(way: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One arm in a process of its own."""
    return run("benchmarks.ranks", "--ours", folder, "--way", way)


def report(options: argparse.Namespace, found: Results) -> dict[str, Any]:
    """Medians and ratios."""
    rate = medians(found, "samples_per_second")
    return {
        "benchmark": "ranks",
        "samples_per_second": {way: round(value, 1) for way, value in rate.items()},
        "ddp_vs_one": round(rate["ddp"] / rate["one"], 3),
        "ddp_bf16_vs_one": round(rate["ddp_bf16"] / rate["one"], 3),
        "rows": found["one"][0]["rows"],
        "repeats": options.repeats,
        "rival": "one process with two threads",
    }


def main() -> None:
    """Compares, or is the process of one arm."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1920, help="train rows")
    parser.add_argument("--way", default="one", help=argparse.SUPPRESS)
    answer(parser, compare, lambda o: train(o.ours, o.way))


if __name__ == "__main__":
    main()
