"""Nodes of the tabular processing stage: everything is fitted on train alone.

`selected`, `given` and the like are files of an upstream step; None where it is not used.
"""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa

from tabweave.preparation.features import (
    feature_sources,
    fit_train_scaler,
    probe_risk_features,
    train_features,
    transform_features,
)
from tabweave.schema import DataSchema, typed
from tabweave.tables.files import ArrowFile, TableFile
from tabweave.tabular import (
    Imputer,
    PrecomputedFile,
    RiskTables,
    Scaler,
    TabularConfig,
    count_categories,
    precomputed_imputer,
    precomputed_risk_tables,
    select_columns,
    tabular_report,
)
from tabweave.tabular import (
    fit_imputer as fit_imputer_on,
)
from tabweave.tabular import (
    fit_risk_tables as fit_risk_tables_on,
)

logger = logging.getLogger(__name__)


def _read(table: TableFile, schema: DataSchema, *more: str | None) -> pa.Table:
    """The columns that this stage needs; texts stay on the disk."""
    names = [schema.id, schema.label, *schema.categorical, *schema.numeric]
    there = table.column_names
    extra = [name for name in more if name in there and name not in names]
    return table.read([*names, *extra])


def select_table_columns(
    schema: DataSchema, selected: PrecomputedFile | None
) -> DataSchema:
    """The schema with the columns that an upstream step has selected, or all of them."""
    return select_columns(schema, selected)


@typed
def fit_imputer(
    train: TableFile,
    schema: DataSchema,
    given: PrecomputedFile | None,
    config: TabularConfig,
) -> Imputer:
    """What replaces a missing number, per column."""
    table = _read(train, schema)
    if given is None:
        return fit_imputer_on(table, schema, config)
    indicators = config.missing_indicators
    return precomputed_imputer(given, table, schema, indicators)


@typed
def fit_risk_tables(
    train: TableFile,
    schema: DataSchema,
    given: PrecomputedFile | None,
    config: TabularConfig,
) -> RiskTables:
    """The smoothed mean of the target per category and column."""
    risk = config.risk_of(schema)
    table = _read(train, schema, risk.group)
    if given is not None:
        return precomputed_risk_tables(given, table, schema)
    counts = count_categories(table.to_batches(), schema)
    return fit_risk_tables_on(counts, schema, risk)


def fit_scaler(
    train: TableFile,
    schema: DataSchema,
    imputer: Imputer,
    risk_tables: RiskTables,
) -> Scaler:
    """Mean and deviation of every feature over the train rows that a model will see."""
    table = _read(train, schema, risk_tables.group)
    return fit_train_scaler(table, schema, imputer, risk_tables)


def transform_splits(
    train: TableFile,
    val: TableFile,
    test: TableFile,
    schema: DataSchema,
    imputer: Imputer,
    risk_tables: RiskTables,
    scaler: Scaler,
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Features of all splits; those of train are cross-fitted where we fitted."""
    fitted = (imputer, risk_tables, scaler)
    return (
        train_features(_read(train, schema, risk_tables.group), schema, *fitted),
        transform_features(_read(val, schema), schema, *fitted),
        transform_features(_read(test, schema), schema, *fitted),
    )


def report_tabular(
    train: ArrowFile,
    val: ArrowFile,
    schema: DataSchema,
    selected: PrecomputedFile | None,
    impute_dict: PrecomputedFile | None,
    risk_table_map: PrecomputedFile | None,
    imputer: Imputer,
    risk_tables: RiskTables,
) -> dict[str, Any]:
    """Where the fitted parts came from, and whether train features know their labels."""
    sources = feature_sources(schema, imputer, risk_tables)
    probes = probe_risk_features(train.open(), val.open(), sources, schema)
    files = [selected, impute_dict, risk_table_map]
    report = tabular_report(probes, schema, imputer, risk_tables, files)
    warnings = [f for f in report["findings"] if f["severity"] == "warning"]
    if warnings:
        first = warnings[0]
        logger.warning(
            "tabular: %s (%d warnings in tabular_report)",
            first["message"],
            len(warnings),
        )
    return report
