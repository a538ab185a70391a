"""Checkpoints: written whole or not at all, loaded as plain tensors and numbers."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import callbacks
from torch import nn

from tabweave.errors import ArtifactError, TrainingError, shorten
from tabweave.models.weights import check_finite, check_shapes, shapes_of
from tabweave.storage.artifacts import replacing_any, write_bytes
from tabweave.training.checkpoints.archive import load_archive
from tabweave.training.checkpoints.sharded import WEIGHTS, joined_weights

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


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """Lightning's, which forgets what was best where its folder has another name now."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the checkpoints of a folder that has moved for those of the new one."""
        here = Path(str(self.dirpath))

        def moved(path: str) -> str:
            return str(here / Path(path).name) if path else ""

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        best = state_dict["best_k_models"]
        super().load_state_dict(
            {
                **state_dict,
                **{name: moved(state_dict[name]) for name in paths},
                "best_k_models": {moved(path): value for path, value in best.items()},
                "dirpath": self.dirpath,
            }
        )


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
    with replacing_any(link) as part:
        try:
            part.symlink_to(Path(best).name)
        except OSError:  # a file system without links
            _copy(Path(best), part)
    return link


def keep_best(folder: Path) -> None:
    """Lets ``best.ckpt`` be the same while a new training writes its checkpoints.

    It links to one of an earlier training, which goes, or whose name the new one takes.
    """
    link = folder / BEST
    if not link.is_symlink() or not link.exists():
        return
    with replacing_any(link) as part:
        try:
            _copy(link.resolve(), part, os.link)  # a second name takes no room
        except OSError:  # a file system without such names
            _remove(part)
            _copy(link.resolve(), part)


def _copy(
    source: Path, target: Path, copy: Callable[[str, str], object] = shutil.copyfile
) -> None:
    if source.is_dir():
        shutil.copytree(source, target, copy_function=copy)
    else:
        copy(str(source), str(target))


def checkpoint_values(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, without the weights where they are split; no code is run.

    Raises:
        ArtifactError: The file is not a whole checkpoint.
    """
    found = load_archive(path / META if path.is_dir() else path, path)
    if not isinstance(found, dict):
        raise ArtifactError(
            f"{path} is not a whole checkpoint: it holds {shorten(found)}."
        )
    return found


def model_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of the plain model inside a checkpoint.

    Raises:
        ArtifactError: The file is not a checkpoint of a tabweave model, or a weight is
            NaN or infinite.
    """
    found = joined_weights(path) if path.is_dir() else checkpoint_values(path)
    weights = named_tensors(found.get(WEIGHTS), path)
    return {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in weights.items()
        if name.startswith(MODEL_PREFIX)
    }


def load_weights(model: nn.Module, path: Path) -> None:
    """Gives a model the weights of a checkpoint.

    Raises:
        ArtifactError: As `model_weights`, or they are those of another model.
    """
    weights = model_weights(path)
    try:
        check_shapes(shapes_of(model), {n: tuple(w.shape) for n, w in weights.items()})
        model.load_state_dict(weights)
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{path} is a checkpoint of another model: {error}. Train again with "
            "training.resume=never."
        ) from error


def named_tensors(weights: Any, path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, if they are tensors by name and finite.

    Raises:
        ArtifactError: They are not.
    """
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor)
        for name, value in weights.items()
    ):
        raise ArtifactError(
            f"{path} is not a checkpoint of a model: its {WEIGHTS} are "
            f"{shorten(weights)}, not tensors by name."
        )
    try:
        check_finite(weights)
    except ValueError as error:
        raise ArtifactError(
            f"{path} holds no usable weights: {error}. The training has diverged, or the "
            "file is damaged. Train again with a lower training.lr and "
            "training.resume=never."
        ) from error
    return weights
