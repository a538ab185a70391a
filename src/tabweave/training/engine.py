"""Runs a training: from mapped rows to the best weights, in one process."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from tabweave.batches import Rows, as_is
from tabweave.errors import TrainingError
from tabweave.models.attention import check_rows_are_independent
from tabweave.models.classifier import Classifier
from tabweave.models.registry import build_model
from tabweave.models.row_vectors import frozen_rows
from tabweave.sampling import (
    TOKENS_AT_ONCE,
    BucketedBatches,
    EpochBatches,
    ShuffledBatches,
    SortedBatches,
)
from tabweave.training.allocator import keeping_freed_memory
from tabweave.training.averaging import AveragedWeights
from tabweave.training.checkpoint import (
    WholeFileCheckpointIO,
    checkpoint_callbacks,
    link_best,
    model_weights,
    own_checkpoints,
)
from tabweave.training.config import TrainingConfig, lower_is_better
from tabweave.training.epochs import EpochOrder, Epochs
from tabweave.training.history import (
    Curves,
    History,
    finite,
    hyperparameters,
    matmul_shares,
)
from tabweave.training.loss import class_weights
from tabweave.training.memory import OutOfMemory, peak_memory_mib
from tabweave.training.module import TrainingModule
from tabweave.training.plan import TrainingPlan
from tabweave.training.progress import TrainingBar

logger = logging.getLogger(__name__)

LEAK_CHECK_ROWS = 4
VALIDATION_ROWS = 64
HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


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
    memory = OutOfMemory(config)
    with _threads(config.threads), memory.explained():
        L.seed_everything(config.seed, workers=True, verbose=False)
        module = _module(plan)
        module.model.set_layout("packed" if config.batching == "packed" else "padded")
        train, val = frozen_rows(module.model, (plan.train, plan.val), plan.vectors)
        plan = replace(plan, train=train, val=val)
        with _flushed_denormals(), keeping_freed_memory():
            history, checkpoint = _fit(module, plan, memory)
    model = module.model.set_layout("packed")
    model.load_state_dict(model_weights(checkpoint))
    return TrainedModel(model.eval(), history)


def _module(plan: TrainingPlan) -> TrainingModule:
    """A new model, which does not leak, with all that its training needs."""
    config, labels = plan.config, plan.train.labels
    model = build_model(plan.spec, plan.encoders).to(training_device())
    _leak_check(model, plan)
    counts = np.bincount(labels, minlength=len(plan.spec.classes))
    weights = class_weights(config, counts)
    row_weights = None if weights is None else weights.numpy()[labels]
    epochs = Epochs(epoch_batches(plan.train, config), config, row_weights)
    epochs.check()
    # A convolution or an LSTM starts from nothing, whatever its embeddings start from.
    fresh = plan.spec.model.architecture.text != "bert"
    rates = [
        config.encoder_rate(scratch=fresh or source == "scratch")
        for source in plan.encoders
    ]
    return TrainingModule(model, rates, weights, plan.metric, epochs)


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


def training_device() -> torch.device:
    """Where Lightning trains: on the accelerator that PyTorch finds, else on the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
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


def _leak_check(model: Classifier, plan: TrainingPlan) -> None:
    """Asks where training computes; on CUDA with the kernels of its precision."""
    if not model.text:
        return
    few = plan.train.batch(leak_check_rows(plan.train))
    device = training_device()
    half = HALF.get(_precision(plan.config.precision))
    cuda = device.type == "cuda"
    moved = model.register_forward_pre_hook(lambda _, given: (given[0].to(device),))
    mixed = torch.autocast(device.type, half, enabled=cuda and half is not None)
    with moved, mixed, _sums_in_one_order(needed=cuda):
        check_rows_are_independent(model, few, model.vocabularies)


@contextmanager
def _sums_in_one_order(*, needed: bool) -> Iterator[None]:
    """CUDA adds up in any order, so that last bits move: the check would see a leak."""
    if not needed:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some kernels know one order only
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)


def leak_check_rows(rows: Rows) -> np.ndarray:
    """A few rows with text in every field, where there are any: empty ones leak nothing."""
    fields = sum((c.token_counts() > 0).astype(np.int64) for c in rows.columns)
    return np.argsort(-np.asarray(fields), kind="stable")[:LEAK_CHECK_ROWS]


def _loader(rows: Rows, batches: EpochBatches | SortedBatches) -> DataLoader[Any]:
    return DataLoader(rows, batch_sampler=batches, collate_fn=as_is)


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
    return [
        memory,
        EpochOrder(epochs),
        *averaging,
        TrainingBar(metric),
        History(),
        Curves(groups, metric),
        *checkpoint_callbacks(plan.checkpoints, metric, mode, config.save_top_k),
        EarlyStopping(
            monitor=metric, mode=mode, patience=epochs.patience, check_finite=True
        ),
    ]


def _trainer(
    module: TrainingModule, plan: TrainingPlan, precision: str, memory: OutOfMemory
) -> L.Trainer:
    config, epochs = plan.config, module.epochs
    return L.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=config.max_epochs,
        precision=precision,
        gradient_clip_val=config.gradient_clip_val or None,
        accumulate_grad_batches=config.accumulate_grad_batches,
        val_check_interval=epochs.between_checks_at_least,
        num_sanity_val_steps=0,
        log_every_n_steps=min(config.log_every_n_steps, epochs.steps[0]),
        callbacks=_callbacks(module, plan, memory),
        logger=TensorBoardLogger(plan.log_folder, name="", version=""),
        plugins=[WholeFileCheckpointIO(own_checkpoints(plan.checkpoints))],
        enable_model_summary=False,
        use_distributed_sampler=False,
        # An epoch of another length is a new one to Lightning.
        reload_dataloaders_every_n_epochs=int(epochs.batches.varies),
    )


def _fit(
    module: TrainingModule, plan: TrainingPlan, memory: OutOfMemory
) -> tuple[dict[str, Any], Path]:
    precision = _precision(plan.config.precision)
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    for old in plan.log_folder.glob("events.out.tfevents.*"):
        old.unlink()
    started = time.monotonic()
    with _quiet(), _interruptible():
        trainer = _trainer(module, plan, precision, memory)
        trainer.fit(
            module,
            _loader(plan.train, module.epochs.batches),
            _loader(plan.val, validation_batches(plan)),
        )
    best = trainer.checkpoint_callback.best_model_path
    checkpoint = link_best(plan.checkpoints, best)
    seconds = time.monotonic() - started
    return _summary(trainer, module, plan, seconds), checkpoint


def validation_batches(plan: TrainingPlan) -> SortedBatches:
    """All rows of val, in batches that fit where training fits."""
    limit = plan.config.max_tokens_per_batch or TOKENS_AT_ONCE
    return SortedBatches(plan.val.token_counts(), VALIDATION_ROWS, limit)


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
