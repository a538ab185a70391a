"""Nodes of the tabular processing stage: everything is fitted on train alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tabweave.schema import DataSchema
from tabweave.tables import TableFile
from tabweave.tabular import (
    Imputer,
    RiskTables,
    Scaler,
    TabularConfig,
    count_categories,
    fit_train_scaler,
    train_features,
    transform_features,
)
from tabweave.tabular import (
    fit_imputer as fit_imputer_on,
)
from tabweave.tabular import (
    fit_risk_tables as fit_risk_tables_on,
)


def _read(table: TableFile, schema: DataSchema, *more: str | None) -> pa.Table:
    """The columns that this stage needs; texts stay on the disk."""
    names = [schema.id, schema.label, *schema.categorical, *schema.numeric]
    extra = [name for name in more if name is not None and name not in names]
    return table.read([*names, *extra])


def fit_imputer(
    train: TableFile, schema: dict[str, Any], config: TabularConfig
) -> dict[str, Any]:
    """What replaces a missing number, per column."""
    roles = DataSchema(**schema)
    return fit_imputer_on(_read(train, roles), roles, config).to_json()


def fit_risk_tables(
    train: TableFile, schema: dict[str, Any], config: TabularConfig
) -> dict[str, Any]:
    """The smoothed mean of the target per category and column."""
    roles = DataSchema(**schema)
    table = _read(train, roles, config.group)
    counts = count_categories(table.to_batches(), roles)
    return fit_risk_tables_on(counts, roles, config.risk).to_json()


def fit_scaler(
    train: TableFile,
    schema: dict[str, Any],
    imputer: dict[str, Any],
    risk_tables: dict[str, Any],
) -> dict[str, Any]:
    """Mean and deviation of every feature over the cross-fitted train rows."""
    roles, risks = DataSchema(**schema), RiskTables.from_json(risk_tables)
    table = _read(train, roles, risks.settings.group)
    return fit_train_scaler(table, roles, Imputer.from_json(imputer), risks).to_json()


def transform_splits(
    train: TableFile,
    val: TableFile,
    test: TableFile,
    schema: dict[str, Any],
    imputer: dict[str, Any],
    risk_tables: dict[str, Any],
    scaler: dict[str, Any],
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Features of all splits; those of train are cross-fitted."""
    roles, risks = DataSchema(**schema), RiskTables.from_json(risk_tables)
    fitted = (Imputer.from_json(imputer), risks, Scaler.from_json(scaler))
    return (
        train_features(_read(train, roles, risks.settings.group), roles, *fitted),
        transform_features(_read(val, roles), roles, *fitted),
        transform_features(_read(test, roles), roles, *fitted),
    )
