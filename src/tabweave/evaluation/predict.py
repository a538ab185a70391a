"""Probabilities of every row of a split, in the order of its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.distributed.device_mesh import init_device_mesh

from tabweave.batching.batches import Rows
from tabweave.batching.sampling import TOKENS_AT_ONCE, SortedBatches
from tabweave.errors import ArtifactError
from tabweave.models.classifier import Classifier
from tabweave.models.registry import load_model, save_model
from tabweave.storage.artifacts import scratch_folder
from tabweave.training.config import FsdpConfig, TrainingConfig
from tabweave.training.processes.distributed import gathered, rank_and_world
from tabweave.training.processes.launch import Ranks, launch
from tabweave.training.processes.strategy import shard

if TYPE_CHECKING:
    from tabweave.evaluation.config import Precision

BATCH_SIZE = 64


def predict_probabilities(
    model: Classifier,
    rows: Rows,
    *,
    batch_size: int = BATCH_SIZE,
    precision: Precision = "fp32",
) -> np.ndarray:
    """Softmax probabilities, float32 [N, classes].

    Rows of similar length share a batch; a row's result does not depend on it. Several
    processes that have met share the batches, and each gets all results.

    Args:
        model: The model; it is left in eval mode.
        rows: The rows of a split.
        batch_size: Rows per batch at most; long rows make smaller batches.
        precision: Arithmetic of the matrix products; the softmax is fp32 in any case.

    Raises:
        ArtifactError: The text fields or features are not those that the model was
            trained on.
    """
    _check(model, rows)
    model.eval()
    rank, world = rank_and_world()
    counts = rows.token_counts()
    batches = SortedBatches(counts, batch_size, TOKENS_AT_ONCE, rank=rank, world=world)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    found = []
    with torch.inference_mode(), half:
        for number, index in enumerate(batches):
            logits = model(rows.batch(np.asarray(index)))
            if number < batches.real:
                found.append((index, torch.softmax(logits.float(), dim=1).numpy()))
    out = np.full((len(rows), len(model.spec.classes)), np.nan, np.float32)
    for index, probabilities in chain.from_iterable(gathered(found)):
        out[index] = probabilities
    return out


def predict_in_ranks(
    model: Classifier,
    splits: Sequence[Rows],
    *,
    precision: Precision,
    training: TrainingConfig,
    logs: Path,
) -> list[np.ndarray]:
    """Probabilities of several splits, in as many processes as the model was trained in.

    Args:
        model: The model.
        splits: The rows of each split.
        precision: Arithmetic of the matrix products.
        training: Says how many processes there are on this machine, and whether the
            weights are split among them.
        logs: Folder of the log files of several processes.

    Raises:
        ArtifactError: The rows are not such as the model was trained on.
        TrainingError: A process failed.
    """
    ranks = replace(Ranks.of(training), nodes=1, rendezvous=None)
    if ranks.world == 1:
        return [predict_probabilities(model, r, precision=precision) for r in splits]
    for rows in splits:
        _check(model, rows)
    with scratch_folder() as folder:
        save_model(model, folder / "model")
        fsdp = training.fsdp if training.shards else None
        task = (_predict_in_rank, (folder / "model", splits, precision, fsdp))
        found: list[np.ndarray] = launch(task, ranks, logs, saves=False)
    return found


def _predict_in_rank(
    folder: Path, splits: Sequence[Rows], precision: Precision, fsdp: FsdpConfig | None
) -> list[np.ndarray]:
    model = load_model(folder)
    if fsdp is not None:
        # Here shards are in host memory anyway.
        fsdp = fsdp.model_copy(update={"cpu_offload": False})
        shard(model, init_device_mesh("cpu", (rank_and_world()[1],)), fsdp)
    return [predict_probabilities(model, rows, precision=precision) for rows in splits]


def _check(model: Classifier, rows: Rows) -> None:
    fields = tuple(field.name for field in model.spec.text)
    if rows.fields != fields:
        raise ArtifactError(
            f"The rows have the text fields {list(rows.fields)}, but the model reads "
            f"{list(fields)}. Open {rows.token_file.path} with the model's fields."
        )
    if model.spec.features and tuple(rows.feature_names) != model.spec.features:
        raise ArtifactError(
            f"{rows.feature_file.path} has the features {rows.feature_names}, but the "
            f"model was trained on {list(model.spec.features)}.",
            stages=("tabular", "train"),
        )
