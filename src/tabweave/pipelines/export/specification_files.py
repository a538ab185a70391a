"""Nodes of the export stage that write the specification's files, for other tools."""

from __future__ import annotations

from typing import Any

from tabweave.models.config import ModelConfig
from tabweave.schema import DataConfig, DataSchema, typed
from tabweave.tables.files import TableFile
from tabweave.tabular import Imputer, RiskTables, TabularConfig
from tabweave.text import TextConfig
from tabweave.training.config import TrainingConfig


def write_maps(imputer: Imputer, risk_tables: RiskTables) -> tuple[dict[str, Any], ...]:
    """Means and risk tables in the specification's form, each for two files."""
    means = imputer.to_map()
    risks = risk_tables.to_map()
    return means, means, risks, risks


@typed
def write_artifacts(
    model: Any,
    tokenizers: dict[str, str],
    risk_tables: RiskTables,
    data: DataConfig,
    text: TextConfig,
    tabular: TabularConfig,
    architecture: ModelConfig,
    training: TrainingConfig,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The specification's files of the model: its weights, and what surrounds them."""
    from tabweave.export.compatibility import model_artifacts, model_weights

    names = ("data", "text", "tabular", "model", "training")
    groups = zip(names, (data, text, tabular, architecture, training), strict=True)
    return model_weights(model), model_artifacts(
        model,
        config={name: group.model_dump(mode="json") for name, group in groups},
        tokenizers=tokenizers,
        risk_tables=risk_tables,
    )


def write_results(predictions: TableFile, schema: DataSchema) -> dict[str, Any]:
    """The specification's predictions of test: labels and probabilities."""
    from tabweave.export.compatibility import predict_results

    return predict_results(predictions.read(), schema.classes)
