"""Rows per second of fine-tuning, ours against the Hugging Face Trainer.

    python -m benchmarks.training --encoder <folder> --data <folder> --rows 6400

Same encoder, token ids, optimizer, clipping, batch size and learning rate; text alone.
Ours goes through `tabweave.training.engine`, with callbacks and logging. The arms take
turns, one process each; the figures are medians over the repeats. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.project import ROOT

WAYS = ("default", "bf16", "tuned")
BATCH, RATE, DECAY = 32, 5e-5, 0.01
PRODUCT = "benchmarks.training"
SETTINGS: dict[str, Any] = {
    "batch_size": BATCH,
    "max_epochs": 1,
    "lr": RATE,
    "head_lr": RATE,
    "weight_decay": DECAY,
    "run_scheduler": False,
    "warmup_steps": 0,
    "val_check_interval": 1,
    "log_every_n_steps": 1,
    "early_stop_metric": "val/loss",
    "early_stop_patience": 1000,
}
NOTE = (
    "rows says on how many rows each arm is timed. default and bf16 take the first ones "
    "in our order. tuned sorts by length within megabatches (1,600 rows, fewer of few), "
    "longest first, so it is timed on whole megabatches. Tokens do not count padding. "
    "Losses are means over the second half of --rival-rows rows; those of tuned are "
    "other rows."
)

Results = dict[str, list[dict[str, Any]]]
"""Every arm and what its processes printed."""


class Failed(SystemExit):
    """A benchmark that ended without its line."""


def log(message: str) -> None:
    """Progress, away from the JSON line."""
    print(message, file=sys.stderr, flush=True)


def run(module: str, *arguments: object, any_status: bool = False) -> dict[str, Any]:
    """The last line that a module printed in a process of its own, as JSON.

    Raises:
        Failed: There is none, or the process failed; `any_status` looks at the line
            alone, for a module whose status is a verdict.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    # What tabweave sets for itself on import must not reach the rival.
    env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, env=env
    )
    if done.returncode and not any_status:
        raise Failed(f"{module} ended with status {done.returncode}")
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, TypeError, ValueError) as error:
        raise Failed(
            f"{module} ended with status {done.returncode} and without a line of JSON"
        ) from error


def train_ours(folder: Path, checked_rows: int) -> dict[str, Any]:
    """One pass of the product's own engine over the train rows."""
    import torch

    from benchmarks.reviews import text_plan
    from tabweave.training.engine import hardware_precision, train_model
    from tabweave.training.matmul_peak import matmul_peak, training_flops

    plan = text_plan(folder, **SETTINGS)
    counts = plan.train.token_counts()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peak = matmul_peak(hardware_precision(), device)
    history = train_model(plan).history
    flops = training_flops(plan.spec.text[0].encoder, counts) / len(counts)
    rate = history["samples_per_second"]
    return {
        "rows": len(counts),
        "samples_per_second": rate,
        "tokens_per_second": rate * float(counts.mean()),
        "last_half_loss": last_half_loss(folder / "events", checked_rows // BATCH),
        "matmul_peak_gflops": peak / 1e9,
        "mfu": rate * flops / peak,
        "precision": history["precision"],
        "threads": history["threads"],
        "mean_tokens": float(counts.mean()),
    }


def last_half_loss(events: Path, steps: int) -> float:
    """Mean loss of the second half of the first so many steps, from TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(events), size_guidance={"scalars": 0}).Reload()
    losses = [event.value for event in log.Scalars("train/loss")][:steps]
    return sum(losses[steps // 2 :]) / len(losses[steps // 2 :])


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All arms in turn, `repeats` times."""
    from benchmarks.reviews import write_files

    write_files(folder, options.data, str(options.encoder), options.rows, options.env)
    found: Results = {way: [] for way in ("ours", *WAYS)}
    for repeat in range(options.repeats):
        for way, results in found.items():
            done = one_arm(way, options, folder)
            log(f"repeat {repeat + 1}: {way} {json.dumps(done)}")
            results.append(done)
    return report(options, found)


def one_arm(way: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One arm in a process of its own."""
    from tabweave.models.config import ModelConfig

    if way == "ours":
        return run(PRODUCT, "--ours", folder, "--rival-rows", options.rival_rows)
    config = ModelConfig()
    given = ["--encoder", options.encoder, "--batch-size", BATCH, "--lr", RATE]
    given += ["--weight-decay", DECAY, "--rows", options.rival_rows]
    given += [
        "--hidden",
        config.hidden_common_dim,
        "--dropout",
        1 - config.dropout_keep,
    ]
    return run("benchmarks.hugging_face", "train", folder, *given, "--way", way)


def medians(found: Results, name: str) -> dict[str, float]:
    """The median of one figure for every arm."""
    return {way: median(one[name] for one in ones) for way, ones in found.items()}


def report(options: argparse.Namespace, found: Results) -> dict[str, Any]:
    """Medians and ratios."""
    rate, loss = (medians(found, f) for f in ("samples_per_second", "last_half_loss"))
    ours = found["ours"]
    return {
        "benchmark": "training",
        "samples_per_second": round(rate["ours"], 2),
        **{f"hf_{way}_samples_per_second": round(rate[way], 2) for way in WAYS},
        **{f"vs_hf_{way}": round(rate["ours"] / rate[way], 2) for way in WAYS},
        "tokens_per_second": rounded(medians(found, "tokens_per_second"), 0),
        "mfu": round(median(one["mfu"] for one in ours), 3),
        "matmul_peak_gflops": round(median(o["matmul_peak_gflops"] for o in ours)),
        "loss_gap": round(loss["ours"] - loss["default"], 4),
        "loss": rounded(loss, 4),
        "rows": {way: results[0]["rows"] for way, results in found.items()},
        "repeats": options.repeats,
        "batch_size": BATCH,
        "threads": ours[0]["threads"],
        "precision": ours[0]["precision"],
        "mean_tokens": round(ours[0]["mean_tokens"], 1),
        "attention_dropout": "0 in ours, 0.1 in the rival; hidden dropout 0.1 in both",
        "note": NOTE,
    }


def rounded(figures: dict[str, float], digits: int) -> dict[str, float]:
    """The same figures, shorter."""
    return {name: round(value, digits or None) for name, value in figures.items()}


def main() -> None:
    """Compares, or is the process of one arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, help="folder of a pretrained encoder")
    parser.add_argument("--data", type=Path, help="folder of the splits")
    parser.add_argument("--env", default="womens_clothing", help="names the columns")
    parser.add_argument("--rows", type=int, default=6400)
    parser.add_argument("--rival-rows", type=int, default=1600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print(json.dumps(train_ours(options.ours, options.rival_rows)))
        return
    if not options.encoder or not options.data:
        parser.error("--encoder and --data are needed")
    options.encoder, options.data = options.encoder.resolve(), options.data.resolve()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(options, Path(folder))))


if __name__ == "__main__":
    main()
