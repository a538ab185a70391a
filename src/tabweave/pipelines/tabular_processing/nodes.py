"""Nodes of the tabular processing stage: everything is fitted on train alone.

`selected`, `given` and the like are files of an upstream step; None where it is not used.
"""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa

from tabweave.schema import DataSchema
from tabweave.tables.files import ArrowFile, TableFile
from tabweave.tabular import (
    Imputer,
    PrecomputedFile,
    RiskTables,
    Scaler,
    TabularConfig,
    count_categories,
    fit_train_scaler,
    precomputed_imputer,
    precomputed_risk_tables,
    probe_risk_features,
    select_columns,
    tabular_report,
    train_features,
    transform_features,
)
from tabweave.tabular import (
    fit_imputer as fit_imputer_on,
)
from tabweave.tabular import (
    fit_risk_tables as fit_risk_tables_on,
)

logger = logging.getLogger(__name__)


def _roles(schema: dict[str, Any], selected: PrecomputedFile | None) -> DataSchema:
    return select_columns(DataSchema(**schema), selected)


def _read(table: TableFile, schema: DataSchema, *more: str | None) -> pa.Table:
    """The columns that this stage needs; texts stay on the disk."""
    names = [schema.id, schema.label, *schema.categorical, *schema.numeric]
    there = table.column_names
    extra = [name for name in more if name in there and name not in names]
    return table.read([*names, *extra])


def fit_imputer(
    train: TableFile,
    schema: dict[str, Any],
    selected: PrecomputedFile | None,
    given: PrecomputedFile | None,
    config: TabularConfig,
) -> dict[str, Any]:
    """What replaces a missing number, per column."""
    roles = _roles(schema, selected)
    table = _read(train, roles)
    if given is None:
        return fit_imputer_on(table, roles, config).to_json()
    indicators = config.missing_indicators
    return precomputed_imputer(given, table, roles, indicators).to_json()


def fit_risk_tables(
    train: TableFile,
    schema: dict[str, Any],
    selected: PrecomputedFile | None,
    given: PrecomputedFile | None,
    config: TabularConfig,
) -> dict[str, Any]:
    """The smoothed mean of the target per category and column."""
    roles = _roles(schema, selected)
    risk = config.risk_of(roles)
    table = _read(train, roles, risk.group)
    if given is not None:
        return precomputed_risk_tables(given, table, roles).to_json()
    counts = count_categories(table.to_batches(), roles)
    return fit_risk_tables_on(counts, roles, risk).to_json()


def fit_scaler(
    train: TableFile,
    schema: dict[str, Any],
    selected: PrecomputedFile | None,
    imputer: dict[str, Any],
    risk_tables: dict[str, Any],
) -> dict[str, Any]:
    """Mean and deviation of every feature over the train rows that a model will see."""
    roles, risks = _roles(schema, selected), RiskTables.from_json(risk_tables)
    table = _read(train, roles, risks.group)
    return fit_train_scaler(table, roles, Imputer.from_json(imputer), risks).to_json()


def transform_splits(
    train: TableFile,
    val: TableFile,
    test: TableFile,
    schema: dict[str, Any],
    selected: PrecomputedFile | None,
    imputer: dict[str, Any],
    risk_tables: dict[str, Any],
    scaler: dict[str, Any],
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Features of all splits; those of train are cross-fitted where we fitted."""
    roles, risks = _roles(schema, selected), RiskTables.from_json(risk_tables)
    fitted = (Imputer.from_json(imputer), risks, Scaler.from_json(scaler))
    return (
        train_features(_read(train, roles, risks.group), roles, *fitted),
        transform_features(_read(val, roles), roles, *fitted),
        transform_features(_read(test, roles), roles, *fitted),
    )


def report_tabular(
    train: ArrowFile,
    val: ArrowFile,
    schema: dict[str, Any],
    selected: PrecomputedFile | None,
    impute_dict: PrecomputedFile | None,
    risk_table_map: PrecomputedFile | None,
    imputer: dict[str, Any],
    risk_tables: dict[str, Any],
) -> dict[str, Any]:
    """Where the fitted parts came from, and whether train features know their labels."""
    roles, risks = _roles(schema, selected), RiskTables.from_json(risk_tables)
    probes = probe_risk_features(train.open(), val.open(), roles, risks)
    files = [selected, impute_dict, risk_table_map]
    report = tabular_report(probes, roles, Imputer.from_json(imputer), risks, files)
    warnings = [f for f in report["findings"] if f["severity"] == "warning"]
    if warnings:
        first = warnings[0]
        logger.warning(
            "tabular: %s (%d warnings in tabular_report)",
            first["message"],
            len(warnings),
        )
    return report
