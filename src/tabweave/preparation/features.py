"""From a typed table to the numbers that a model reads, one row each.

Two functions, on purpose: `train_features` for the rows that everything was fitted on
(cross-fitted risk values), `transform_features` for all other rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from tabweave.errors import ArtifactError, SchemaError
from tabweave.schema import DataSchema
from tabweave.tabular.category_counts import count_categories
from tabweave.tabular.columns import Floats, Singles, class_indices, texts
from tabweave.tabular.config import TabularConfig
from tabweave.tabular.imputation import Imputed, Imputer, fit_imputer
from tabweave.tabular.leak_probe import Probe, probe_feature
from tabweave.tabular.risk_table import (
    RiskTables,
    cross_fitted,
    fit_risk_tables,
    target_indices,
)
from tabweave.tabular.scaling import Scaler, fit_scaler

NUMBER, RISK, MISSING = "num:", "cat:", "missing:"
"""How the names of features begin; a column, and perhaps a class, follows."""


@dataclass(frozen=True)
class Source:
    """Where a feature comes from.

    Attributes:
        column: The raw column.
        kind: The feature is its number, its risk value, or whether it is missing.
        target: Position of the risk value among the values of a category.
    """

    column: str
    kind: Literal["number", "risk", "missing"]
    target: int = 0


@dataclass(frozen=True)
class FittedTabular:
    """All that is learned from the table of train."""

    imputer: Imputer
    risk_tables: RiskTables
    scaler: Scaler


def fit_tabular(
    train: pa.Table, schema: DataSchema, config: TabularConfig
) -> FittedTabular:
    """Fits imputation, risk tables and scaling on train.

    Raises:
        SchemaError: A column is absent or of a wrong type, or a label is not a class.
        ConfigError: The configuration names a column that does not fit.
    """
    imputer = fit_imputer(train, schema, config)
    counts = count_categories(train.to_batches(), schema)
    risk_tables = fit_risk_tables(counts, schema, config.risk)
    scaler = fit_train_scaler(train, schema, imputer, risk_tables)
    return FittedTabular(imputer, risk_tables, scaler)


def fit_train_scaler(
    train: pa.Table, schema: DataSchema, imputer: Imputer, risk_tables: RiskTables
) -> Scaler:
    """Fits the scaling on what a model will be trained on: cross-fitted train rows.

    Raises:
        SchemaError: `train` is not the table that `risk_tables` was fitted on, or two
            features would have one name.
    """
    feature_sources(schema, imputer, risk_tables)  # refuses what would overwrite
    values = cross_fitted(train, schema, risk_tables)
    numeric = _numeric(imputer.transform(train))
    return fit_scaler(numeric | _categorical(values, risk_tables))


def train_features(
    train: pa.Table,
    schema: DataSchema,
    imputer: Imputer,
    risk_tables: RiskTables,
    scaler: Scaler,
) -> pa.Table:
    """The features of train itself: no row's risk values know the row's own label.

    With pre-computed risk tables that cannot be had: nobody knows which rows they were
    made from. The columns are those of `transform_features`.

    Raises:
        SchemaError: `train` is not the table that `risk_tables` was fitted on.
    """
    values = cross_fitted(train, schema, risk_tables)
    return _assemble(train, schema, FittedTabular(imputer, risk_tables, scaler), values)


def transform_features(
    table: pa.Table,
    schema: DataSchema,
    imputer: Imputer,
    risk_tables: RiskTables,
    scaler: Scaler,
) -> pa.Table:
    """The features of rows that nothing was fitted on, such as val and test.

    Never for train: `train_features` is. The columns are ``id`` (text), ``label``
    (int64, position among the classes), then float32 ``num:<c>``, ``cat:<c>`` (two
    classes) or ``cat:<c>:<class>`` (more), all scaled, and ``missing:<c>`` (0 or 1).

    Raises:
        SchemaError: A column is absent or of a wrong type, or a label is not a class.
    """
    values = risk_tables.transform(table)
    return _assemble(table, schema, FittedTabular(imputer, risk_tables, scaler), values)


def feature_sources(
    schema: DataSchema, imputer: Imputer, risk_tables: RiskTables
) -> dict[str, Source]:
    """Where every feature column comes from, in their order: num, cat, missing.

    Raises:
        SchemaError: Two features would have one name.
        ArtifactError: The fitted parts are about other columns than the schema.
    """
    _check_fitted("imputer", imputer.columns, schema.numeric)
    _check_fitted("risk tables", risk_tables.columns, schema.categorical)
    found = [(number_name(name), Source(name, "number")) for name in schema.numeric]
    for name in schema.categorical:
        risks = enumerate(_risk_names(name, risk_tables))
        found += [(feature, Source(name, "risk", place)) for place, feature in risks]
    found += [
        (f"{MISSING}{name}", Source(name, "missing"))
        for name in schema.numeric
        if imputer.columns[name].missing_indicator
    ]
    names = [name for name, _ in found]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SchemaError(
            f"Features {repeated} would appear twice: a column's name followed by ':' "
            "and a class reads like another column's. Rename one of the columns."
        )
    return dict(found)


def number_name(column: str) -> str:
    """Name of the feature that is the number of a column."""
    return f"{NUMBER}{column}"


def probe_risk_features(
    train: pa.Table, val: pa.Table, sources: Mapping[str, Source], schema: DataSchema
) -> dict[str, Probe]:
    """Every risk feature of the feature tables, judged alone."""
    targets = target_indices(schema)
    return {
        name: probe_feature(train, val, name, targets[source.target])
        for name, source in sources.items()
        if source.kind == "risk"
    }


def _check_fitted(
    part: str, fitted: Mapping[str, object], wanted: tuple[str, ...]
) -> None:
    if set(fitted) != set(wanted):
        raise ArtifactError(
            f"The {part} know the columns {sorted(fitted)}, but the schema has "
            f"{sorted(wanted)}.",
            stages=("tabular",),
        )


def _risk_names(column: str, risk_tables: RiskTables) -> list[str]:
    if len(risk_tables.targets) == 1:
        return [f"{RISK}{column}"]
    return [f"{RISK}{column}:{target}" for target in risk_tables.targets]


def _numeric(imputed: Imputed) -> dict[str, Singles | Floats]:
    return {number_name(name): values for name, values in imputed.values.items()}


def _categorical(
    values: dict[str, Floats], risk_tables: RiskTables
) -> dict[str, Singles | Floats]:
    return {
        feature: values[column][:, i]
        for column in values
        for i, feature in enumerate(_risk_names(column, risk_tables))
    }


def _assemble(
    table: pa.Table,
    schema: DataSchema,
    fitted: FittedTabular,
    risk_values: dict[str, Floats],
) -> pa.Table:
    names = feature_sources(schema, fitted.imputer, fitted.risk_tables)
    imputed = fitted.imputer.transform(table)
    risks = _categorical(risk_values, fitted.risk_tables)
    columns = fitted.scaler.transform(_numeric(imputed) | risks)
    columns |= {f"{MISSING}{name}": gaps for name, gaps in imputed.indicators.items()}
    return pa.table(
        {
            "id": texts(table, schema.id).cast(pa.string()),
            "label": pa.array(class_indices(table, schema), pa.int64()),
        }
        | {name: pa.array(columns[name], pa.float32()) for name in names}
    )
