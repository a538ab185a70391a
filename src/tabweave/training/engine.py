"""Runs a training: from mapped rows to the best weights, in one process."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from tabweave.artifacts import number_or_none
from tabweave.batches import Rows, ShuffledBatches, SortedBatches, as_is
from tabweave.errors import TrainingError
from tabweave.models.attention import check_rows_are_independent
from tabweave.models.classifier import Classifier
from tabweave.models.registry import build_model
from tabweave.training.checkpoint import (
    WholeFileCheckpointIO,
    checkpoint_callbacks,
    link_best,
    model_weights,
    own_checkpoints,
)
from tabweave.training.module import TrainingModule, class_weights
from tabweave.training.plan import TrainingPlan
from tabweave.training.progress import History, TrainingBar, peak_memory_mib

logger = logging.getLogger(__name__)

LEAK_CHECK_ROWS = 4


@dataclass(frozen=True)
class TrainedModel:
    """The best model of a run, and how the run went."""

    model: Classifier
    history: dict[str, Any] = field(default_factory=dict)


def hardware_precision() -> str:
    """bf16-mixed where the hardware multiplies bf16 matrices, else 32-true."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    # Emulated bf16 is slower than fp32: ask for the instructions themselves.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


def _precision(asked: str) -> str:
    if asked == "16-mixed" and not torch.accelerator.is_available():
        # Lightning would take bf16 instead, with a warning.
        raise TrainingError(
            "training.precision is 16-mixed, which needs a GPU, and there is none. Take "
            "auto, bf16-mixed or 32-true."
        )
    return hardware_precision() if asked == "auto" else asked


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Lightning's advertisements and advice out of a run that is in order."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning")
    loggers = [logging.getLogger(name) for name in names]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        warnings.filterwarnings(
            "ignore", message=r".*isinstance\(treespec, LeafSpec\).*"
        )
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C through as such: Lightning ignores it from then on and exits."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from error
        raise


def train_model(plan: TrainingPlan) -> TrainedModel:
    """Trains and returns the model of the best checkpoint.

    Same plan, seed and threads: same bytes of the weights.

    Raises:
        TrainingError: The plan does not fit together, or training cannot go on.
    """
    config = plan.config
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    L.seed_everything(config.seed, workers=True, verbose=False)
    model = build_model(plan.spec, plan.encoders)
    _leak_check(model, plan.train)
    counts = np.bincount(plan.train.labels, minlength=len(plan.spec.classes))
    rates = [
        config.encoder_rate(scratch=source == "scratch") for source in plan.encoders
    ]
    module = TrainingModule(
        model, config, rates, class_weights(config, counts), plan.metric
    )
    with _flushed_denormals():
        history, checkpoint = _fit(module, plan)
    model.load_state_dict(model_weights(checkpoint))
    return TrainedModel(model.eval(), history)


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Numbers near 0 are slow on a CPU; later stages of this process keep them exact."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _leak_check(model: Classifier, rows: Rows) -> None:
    if model.text:
        few = rows.batch(leak_check_rows(rows))
        check_rows_are_independent(model, few, model.vocabularies)


def leak_check_rows(rows: Rows) -> np.ndarray:
    """A few rows with text in every field, where there are any: empty ones leak nothing."""
    fields = sum((c.token_counts() > 0).astype(np.int64) for c in rows.columns)
    return np.argsort(-np.asarray(fields), kind="stable")[:LEAK_CHECK_ROWS]


def _loader(rows: Rows, batches: ShuffledBatches | SortedBatches) -> DataLoader[Any]:
    return DataLoader(rows, batch_sampler=batches, collate_fn=as_is)


def _fit(module: TrainingModule, plan: TrainingPlan) -> tuple[dict[str, Any], Path]:
    config = plan.config
    batches = ShuffledBatches(len(plan.train), config.batch_size, config.seed)
    checks = config.batches_between_checks(len(batches))
    if checks > len(batches):
        raise TrainingError(
            f"training.val_check_interval is {checks} batches, but an epoch has only "
            f"{len(batches)}. Give at most that, or a fraction of an epoch."
        )
    mode = "min" if config.early_stop_metric.endswith("loss") else "max"
    best, last = checkpoint_callbacks(plan.checkpoints, config.early_stop_metric, mode)
    stopping = EarlyStopping(
        monitor=config.early_stop_metric,
        mode=mode,
        patience=config.patience_in_checks(len(batches)),
        check_finite=True,
    )
    history = History()
    precision = _precision(config.precision)
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    for old in plan.log_folder.glob("events.out.tfevents.*"):
        old.unlink()
    started = time.monotonic()
    with _quiet():
        trainer = L.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=config.max_epochs,
            precision=precision,
            gradient_clip_val=config.gradient_clip_val or None,
            val_check_interval=checks,
            num_sanity_val_steps=0,
            log_every_n_steps=min(config.log_every_n_steps, len(batches)),
            callbacks=[
                _EpochOrder(batches),
                TrainingBar(config.early_stop_metric),
                history,
                best,
                last,
                stopping,
            ],
            logger=TensorBoardLogger(plan.log_folder, name="", version=""),
            plugins=[WholeFileCheckpointIO(own_checkpoints(plan.checkpoints))],
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        with _interruptible():
            trainer.fit(
                module,
                _loader(plan.train, batches),
                _loader(plan.val, SortedBatches(plan.val.token_counts(), 64)),
            )
    checkpoint = link_best(plan.checkpoints, best.best_model_path)
    summary = _summary(module, plan, history, precision, time.monotonic() - started)
    summary["best"] = {
        "metric": config.early_stop_metric,
        "value": _best_value(best),
        "checkpoint": Path(best.best_model_path).name,
    }
    return summary, checkpoint


def _best_value(best: ModelCheckpoint) -> float | None:
    # A score of 0.0 is a score: not `best.best_model_score or ...`.
    score = best.best_model_score
    return None if score is None else number_or_none(float(score))


def _summary(
    module: TrainingModule,
    plan: TrainingPlan,
    history: History,
    precision: str,
    seconds: float,
) -> dict[str, Any]:
    rows = sum(record["rows"] for record in history.records)
    busy = sum(record["train_seconds"] for record in history.records)
    return {
        "model_class": plan.spec.model.model_class,
        "parameters": sum(p.numel() for p in module.model.parameters()),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "samples_per_second": rows / max(busy, 1e-9),
        "peak_memory_mib": peak_memory_mib(),
        "records": history.records,
    }


class _EpochOrder(Callback):
    """Tells the sampler which epoch it is, so that the order is a function of it."""

    def __init__(self, batches: ShuffledBatches) -> None:
        self.batches = batches

    def on_train_epoch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        """The order of this epoch."""
        self.batches.epoch = trainer.current_epoch
