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
from tabweave.errors import ArtifactError, TrainingError, cut
from tabweave.training.parts import WEIGHTS, joined_weights

LAST, BEST = "last.ckpt", "best.ckpt"
IDENTITY = "tabweave"
"""Key of a checkpoint under which lies what training it is of."""
META = "meta.pt"
"""File of a checkpoint in parts that holds all but weights and optimizer."""
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
        self.remove_replaced(Path(path))

    def remove_replaced(self, path: Path) -> None:
        """Removes the checkpoints of an earlier run, when the first new one is there."""
        for old in self.replaces:
            if old != path:
                _remove(old)
        self.replaces = []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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


def best_checkpoint(
    folder: Path, metric: str, mode: str, save_top_k: int = 1
) -> ModelCheckpoint:
    """A callback that keeps the best validations by `metric`."""
    return ModelCheckpoint(
        dirpath=folder,
        filename="{epoch}-{step}",
        monitor=metric,
        mode=mode,
        save_top_k=save_top_k,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


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
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)  # a copy of parts, where there are no links
    # Replaced in one step: whoever is killed here leaves the old link or the new one.
    part = folder / f".{BEST}.{os.getpid()}.part"
    part.unlink(missing_ok=True)
    try:
        part.symlink_to(Path(best).name)
    except OSError:  # a file system without links
        if Path(best).is_dir():
            shutil.copytree(best, link)
            return link
        shutil.copyfile(best, part)
    os.replace(part, link)
    return link


def checkpoint_values(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, without the weights where they are split; no code is run.

    Raises:
        ArtifactError: The file is not a whole checkpoint.
    """
    file = path / META if path.is_dir() else path
    try:
        found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        said = cut(str(error).partition("\n")[0], 300).rstrip(".")
        raise ArtifactError(f"{path} is not a whole checkpoint: {said}.") from error
    return found


def model_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of the plain model inside a checkpoint.

    Raises:
        ArtifactError: The file is not a checkpoint of a tabweave model.
    """
    found = joined_weights(path) if path.is_dir() else checkpoint_values(path)
    if WEIGHTS not in found:
        raise ArtifactError(f"{path} is not a checkpoint of a model.")
    return {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in found[WEIGHTS].items()
        if name.startswith(MODEL_PREFIX)
    }
