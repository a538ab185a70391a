"""One training in one process, which may be one of several that train together."""

from __future__ import annotations

import logging
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from tabweave.batching.batches import Rows, as_is
from tabweave.batching.sampling import (
    TOKENS_AT_ONCE,
    BucketedBatches,
    EpochBatches,
    RankBatches,
    ShuffledBatches,
    SortedBatches,
)
from tabweave.models.registry import build_model
from tabweave.models.row_vectors import frozen_rows
from tabweave.running import signals
from tabweave.training.allocator import keeping_freed_memory
from tabweave.training.checkpoints.averaging import AveragedWeights
from tabweave.training.checkpoints.checkpoint import (
    BEST,
    WholeFileCheckpointIO,
    best_checkpoint,
    checkpoint_values,
    keep_best,
    link_best,
    own_checkpoints,
)
from tabweave.training.checkpoints.interruption import SAVING, LastCheckpoint
from tabweave.training.checkpoints.resume import Position
from tabweave.training.config import TrainingConfig, lower_is_better
from tabweave.training.device import HALF, chosen_precision, training_device
from tabweave.training.epochs import EpochOrder, Epochs
from tabweave.training.leak_check import check_for_leaks
from tabweave.training.loss import class_weights
from tabweave.training.measures.history import (
    Curves,
    History,
    finite,
    hyperparameters,
    matmul_shares,
)
from tabweave.training.measures.memory import OutOfMemory, peak_memory_mib
from tabweave.training.measures.progress import TrainingBar
from tabweave.training.module import TrainingModule, Validation
from tabweave.training.plan import TrainingPlan
from tabweave.training.processes.distributed import rank_and_world
from tabweave.training.processes.strategy import make_strategy

VALIDATION_ROWS = 64


@dataclass(frozen=True)
class Outcome:
    """What the first process says of a training.

    Attributes:
        history: How the run went.
        checkpoint: The best checkpoint.
    """

    history: dict[str, Any]
    checkpoint: Path


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


def fit_in_rank(plan: TrainingPlan) -> Outcome | None:
    """Trains as one of several processes; only the first one has something to say."""
    outcome = fit(plan)[1]
    return None if rank_and_world()[0] else outcome


def fit(plan: TrainingPlan) -> tuple[TrainingModule, Outcome]:
    """Trains; the module has the weights of the last step.

    Raises:
        TrainingError: The plan does not fit together, or training cannot go on.
    """
    config = plan.config
    memory = OutOfMemory(config)
    threads = config.threads if rank_and_world()[1] == 1 else None
    with with_threads(threads), memory.explained():
        L.seed_everything(config.seed, workers=True, verbose=False)
        module = _module(plan)
        module.model.set_layout("packed" if config.batching == "packed" else "padded")
        train, val = frozen_rows(module.model, (plan.train, plan.val), plan.vectors)
        plan = replace(plan, train=train, val=val)
        if rank := rank_and_world()[0]:
            torch.manual_seed(config.seed + rank)  # dropout of its own
        with _flushed_denormals(), keeping_freed_memory():
            return module, _fit(module, plan, memory)


def _module(plan: TrainingPlan) -> TrainingModule:
    """A new model, which does not leak, with all that its training needs."""
    config, labels = plan.config, plan.train.labels
    rank, world = rank_and_world()
    model = build_model(plan.spec, plan.encoders).to(training_device())
    if model.text:
        half = HALF.get(chosen_precision(config.precision))
        check_for_leaks(model, plan.train, half)
    counts = np.bincount(labels, minlength=len(plan.spec.classes))
    weights = class_weights(config, counts)
    row_weights = None if weights is None else weights.numpy()[labels]
    batches = epoch_batches(plan.train, config)
    epochs = Epochs(batches, config, row_weights, rank=rank, world=world)
    epochs.check()
    # A convolution or an LSTM starts from nothing, whatever its embeddings start from.
    fresh = plan.spec.model.architecture.text != "bert"
    rates = [
        config.encoder_rate(scratch=fresh or source == "scratch")
        for source in plan.encoders
    ]
    validation = Validation(validation_batches(plan), plan.val.labels, plan.metric)
    module = TrainingModule(model, rates, weights, epochs, validation)
    module.identity = dict(plan.identity)
    return module


def epoch_batches(rows: Rows, config: TrainingConfig) -> EpochBatches:
    """The sampler of the train split."""
    kind = BucketedBatches if config.batching == "bucketed" else ShuffledBatches
    return kind(
        len(rows),
        config.batch_size,
        config.seed,
        rows.token_counts(),
        config.max_tokens_per_batch,
    )


