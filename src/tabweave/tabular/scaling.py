"""Standardisation: every feature with mean 0 and standard deviation 1 over train."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tabweave.errors import ArtifactError
from tabweave.tabular.columns import Floats, Singles

# A spread below this share of the largest value is rounding noise, not information.
ROUNDING = 1e-12


def exact_mean(values: npt.NDArray[Any]) -> float:
    """The mean by an exactly rounded sum: it does not depend on the order of rows.

    Example:
        >>> exact_mean(np.array([1e16, 1.0, -1e16]))
        0.3333333333333333
    """
    return math.fsum(values.tolist()) / len(values)


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of one feature over train, in its own unit."""

    mean: float
    std: float

    def apply(self, values: npt.NDArray[Any]) -> Singles:
        """(value - mean) / std, computed in float64, given as float32 [rows]."""
        return ((values.astype(np.float64) - self.mean) / self.std).astype(np.float32)


@dataclass(frozen=True)
class Scaler:
    """The scaling of every feature that has one; 0/1 indicators have none."""

    features: dict[str, Scaling]

    def transform(self, features: Mapping[str, npt.NDArray[Any]]) -> dict[str, Singles]:
        """Scales every feature given.

        Raises:
            ArtifactError: A feature was not there when the scaler was fitted.
        """
        unknown = sorted(set(features) - set(self.features))
        if unknown:
            raise ArtifactError(
                f"The scaler was fitted without the features {unknown}.",
                stages=("tabular",),
            )
        return {
            name: self.features[name].apply(values) for name, values in features.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values: ``{"features": {name: {"mean": m, "std": s}}}``."""
        return {
            "features": {
                name: {"mean": scaling.mean, "std": scaling.std}
                for name, scaling in self.features.items()
            }
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scaler:
        """Inverse of `to_json`.

        Raises:
            ArtifactError: The value is not a scaler.
        """
        try:
            features = {
                name: Scaling(mean=float(found["mean"]), std=float(found["std"]))
                for name, found in value["features"].items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"The scaler is damaged ({error!r}).",
                stages=("tabular",),
            ) from error
        return cls(features)


def _scaling(values: Floats) -> Scaling:
    mean = exact_mean(values)
    std = math.sqrt(exact_mean(np.square(values - mean)))
    constant = std <= ROUNDING * float(np.abs(values).max())
    return Scaling(mean=mean, std=1.0 if constant else std)


def fit_scaler(features: Mapping[str, npt.NDArray[Any]]) -> Scaler:
    """Learns mean and (population) standard deviation of every feature given.

    A feature that does not vary gets the standard deviation 1, so it becomes 0.
    """
    return Scaler(
        {name: _scaling(values.astype(np.float64)) for name, values in features.items()}
    )
