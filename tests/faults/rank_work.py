"""What several processes do in tests; they import this module by its name."""

from __future__ import annotations

from typing import Any

import numpy as np

from tabweave.evaluation.predict import _predict_in_rank
from tabweave.training.fitting import Outcome, fit_in_rank


def fit_every(plans: dict[str, Any]) -> dict[str, Outcome | None]:
    """One training after the other in processes that have met."""
    return {name: fit_in_rank(plan) for name, plan in plans.items()}


def predict_every(cases: list[Any]) -> list[list[np.ndarray]]:
    """One prediction after the other in processes that have met."""
    return [_predict_in_rank(*case) for case in cases]
