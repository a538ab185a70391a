"""Before a training begins: does the model keep the rows of a batch apart?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from tabweave.batching.batches import Rows
from tabweave.models.classifier import Classifier
from tabweave.models.encoders.attention import check_rows_are_independent
from tabweave.training.device import training_device

LEAK_CHECK_ROWS = 4


def check_for_leaks(model: Classifier, rows: Rows, half: torch.dtype | None) -> None:
    """Asks whether a row's logits depend on the other rows of its batch.

    It asks where training computes; on CUDA with the kernels of its precision.

    Args:
        model: The model.
        rows: Rows of the train split.
        half: Half precision of the training, or None.

    Raises:
        TrainingError: They do.
    """
    if not model.text:
        return
    few = rows.batch(leak_check_rows(rows))
    device = training_device()
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
