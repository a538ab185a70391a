"""What is kept of a training run: a record per validation, and curves."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from tabweave.batching.batches import Batch, PackedText
from tabweave.errors import TrainingError
from tabweave.models.classifier import Classifier
from tabweave.models.encoders.text_encoder import TextEncoder
from tabweave.models.encoders.transformer_encoder import TransformerEncoder
from tabweave.storage.artifacts import number_or_none
from tabweave.training.measures.matmul_peak import matmul_peak, training_flops
from tabweave.training.measures.memory import memory_figures
from tabweave.training.module import TrainingModule
from tabweave.training.optimizer import rates_by_name
from tabweave.training.processes.distributed import gathered, rank_and_world, summed

MEASURED_FROM = 10.0
"""Seconds of training from which the matmul peak is measured: it takes half a second."""


def pads(encoder: TextEncoder) -> bool:
    """Whether a text encoder computes over padding, by its layout or its nature."""
    if encoder.layout == "padded":
        return True
    if isinstance(encoder, TransformerEncoder):
        return not encoder.kind.packed
    return type(encoder).packed_states is TextEncoder.packed_states


def computed_tokens(model: Classifier, batch: Batch) -> int:
    """Tokens that the text encoders compute for a batch, padding included."""
    total = 0
    for encoder, text in zip(model.text_encoders, batch.texts, strict=True):
        if isinstance(text, PackedText) and text.lengths:
            padded = len(text.lengths) * max(text.lengths)
            total += padded if pads(encoder) else len(text.ids)
    return total


def encoder_flops(model: Classifier, lengths: Sequence[Sequence[int]]) -> float | None:
    """Floating-point operations that the text encoders need to train on some chunks.

    None where nothing is known: for encoders that are no transformers or are not trained
    whole.

    Args:
        model: The model.
        lengths: Per text field, the tokens of every chunk.
    """
    config = model.spec.model
    if config.architecture.text != "bert" or config.encoder_training != "full":
        return None
    fields = zip(model.spec.text, lengths, strict=True)
    return sum(training_flops(field.encoder, found) for field, found in fields)


def matmul_shares(
    records: Sequence[dict[str, Any]], precision: str, device: torch.device
) -> float | None:
    """Fills `matmul_peak_share` of the records; gives the peak, in operations per second.

    The peak is measured after a training, with its threads, and only if that took long
    enough for the share to mean something.
    """
    seconds = sum(record["train_seconds"] for record in records)
    if seconds < MEASURED_FROM or not any(r["encoder_flops"] for r in records):
        return None
    peak = matmul_peak(precision, device)
    for record in records:
        record["matmul_peak_share"] = (
            record["encoder_flops"] / record["train_seconds"] / peak
        )
    return peak


class Clock:
    """Seconds of what happens between two validations."""

    def __init__(self) -> None:
        self.started = self.mark = time.monotonic()
        self.data = self.step = 0.0

    def lap(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        passed, self.mark = now - self.mark, now
        return passed


class History(Callback):
    """Loss, metrics, throughput, seconds and memory at every validation."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._carried: list[Any] | None = None
        self._reset()
        self._train_seconds = 0.0

    def _reset(self) -> None:
        self.rows, self.tokens, self.computed, self.loss = 0, 0, 0, 0.0
        self.flops: float | None = None
        self._pending: list[tuple[int, int, Tensor]] = []
        self.clock = Clock()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._reset()
        if self._carried is not None:
            self.rows, self.tokens, self.computed, self.loss = self._carried[:4]
            self.flops, seconds = self._carried[4:]
            self.clock.started -= seconds
            self._carried = None

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Seconds since the last batch went into getting this one."""
        self.clock.data += self.clock.lap()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: TrainingModule,
        outputs: Mapping[str, Any],
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Counts rows, tokens and loss."""
        if outputs["rows"]:
            self.rows += len(batch)
            self.tokens += batch.tokens
            self.computed += computed_tokens(pl_module.model, batch)
            lengths = [
                t.lengths if isinstance(t, PackedText) else [] for t in batch.texts
            ]
            flops = encoder_flops(pl_module.model, lengths)
            self.flops = None if flops is None else (self.flops or 0.0) + flops
            self._pending.append((trainer.global_step, len(batch), outputs["mean"]))
        if len(self._pending) >= trainer.log_every_n_steps:
            self._count_losses(trainer.current_epoch)
        self.clock.step += self.clock.lap()

    def _count_losses(self, epoch: int | str) -> None:
        """Adds up losses, several at once: to read one, a GPU must have finished it.

        Raises:
            TrainingError: One is not finite.
        """
        for step, rows, value in self._pending:
            loss = float(value)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"The training loss is {loss} at step {step}, epoch {epoch}. Lower "
                    "training.lr and training.head_lr, or set training.precision to "
                    "32-true."
                )
            self.loss += loss * rows
        self._pending.clear()

    def on_validation_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        """Marks where training seconds end."""
        self._count_losses(trainer.current_epoch)
        self.clock.step += self.clock.lap()
        self._train_seconds = self.clock.mark - self.clock.started
        self._add_up()

    def _add_up(self) -> None:
        """Counts of all processes."""
        counts = [self.rows, self.tokens, self.computed, self.loss, self.flops or 0.0]
        rows, tokens, computed, self.loss, flops = summed(counts)
        self.rows, self.tokens, self.computed = int(rows), int(tokens), int(computed)
        self.flops = None if self.flops is None else flops

    def state_dict(self) -> dict[str, Any]:
        """The records so far, and what every process has counted for the next one."""
        self._count_losses("the last ones")
        seconds = time.monotonic() - self.clock.started
        counts = [self.rows, self.tokens, self.computed, self.loss, self.flops, seconds]
        return {"records": self.records, "counts": gathered(counts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on behind the records of a checkpoint."""
        self.records = list(state_dict["records"])
        self._carried = state_dict["counts"][rank_and_world()[0]]

    def on_validation_end(self, trainer: L.Trainer, pl_module: TrainingModule) -> None:
        """Writes one record."""
        values: dict[str, float | None] = {
            name: value.item()
            for name, value in sorted(trainer.callback_metrics.items())
            if name.startswith("val/")
        }
        # A metric that had a value before keeps it there.
        values |= dict.fromkeys(pl_module.undefined)
        record = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "train/loss": self.loss / max(1, self.rows),
            **values,
            **self._speed(),
            **memory_figures(),
        }
        self.records.append(record)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.log_metrics(curves(record), step=trainer.global_step)
        self._reset()

    def _speed(self) -> dict[str, Any]:
        seconds = max(self._train_seconds, 1e-9)
        padding = 1 - self.tokens / self.computed if self.computed else None
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "samples_per_second": self.rows / seconds,
            "tokens_per_second": self.tokens / seconds,
            "padding_share": padding,
            "encoder_flops": self.flops,
            "matmul_peak_share": None,
            "train_seconds": self._train_seconds,
            "data_seconds": self.clock.data,
            "step_seconds": self.clock.step,
            "validation_seconds": self.clock.lap(),
        }


def curves(record: Mapping[str, Any]) -> dict[str, float]:
    """Speed and memory of a record under the names of TensorBoard's curves."""
    return {
        f"{'memory' if name.endswith('_mib') else 'speed'}/{name}": value
        for name, value in record.items()
        if name.endswith(("_mib", "_seconds", "_per_second", "_share"))
        and value is not None
    }


class Curves(Callback):
    """Learning rates by group, and the hyperparameters, for TensorBoard."""

    def __init__(self, hyperparameters: Mapping[str, Any], metric: str) -> None:
        self.hyperparameters, self.metric = hyperparameters, metric

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the hyperparameters; the metric that decides is shown beside them."""
        from torch.utils.tensorboard.summary import hparams

        if (
            not isinstance(trainer.logger, TensorBoardLogger)
            or not trainer.is_global_zero
        ):
            return
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in self.hyperparameters.items()
        }
        writer = trainer.logger.experiment.file_writer
        summaries: Any = hparams(plain, {self.metric: 0})  # type: ignore[no-untyped-call]
        for summary in summaries:
            writer.add_summary(summary)

    def on_before_optimizer_step(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Writes the rates that this step uses."""
        step = trainer.global_step
        if trainer.logger and (step + 1) % trainer.log_every_n_steps == 0:
            rates = {f"rate/{name}": rate for name, rate in rates_by_name(optimizer)}
            trainer.logger.log_metrics(rates, step=step)


def hyperparameters(**groups: Any) -> dict[str, Any]:
    """Parameter groups flattened: ``training.lr`` -> value."""
    found: dict[str, Any] = {}
    for group, config in groups.items():
        left = [(group, config.model_dump())]
        while left:
            name, value = left.pop()
            if isinstance(value, dict):
                left += [(f"{name}.{key}", inner) for key, inner in value.items()]
            else:
                found[name] = value
    return dict(sorted(found.items()))


def finite(value: Tensor | None) -> float | None:
    """A score as a number; 0 is a score."""
    return None if value is None else number_or_none(float(value))
