"""Memory of a run: how much it takes, and what to do when it runs out."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from tabweave.batching.batches import Batch, PackedText
from tabweave.errors import TabweaveError, TrainingError
from tabweave.training.config import TrainingConfig

MIB = 2**20
STATM = Path("/proc/self/statm")
# What the allocators of torch say on a CPU; on a GPU they raise a class of their own.
NO_MEMORY = ("can't allocate memory", "not enough memory", "std::bad_alloc")


def peak_memory_mib() -> float:
    """The largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak * 1024 / MIB


def resident_memory_mib() -> float | None:
    """The resident size of this process, in MiB; None where the kernel does not say."""
    if not STATM.exists():
        return None
    pages = int(STATM.read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB


def memory_figures() -> dict[str, float | None]:
    """Memory of the process and of its GPU, in MiB."""
    found = {
        "resident_memory_mib": resident_memory_mib(),
        "peak_memory_mib": peak_memory_mib(),
    }
    if torch.cuda.is_available():
        found |= {
            "cuda_allocated_mib": torch.cuda.memory_allocated() / MIB,
            "cuda_reserved_mib": torch.cuda.memory_reserved() / MIB,
            "cuda_peak_mib": torch.cuda.max_memory_allocated() / MIB,
        }
    return found


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    if isinstance(error, TabweaveError):
        return False
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(mark in text for mark in NO_MEMORY)


def batch_sizes(batch: Batch) -> str:
    """Rows, tokens and chunks of a batch, in words."""
    lengths = [n for t in batch.texts if isinstance(t, PackedText) for n in t.lengths]
    if not lengths:
        return f"{len(batch)} rows without text"
    return (
        f"{len(batch)} rows with {batch.tokens:,} tokens in {len(lengths):,} chunks, the "
        f"longest of {max(lengths)} tokens"
    )


class OutOfMemory(Callback):
    """Knows the batch at hand, and turns running out of memory into advice."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.place = "before the first batch"

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Notes the batch."""
        where = f"epoch {trainer.current_epoch}, batch {batch_idx}"
        self.place = f"in training, {where}: {batch_sizes(batch)}"

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Notes the batch."""
        self.place = f"in validation, batch {batch_idx}: {batch_sizes(batch)}"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Says of an error for want of memory which batch met it and what to lower.

        Raises:
            TrainingError: Memory ran out.
        """
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise TrainingError(self._advice(error)) from error
            raise

    def _advice(self, error: Exception) -> str:
        config = self.config
        packed = "" if config.batching == "packed" else "with training.batching packed "
        reason: Any = str(error).splitlines()[0] if str(error) else type(error).__name__
        return (
            f"Memory ran out {self.place}. Lower training.batch_size (now "
            f"{config.batch_size}) and raise training.accumulate_grad_batches (now "
            f"{config.accumulate_grad_batches}) by as much for the same steps, or "
            f"{packed}bound training.max_tokens_per_batch (now "
            f"{config.max_tokens_per_batch}); or lower "
            "text.max_total_chunks or text.max_sen_len, or set "
            f"model.use_gradient_checkpointing. The allocator said: {reason}"
        )
