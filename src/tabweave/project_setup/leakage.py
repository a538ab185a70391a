"""Says of a proposed column that it gives the label away."""

from __future__ import annotations

import numpy as np

from tabweave.data_report.leakage import LEAK_AUROC, strongest_separation
from tabweave.errors import shorten
from tabweave.project_setup.columns import SampledColumn


def leakage_doubt(column: SampledColumn, label: SampledColumn) -> str:
    """A sentence for a column that alone tells one class from the rest, else ""."""
    labels = label.cells.dictionary_encode()
    found = strongest_separation(
        np.asarray(column.cells.dictionary_encode().indices),
        column.numbers,
        np.asarray(labels.indices),
        len(labels.dictionary),
    )
    if found is None or found.auroc <= LEAK_AUROC:
        return ""
    return (
        f"alone it tells label {shorten(labels.dictionary[found.label].as_py())} from "
        f"the rest (AUROC {found.auroc:.3f} on the sample). Is it known when a prediction "
        "is made? If not, remove it."
    )
