"""Going on where a training was interrupted, to the same bits.

``last.ckpt`` is written between two steps: before the next batch, all that is left to
know is the weights, the state of optimizer and schedule, which batch comes next, and the
state of every generator of random numbers in every process.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from tabweave.batching.sampling import RankBatches
from tabweave.errors import ArtifactError, shorten
from tabweave.storage.artifacts import differences
from tabweave.training.checkpoints.checkpoint import (
    IDENTITY,
    LAST,
    checkpoint_values,
    named_tensors,
)
from tabweave.training.checkpoints.sharded import WEIGHTS
from tabweave.training.processes.distributed import gathered, rank_and_world

logger = logging.getLogger(__name__)

SPLIT_PARTS = {WEIGHTS: dict, "optimizer_states": list}
PARTS = {
    **SPLIT_PARTS,
    "lr_schedulers": list,
    "callbacks": dict,
    "loops": dict,
    "epoch": int,
    "global_step": int,
}
"""What Lightning goes on from; a checkpoint in parts has the first two beside it."""


def random_state() -> dict[str, Any]:
    """The state of all generators of this process, as tensors and plain values."""
    version, state, normal = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    found: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, list(state), normal],
        "numpy": [[int(k) for k in keys], int(position), int(has_gauss), float(cached)],
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def set_random_state(state: Mapping[str, Any]) -> None:
    """Puts all generators of this process back into a state that `random_state` gave."""
    torch.set_rng_state(state["torch"])
    version, numbers, normal = state["python"]
    random.setstate((version, tuple(numbers), normal))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(
        ("MT19937", np.array(keys, np.uint32), position, has_gauss, cached)
    )
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


class Position(Callback):
    """Keeps in a checkpoint which batch comes next, and all random numbers to come.

    Args:
        batches: The sampler of the training.
    """

    def __init__(self, batches: RankBatches) -> None:
        self.batches = batches
        self._over = False
        self._trainer: L.Trainer | None = None
        self._pending: dict[str, Any] | None = None

    def setup(
        self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str
    ) -> None:
        """Keeps the trainer at hand: `state_dict` is not given it."""
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """What comes next; every process calls it."""
        assert self._trainer is not None
        loop = self._trainer.fit_loop.epoch_loop
        return {
            "epoch": self.batches.epoch,
            "done": 0 if self._over else int(loop.batch_progress.current.completed),
            "logged": int(loop._batches_that_stepped),
            "random": gathered(random_state()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lets the sampler begin at the next batch."""
        self.batches.epoch = state_dict["epoch"]
        self.batches.start = state_dict["done"]
        self._pending = state_dict

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops at once a training that had stopped early."""
        for callback in trainer.callbacks:
            if isinstance(callback, EarlyStopping):
                spent = callback.wait_count >= callback.patience
                trainer.should_stop = trainer.should_stop or spent

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Puts the generators back, as late as possible: setting up draws numbers, too."""
        self._over = False
        if self._pending is None:
            return
        # Lightning counts a step that it thinks was not counted before the checkpoint.
        trainer.fit_loop.epoch_loop._batches_that_stepped = self._pending["logged"]
        set_random_state(self._pending["random"][rank_and_world()[0]])
        self._pending = None

    def on_train_epoch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> None:
        """The next epoch begins at its first batch."""
        self.batches.start = 0
        self._over = True


def resumable(
    folder: Path, identity: Mapping[str, Any], *, required: bool
) -> Path | None:
    """The checkpoint to go on from, or None where there is none of this very training.

    Args:
        folder: Folder of the checkpoints.
        identity: What the training is: parameters, model, data.
        required: Whether it is an error that there is none.

    Raises:
        ArtifactError: A checkpoint is required, and is missing or of another training.
    """
    path = folder / LAST
    if not path.exists():
        if required:
            raise ArtifactError(
                f"training.resume is required, but there is no {path}. Set it to auto "
                "or never to start from the beginning."
            )
        return None
    try:
        values = checkpoint_values(path)
    except ArtifactError as error:
        raise ArtifactError(
            f"{error} Delete it, or set training.resume=never, to start from the beginning."
        ) from error
    found = values.get(IDENTITY)
    if not isinstance(found, dict):
        other = ["it was written by another program or version"]
    else:
        other = [
            line
            for name in sorted({*found, *identity})
            for line in differences(found.get(name), identity.get(name), name)
        ]
    if not other:
        _check_whole(path, values)
        return path
    message = f"{path} is of another training: {'; '.join(other[:5])}."
    if required:
        raise ArtifactError(
            f"{message} Put back what was changed, or set training.resume to never to "
            "start from the beginning."
        )
    logger.warning("%s Training starts from the beginning.", message)
    return None


def _check_whole(path: Path, values: Mapping[str, Any]) -> None:
    """Refuses a checkpoint with which Lightning could not go on, or only to NaN.

    Raises:
        ArtifactError: A part is missing or of a wrong kind, or a weight is not finite.
    """
    for name, kind in PARTS.items():
        if path.is_dir() and name in SPLIT_PARTS:
            continue
        if not isinstance(values.get(name), kind):
            raise ArtifactError(
                f"{path} is not a whole checkpoint: its {name!r} is "
                f"{shorten(values.get(name))}. Delete it, or set training.resume=never."
            )
    if WEIGHTS in values:
        named_tensors(values[WEIGHTS], path)
