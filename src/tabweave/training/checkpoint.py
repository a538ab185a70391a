"""Checkpoints: written whole or not at all, loaded as plain tensors and numbers."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from tabweave.artifacts import write_bytes
from tabweave.errors import ArtifactError, TrainingError

LAST, BEST = "last.ckpt", "best.ckpt"
OWN_NAME = re.compile(r"(last|best|epoch=\d+-step=\d+)\.ckpt")
MODEL_PREFIX = "model."


class WholeFileCheckpointIO(TorchCheckpointIO):
    """Writes under a temporary name and renames: a full disk leaves the old file.

    Args:
        replaces: Checkpoints of an earlier run, which go when the first new one is there.
    """

    def __init__(self, replaces: Iterable[Path] = ()) -> None:
        super().__init__()
        self.replaces = list(replaces)

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Saves in one step."""
        write_bytes(Path(path), lambda file: _save(checkpoint, file))
        for old in self.replaces:
            if old != Path(path):
                old.unlink(missing_ok=True)
        self.replaces = []


def own_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder that an earlier run wrote; other files are a user's.

    Lightning writes below the folder that links lead to: the paths are given likewise.
    """
    found = folder.resolve().glob("*.ckpt")
    return [path for path in found if OWN_NAME.fullmatch(path.name)]


def _save(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        # torch hides why the disk refused behind a check of its own file format.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def checkpoint_callbacks(
    folder: Path, metric: str, mode: str, save_top_k: int = 1
) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Two callbacks: one keeps the best validations by `metric`, one the last."""
    best = ModelCheckpoint(
        dirpath=folder,
        filename="{epoch}-{step}",
        monitor=metric,
        mode=mode,
        save_top_k=save_top_k,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    # Not save_last of the first one: that writes last.ckpt beside a new best one only.
    last = ModelCheckpoint(
        dirpath=folder,
        filename=Path(LAST).stem,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    return best, last


def link_best(folder: Path, best: str) -> Path:
    """Makes ``best.ckpt`` a relative link to the best checkpoint, or a copy.

    Raises:
        TrainingError: Training ended without a checkpoint.
    """
    if not best:
        raise TrainingError(
            "Training ended before the first validation, so there is no checkpoint. Lower "
            "training.val_check_interval or raise training.max_epochs."
        )
    link = folder / BEST
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(Path(best).name)
    except OSError:  # a file system without links
        shutil.copyfile(best, link)
    return link


def model_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of the plain model inside a checkpoint; no code is run.

    Raises:
        ArtifactError: The file is not a checkpoint of a tabweave model.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:
        raise ArtifactError(f"{path} is not a whole checkpoint: {error}") from error
    return {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in state.items()
        if name.startswith(MODEL_PREFIX)
    }
