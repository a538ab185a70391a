"""Parameter group ``evaluation``: what is computed and how sure the report is of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tabweave.schema import Parameters, contradiction
from tabweave.statistics.classification import METRICS, MetricName

Precision = Literal["fp32", "bf16"]
DECISIVE = ("val/loss", *(f"val/{name}" for name in METRICS))
"""What may pick the best checkpoint, beside ``val/average_precision/<class>``."""


def is_decisive(metric: str) -> bool:
    """Whether a validation logs a metric of this name."""
    return metric in DECISIVE or metric.startswith("val/average_precision/")


def validation_metrics(classes: Sequence[str]) -> tuple[str, ...]:
    """Every metric that a validation logs."""
    return (*DECISIVE, *(f"val/average_precision/{label}" for label in classes))


class EvaluationConfig(Parameters):
    """Which metrics are computed, against which baselines, with which intervals."""

    metrics: tuple[MetricName, ...] = Field(METRICS, min_length=1)
    """Metrics to compute; average precision per class is always computed."""
    precision: Precision = "fp32"
    """Arithmetic of the predictions; bf16 is faster and moves the third digit."""
    baselines: bool = True
    """Whether simple baselines are fitted on the same rows and reported beside."""
    baseline_max_rows: PositiveInt = 50_000
    """Most train rows, in rows, that a baseline is fitted on; more are sampled."""
    bootstrap_samples: PositiveInt = 1000
    """Resamples of the rows behind every interval."""
    confidence_level: float = Field(0.95, gt=0, lt=1)
    """Share of intervals that should hold the true value, as a fraction."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the resamples and of the baselines' samples."""

    @model_validator(mode="after")
    def _metrics_are_distinct(self) -> Self:
        repeated = sorted({m for m in self.metrics if self.metrics.count(m) > 1})
        if repeated:
            raise contradiction(
                f"metrics {repeated} are named twice; name each one once", "metrics"
            )
        return self
