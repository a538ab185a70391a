"""Typed tables -> imputer, risk tables, scaler and features."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.tabular_processing.nodes import (
    fit_imputer,
    fit_risk_tables,
    fit_scaler,
    report_tabular,
    select_table_columns,
    transform_splits,
)


def create_pipeline() -> Pipeline:
    """The tabular stage."""
    fitted = ["imputer", "risk_tables"]
    return Pipeline(
        [
            Node(
                select_table_columns,
                inputs=["schema", "selected_features.raw"],
                outputs="selected_schema",
                name="select_table_columns",
            ),
            Node(
                fit_imputer,
                inputs=[
                    "train.table",
                    "selected_schema",
                    "impute_dict.raw",
                    "params:tabular",
                ],
                outputs="imputer",
                name="fit_imputer",
            ),
            Node(
                fit_risk_tables,
                inputs=[
                    "train.table",
                    "selected_schema",
                    "risk_table_map.raw",
                    "params:tabular",
                ],
                outputs="risk_tables",
                name="fit_risk_tables",
            ),
            Node(
                fit_scaler,
                inputs=["train.table", "selected_schema", *fitted],
                outputs="scaler",
                name="fit_scaler",
            ),
            Node(
                transform_splits,
                inputs=[
                    "train.table",
                    "val.table",
                    "test.table",
                    "selected_schema",
                    *fitted,
                    "scaler",
                ],
                outputs=["train.features", "val.features", "test.features"],
                name="transform_splits",
            ),
            Node(
                report_tabular,
                inputs=[
                    "train.features",
                    "val.features",
                    "selected_schema",
                    "selected_features.raw",
                    "impute_dict.raw",
                    "risk_table_map.raw",
                    *fitted,
                ],
                outputs="tabular_report",
                name="report_tabular",
            ),
        ],
        tags="tabular",
    )
