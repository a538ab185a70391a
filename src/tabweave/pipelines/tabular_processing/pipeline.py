"""Typed tables -> imputer, risk tables, scaler and features."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.tabular_processing.nodes import (
    fit_imputer,
    fit_risk_tables,
    fit_scaler,
    transform_splits,
)


def create_pipeline() -> Pipeline:
    """The tabular stage."""
    fitted = ["imputer", "risk_tables"]
    return Pipeline(
        [
            Node(
                fit_imputer,
                inputs=["train.table", "schema", "params:tabular"],
                outputs="imputer",
                name="fit_imputer",
            ),
            Node(
                fit_risk_tables,
                inputs=["train.table", "schema", "params:tabular"],
                outputs="risk_tables",
                name="fit_risk_tables",
            ),
            Node(
                fit_scaler,
                inputs=["train.table", "schema", *fitted],
                outputs="scaler",
                name="fit_scaler",
            ),
            Node(
                transform_splits,
                inputs=[
                    "train.table",
                    "val.table",
                    "test.table",
                    "schema",
                    *fitted,
                    "scaler",
                ],
                outputs=["train.features", "val.features", "test.features"],
                name="transform_splits",
            ),
        ],
        tags="tabular",
    )
