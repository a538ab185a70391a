"""A metric on the rows themselves and on resamples of them; intervals and paired tests.

The plain percentile bootstrap (Efron and Tibshirani 1993, chapter 13): the rows of the
split are drawn again with replacement, as another test set would be, so the shares of
the classes vary as well. A resample is a count per row. Each metric is worked out from
such counts for many resamples at once, after sorting the rows a single time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tabweave.errors import ArtifactError

Integers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
# Counts [resamples, rows] -> a metric [resamples], NaN where the counts define none.
OfCounts = Callable[[Integers], Values]

CELLS_PER_BATCH = 1 << 21


@dataclass(frozen=True)
class Resampling:
    """How rows are drawn again, and how sure an interval is.

    Attributes:
        samples: Resamples.
        level: Share of such intervals that should hold the true value.
        seed: Equal seeds give equal resamples, so that two models see the same.
    """

    samples: int = 1000
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Interval:
    """A metric, or the difference of two models' metrics, with its interval.

    Attributes:
        low: Lower end; None if no resample defines the metric.
        high: Upper end, likewise.
        estimate: Value on the rows themselves; None if they do not define it.
        p_value: Of a difference, two-sided; else None.
        samples: Resamples drawn.
        undefined: Resamples that did not define the metric and were left out.
    """

    low: float | None
    high: float | None
    estimate: float | None
    p_value: float | None = None
    samples: int = 0
    undefined: int = 0


class Statistic:
    """A metric of one model on some rows.

    Args:
        of_counts: Counts [resamples, rows] -> the metric [resamples], NaN where the
            counts define none.
        rows: Number of rows.
    """

    def __init__(self, of_counts: OfCounts, rows: int) -> None:
        self.of_counts, self.rows = of_counts, rows
        self._drawn: dict[tuple[int, int], Values] = {}

    @cached_property
    def value(self) -> float:
        """The metric on the rows themselves; NaN where they do not define it."""
        if self.rows == 0:
            return np.nan
        return float(self.of_counts(np.ones((1, self.rows), np.int64))[0])

    def drawn(self, samples: int, seed: int) -> Values:
        """The metric on every resample; NaN where it, or the value, is undefined."""
        if not np.isfinite(self.value):
            return np.full(samples, np.nan)
        if (samples, seed) not in self._drawn:
            self._drawn[samples, seed] = np.concatenate(
                [self.of_counts(counts) for counts in _counts(self.rows, samples, seed)]
            )
        return self._drawn[samples, seed]

    def interval(self, how: Resampling) -> Interval:
        """The percentile interval, stretched to hold the value where it does not."""
        return _interval(self.value, self.drawn(how.samples, how.seed), how.level)

    def difference(self, other: Statistic, how: Resampling) -> Interval:
        """The interval of this metric less another model's, on the same resamples.

        The p-value is twice the smaller share of resamples at or beyond 0, counted with
        one more on each side, so it is never below 2 / (samples + 1).

        Raises:
            ArtifactError: The other model answered another number of rows.
        """
        if self.rows != other.rows:
            raise ArtifactError(
                "Two models can only be compared on the same rows, but one answered "
                f"{self.rows} rows, the other {other.rows}."
            )
        estimate = self.value - other.value
        here, there = (model.drawn(how.samples, how.seed) for model in (self, other))
        drawn = here - there
        defined = drawn[np.isfinite(drawn)]
        p_value = None
        if np.isfinite(estimate):
            beyond = min((defined <= 0).sum(), (defined >= 0).sum())
            p_value = min(1.0, 2 * (1 + int(beyond)) / (1 + len(defined)))
        return _interval(estimate, drawn, how.level, p_value)


def _counts(rows: int, samples: int, seed: int) -> Iterator[Integers]:
    """How often each resample draws each row, a bounded number of cells at a time."""
    generator = np.random.default_rng(seed)
    step = max(1, CELLS_PER_BATCH // rows)
    for start in range(0, samples, step):
        number = min(step, samples - start)
        drawn = generator.integers(0, rows, (number, rows))
        drawn += np.arange(number)[:, None] * rows
        counts = np.bincount(drawn.ravel(), minlength=number * rows)
        yield counts.reshape(number, rows)


def _interval(
    estimate: float, drawn: Values, level: float, p_value: float | None = None
) -> Interval:
    defined = drawn[np.isfinite(drawn)]
    undefined = len(drawn) - len(defined)
    if not len(defined):
        value = estimate if np.isfinite(estimate) else None
        return Interval(None, None, value, None, len(drawn), undefined)
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(
        low=min(float(low), estimate),
        high=max(float(high), estimate),
        estimate=estimate,
        p_value=p_value,
        samples=len(drawn),
        undefined=undefined,
    )


def ratio(top: npt.NDArray[np.number], bottom: npt.NDArray[np.number]) -> Values:
    """`top` / `bottom`, NaN where `bottom` is 0."""
    undefined = np.full(np.broadcast(top, bottom).shape, np.nan)
    return np.divide(top, bottom, out=undefined, where=bottom != 0)
