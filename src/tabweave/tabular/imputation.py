"""What a missing number becomes: one value per column, learned from train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tabweave.errors import ArtifactError, ConfigError, did_you_mean
from tabweave.schema import DataSchema
from tabweave.tabular.columns import Singles, numbers
from tabweave.tabular.config import Indicators, Strategy, TabularConfig
from tabweave.tabular.scaling import exact_mean


@dataclass(frozen=True)
class ColumnImputation:
    """What one column's missing numbers become.

    Attributes:
        strategy: How `value` was found; "precomputed" came from an upstream step.
        value: The number filled in, in the unit of the column.
        missing_indicator: Whether the column has a 0/1 feature 'was missing'.
        missing: Rows of train without a number.
        observed: Rows of train with a number; 0 means that nothing could be learned.
    """

    strategy: Strategy | Literal["precomputed"]
    value: float
    missing_indicator: bool
    missing: int
    observed: int


@dataclass(frozen=True)
class Imputed:
    """Columns without gaps, and where the gaps were; float32 [rows] each."""

    values: dict[str, Singles]
    indicators: dict[str, Singles]


@dataclass(frozen=True)
class Imputer:
    """The imputation of every numeric column, as fitted on train."""

    columns: dict[str, ColumnImputation]

    def transform(self, table: pa.Table) -> Imputed:
        """Fills the gaps of the fitted columns; indicators only where fitted.

        Raises:
            SchemaError: A fitted column is absent or not numeric.
        """
        values: dict[str, Singles] = {}
        indicators: dict[str, Singles] = {}
        for name, column in self.columns.items():
            found = numbers(table, name)
            gaps = np.isnan(found)
            values[name] = np.where(gaps, np.float32(column.value), found)
            if column.missing_indicator:
                indicators[name] = gaps.astype(np.float32)
        return Imputed(values, indicators)

    def to_map(self) -> dict[str, float]:
        """The interchange form, ``impute_dict``: column -> value."""
        return {name: column.value for name, column in self.columns.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values, one entry per column under ``columns``."""
        return {"columns": {name: asdict(c) for name, c in self.columns.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Imputer:
        """Inverse of `to_json`.

        Raises:
            ArtifactError: The value is not an imputer.
        """
        try:
            columns = {
                name: ColumnImputation(**found)
                for name, found in value["columns"].items()
            }
        except (AttributeError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"The imputer is damaged ({error!r}).",
                stages=("tabular",),
            ) from error
        return cls(columns)


def _mode(observed: Singles) -> float:
    """The most frequent number; the smallest of several."""
    values, counts = np.unique(observed, return_counts=True)
    return float(values[counts.argmax()])


def _fill_value(observed: Singles, strategy: Strategy, constant: float) -> float:
    if strategy == "constant":
        return constant
    if len(observed) == 0:
        return 0.0
    if strategy == "mean":
        return exact_mean(observed)
    if strategy == "median":
        return float(np.median(observed.astype(np.float64)))
    return _mode(observed)


def fit_imputer(table: pa.Table, schema: DataSchema, config: TabularConfig) -> Imputer:
    """Learns from train what the missing numbers of every numeric column become.

    A column without any number gets the value 0 (or the configured constant) and
    ``observed`` 0. The result does not depend on the order of the rows.

    Raises:
        ConfigError: `imputation_by_column` names a column that is not numeric.
        SchemaError: A numeric column is absent from `table`.
    """
    _check_columns(schema, config)
    columns = {}
    for name in schema.numeric:
        found = numbers(table, name)
        strategy = config.imputation_by_column.get(name, config.imputation)
        observed = found[~np.isnan(found)]
        value = _fill_value(observed, strategy, config.imputation_constant)
        columns[name] = describe(found, strategy, value, config.missing_indicators)
    return Imputer(columns)


def describe(
    found: Singles,
    strategy: Strategy | Literal["precomputed"],
    value: float,
    indicators: Indicators,
) -> ColumnImputation:
    """The imputation of a column by `value`, with what train [rows] says about gaps."""
    missing = int(np.isnan(found).sum())
    return ColumnImputation(
        strategy=strategy,
        value=value,
        missing_indicator=indicators == "always"
        or (indicators == "auto" and missing > 0),
        missing=missing,
        observed=len(found) - missing,
    )


def _check_columns(schema: DataSchema, config: TabularConfig) -> None:
    for name in config.imputation_by_column:
        if name not in schema.numeric:
            raise ConfigError(
                f"tabular.imputation_by_column names {name!r}, which is not a numeric "
                f"column in use.{did_you_mean(name, schema.numeric)} Numeric columns are "
                f"{list(schema.numeric)}."
            )
