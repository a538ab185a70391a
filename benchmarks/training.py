"""Rows per second of fine-tuning, ours against the Hugging Face Trainer.

    python -m benchmarks.training --encoder <folder> --data <folder> --rows 6400

Same encoder, first weights, token ids, optimizer, clipping, batch size and learning
rate; text alone.
Ours goes through `tabweave.training.engine`, with callbacks and logging. The arms take
turns, one process each; the figures are medians over the repeats. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.arms import (
    Results,
    answer,
    arguments,
    medians,
    rounded,
    run,
    take_turns,
)

WAYS = ("default", "bf16", "tuned")
BATCH, RATE, DECAY = 32, 5e-5, 0.01
PRODUCT = "benchmarks.training"
HEAD = "head.safetensors"
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


def train_ours(folder: Path, checked_rows: int) -> dict[str, Any]:
    """One pass of the product's own engine over the train rows."""
    import torch

    from benchmarks.reviews import text_plan
    from tabweave.training.device import hardware_precision
    from tabweave.training.engine import train_model
    from tabweave.training.measures.matmul_peak import matmul_peak, training_flops

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


def write_head(folder: Path) -> None:
    """The head that our training begins with: its draw must not part the losses."""
    import torch
    from safetensors.torch import save_file

    from benchmarks.reviews import SEED, text_plan
    from tabweave.models import build_model

    plan = text_plan(folder, **SETTINGS)
    torch.manual_seed(SEED)  # as a training does before it builds its model
    model = build_model(plan.spec, plan.encoders)
    layers = {"0": model.fusion.mix[0], "3": model.head}
    save_file(
        {
            f"{place}.{name}": value.contiguous()
            for place, layer in layers.items()
            for name, value in layer.state_dict().items()
        },
        folder / HEAD,
    )


def last_half_loss(events: Path, steps: int) -> float:
    """Mean loss of the second half of the first so many steps, from TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(events), size_guidance={"scalars": 0}).Reload()
    losses = [event.value for event in log.Scalars("train/loss")][:steps]
    return sum(losses[steps // 2 :]) / len(losses[steps // 2 :])


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All arms in turn."""
    from benchmarks.reviews import write_files

    write_files(folder, options.data, str(options.encoder), options.rows, options.env)
    write_head(folder)
    return report(options, take_turns(("ours", *WAYS), one_arm, options, folder))


def one_arm(way: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One arm in a process of its own."""
    from tabweave.models.config import ModelConfig

    if way == "ours":
        return run(PRODUCT, "--ours", folder, "--rival-rows", options.rival_rows)
    config = ModelConfig()
    given = ["--encoder", options.encoder, "--batch-size", BATCH, "--lr", RATE]
    given += ["--weight-decay", DECAY, "--rows", options.rival_rows]
    given += ["--head", folder / HEAD]
    given += [
        "--hidden",
        config.hidden_common_dim,
        "--dropout",
        1 - config.dropout_keep,
    ]
    return run("benchmarks.hugging_face", "train", folder, *given, "--way", way)


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


def main() -> None:
    """Compares, or is the process of one arm."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=6400)
    parser.add_argument("--rival-rows", type=int, default=1600)
    answer(parser, compare, lambda o: train_ours(o.ours, o.rival_rows))


if __name__ == "__main__":
    main()