@contextmanager
def with_threads(count: int | None) -> Iterator[None]:
    """Computes with so many threads; later stages of this process have theirs again."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Numbers near 0 are slow on a CPU; later stages of this process keep them exact."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _loader(
    rows: Rows, batches: RankBatches | SortedBatches, workers: int = 0
) -> DataLoader[Any]:
    # One of several processes would fork its workers from a server, which outlives it:
    # they would not see that it is gone, and take seconds to start.
    forked = workers and sys.platform == "linux"
    return DataLoader(
        rows,
        batch_sampler=batches,
        collate_fn=as_is,
        num_workers=workers,
        # Each pass draws a seed. From the process's own generator it would change what
        # dropout draws, and how often depends on where a training was interrupted.
        generator=torch.Generator(),
        multiprocessing_context="fork" if forked else None,
        worker_init_fn=_leave_signals_to_others,
    )


def _leave_signals_to_others(worker: int) -> None:
    """SIGTERM to a whole group must not end a worker before its training has saved.

    A worker ends when its training is done with it, or is gone.
    """
    for number in SAVING:
        signal.signal(number, signal.SIG_IGN)


def _callbacks(
    module: TrainingModule, plan: TrainingPlan, memory: OutOfMemory
) -> list[Callback]:
    """Callbacks in the order in which Lightning calls them."""
    config, epochs = plan.config, module.epochs
    metric = config.early_stop_metric
    mode = "min" if lower_is_better(metric) else "max"
    groups = hyperparameters(model=plan.spec.model, training=config)
    averaging = []
    if config.ema_decay:
        averaging.append(AveragedWeights(config.ema_decay, training_device()))
    every, limit = config.checkpoint_every_n_steps, config.timeout_s
    return [
        memory,
        EpochOrder(epochs),
        Position(epochs.batches),
        # At the end, the average takes the place of the weights that go on.
        LastCheckpoint(plan.checkpoints, every, limit),
        *averaging,
        TrainingBar(metric),
        History(),
        Curves(groups, metric),
        best_checkpoint(plan.checkpoints, metric, mode, config.save_top_k),
        EarlyStopping(
            monitor=metric, mode=mode, patience=epochs.patience, check_finite=True
        ),
    ]


def _trainer(
    module: TrainingModule, plan: TrainingPlan, precision: str, memory: OutOfMemory
) -> L.Trainer:
    config, epochs = plan.config, module.epochs
    world = epochs.batches.world
    replaced = []
    if plan.resume is None:
        # What was best goes when there is another best.
        own = own_checkpoints(plan.checkpoints)
        replaced = [path for path in own if path.name != BEST]
    return L.Trainer(
        accelerator="auto",
        devices=world // config.num_nodes,
        num_nodes=config.num_nodes,
        strategy=make_strategy(config, world),
        max_epochs=config.max_epochs,
        precision=precision,
        gradient_clip_val=config.gradient_clip_val or None,
        accumulate_grad_batches=config.accumulate_grad_batches,
        val_check_interval=epochs.between_checks_at_least,
        num_sanity_val_steps=0,
        log_every_n_steps=min(config.log_every_n_steps, epochs.steps[0]),
        callbacks=_callbacks(module, plan, memory),
        logger=_logger(plan),
        plugins=[WholeFileCheckpointIO(replaced)],
        enable_model_summary=False,
        use_distributed_sampler=False,
        # An epoch of another length is a new one to Lightning.
        reload_dataloaders_every_n_epochs=int(epochs.batches.varies),
    )


def _logger(plan: TrainingPlan) -> TensorBoardLogger:
    """Curves begin anew, or go on after the step of the checkpoint."""
    purge = None
    if plan.resume is not None:
        purge = int(checkpoint_values(plan.resume)["global_step"]) + 1
    elif not rank_and_world()[0]:
        for old in plan.log_folder.glob("events.out.tfevents.*"):
            old.unlink()
    return TensorBoardLogger(plan.log_folder, name="", version="", purge_step=purge)


def _fit(module: TrainingModule, plan: TrainingPlan, memory: OutOfMemory) -> Outcome:
    config = plan.config
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    if plan.resume is None and not rank_and_world()[0]:
        keep_best(plan.checkpoints)
    started = time.monotonic()
    with _quiet(), _interruptible():
        trainer = _trainer(module, plan, chosen_precision(config.precision), memory)
        trainer.fit(
            module,
            _loader(plan.train, module.epochs.batches, config.num_workers),
            _loader(plan.val, module.validation.batches),
            ckpt_path=plan.resume,
            weights_only=True,
        )
    signals.raise_heard()  # else what was best before would go
    best = trainer.checkpoint_callback.best_model_path
    if rank_and_world()[0]:
        return Outcome({}, Path(best))
    checkpoint = link_best(plan.checkpoints, best)
    seconds = time.monotonic() - started
    return Outcome(_summary(trainer, module, plan, seconds), checkpoint)


def validation_batches(plan: TrainingPlan) -> SortedBatches:
    """All rows of val, in batches that fit where training fits."""
    limit = plan.config.max_tokens_per_batch or TOKENS_AT_ONCE
    rank, world = rank_and_world()
    counts = plan.val.token_counts()
    return SortedBatches(counts, VALIDATION_ROWS, limit, rank=rank, world=world)


def _summary(
    trainer: L.Trainer, module: TrainingModule, plan: TrainingPlan, seconds: float
) -> dict[str, Any]:
    (history,) = (c for c in trainer.callbacks if isinstance(c, History))
    device = trainer.strategy.root_device
    best, config = trainer.checkpoint_callback, plan.config
    rows = sum(record["rows"] for record in history.records)
    busy = sum(record["train_seconds"] for record in history.records)
    return {
        "model_class": plan.spec.model.model_class,
        "parameters": sum(p.numel() for p in module.model.parameters()),
        "precision": trainer.precision,
        "batching": config.batching,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "processes": module.epochs.batches.world,
        "seconds": seconds,
        "samples_per_second": rows / max(busy, 1e-9),
        "peak_memory_mib": peak_memory_mib(),
        "matmul_peak": matmul_shares(history.records, trainer.precision, device),
        "records": history.records,
        "best": {
            "metric": config.early_stop_metric,
            "value": finite(best.best_model_score),
            "checkpoint": Path(best.best_model_path).name,
        },
    }
