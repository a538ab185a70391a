"""The table beside the text: imputation, risk tables and scaling, fitted on train."""

from tabweave.tabular.category_counts import CategoryCounts, count_categories
from tabweave.tabular.config import RiskSettings, TabularConfig
from tabweave.tabular.imputation import Imputer, fit_imputer
from tabweave.tabular.leak_probe import tabular_report
from tabweave.tabular.precomputed import (
    precomputed_imputer,
    precomputed_risk_tables,
    select_columns,
)
from tabweave.tabular.precomputed_files import PrecomputedFile, read_precomputed
from tabweave.tabular.risk_table import RiskTables, cross_fitted, fit_risk_tables
from tabweave.tabular.scaling import Scaler, fit_scaler

__all__ = [
    "CategoryCounts",
    "Imputer",
    "PrecomputedFile",
    "RiskSettings",
    "RiskTables",
    "Scaler",
    "TabularConfig",
    "count_categories",
    "cross_fitted",
    "fit_imputer",
    "fit_risk_tables",
    "fit_scaler",
    "precomputed_imputer",
    "precomputed_risk_tables",
    "read_precomputed",
    "select_columns",
    "tabular_report",
]
