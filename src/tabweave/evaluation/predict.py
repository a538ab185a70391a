"""Probabilities of every row of a split, in the order of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tabweave.batches import Rows
from tabweave.errors import ArtifactError
from tabweave.models.classifier import Classifier
from tabweave.sampling import TOKENS_AT_ONCE, SortedBatches

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

    Rows of similar length share a batch; a row's result does not depend on it.

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
    out = np.empty((len(rows), len(model.spec.classes)), np.float32)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.inference_mode(), half:
        for index in SortedBatches(rows.token_counts(), batch_size, TOKENS_AT_ONCE):
            batch = rows.batch(np.asarray(index))
            out[index] = torch.softmax(model(batch).float(), dim=1).numpy()
    return out


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
            f"model was trained on {list(model.spec.features)}. Re-run the tabular stage "
            "or train again."
        )
