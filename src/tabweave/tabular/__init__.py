"""The table beside the text: imputation, risk tables and scaling, fitted on train."""

from tabweave.tabular.category_counts import CategoryCounts, count_categories
from tabweave.tabular.config import RiskSettings, TabularConfig
from tabweave.tabular.features import (
    FittedTabular,
    feature_names,
    fit_tabular,
    fit_train_scaler,
    train_features,
    transform_features,
)
from tabweave.tabular.imputation import Imputer, fit_imputer
from tabweave.tabular.leak_probe import probe_risk_features, tabular_report
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
    "FittedTabular",
    "Imputer",
    "PrecomputedFile",
    "RiskSettings",
    "RiskTables",
    "Scaler",
    "TabularConfig",
    "count_categories",
    "cross_fitted",
    "feature_names",
    "fit_imputer",
    "fit_risk_tables",
    "fit_scaler",
    "fit_tabular",
    "fit_train_scaler",
    "precomputed_imputer",
    "precomputed_risk_tables",
    "probe_risk_features",
    "read_precomputed",
    "select_columns",
    "tabular_report",
    "train_features",
    "transform_features",
]
