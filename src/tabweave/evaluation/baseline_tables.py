"""Baselines on tables: what they read from ours, and their answers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.evaluation.baselines import Baseline, BaselineInputs, fit_baselines
from tabweave.evaluation.config import EvaluationConfig
from tabweave.preparation.features import MISSING, NUMBER
from tabweave.schema import DataSchema, probability_columns
from tabweave.statistics.ranking import Floats
from tabweave.statistics.resampling import Integers
from tabweave.tables.files import ArrowFile, TableFile

SPLITS = ("val", "test")


def baseline_inputs(
    table: TableFile,
    features: ArrowFile,
    schema: DataSchema,
) -> BaselineInputs:
    """One split as the baselines see it: the same rows and columns as the model's.

    All text columns are read, also by a model without text; of the categorical columns,
    those of the schema. `features` holds the numeric ones.
    """
    columns = table.read([*schema.text, *schema.categorical])
    scaled = features.open()
    names = [name for name in scaled.column_names if name.startswith((NUMBER, MISSING))]
    numeric = [scaled[name].to_numpy() for name in names]
    return BaselineInputs(
        texts=_joined(columns, schema.text),
        categorical={name: columns[name].to_pylist() for name in schema.categorical},
        numeric=np.stack(numeric, 1) if numeric else np.zeros((scaled.num_rows, 0)),
        labels=scaled["label"].to_numpy(),
    )


def _joined(table: pa.Table, names: Sequence[str]) -> list[str]:
    if not names:
        return [""] * table.num_rows
    joined = pc.binary_join_element_wise(*(table[name] for name in names), " ")
    return [str(text) for text in joined.to_pylist()]


def fit_baseline_tables(
    splits: dict[str, BaselineInputs],
    ids: dict[str, pa.ChunkedArray],
    schema: DataSchema,
    config: EvaluationConfig,
) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """Fits the baselines; their probabilities per split, and a report.

    The tables hold the id and one column ``<baseline>:<class>`` per baseline and class.
    """
    fitted: list[Baseline] = []
    if config.baselines:
        fitted = fit_baselines(
            splits["train"], splits["val"], splits["test"], schema, config
        )
    tables = {
        split: pa.table(
            {"id": ids[split]}
            | {
                f"{one.name}:{label}": pa.array(one.probabilities[split][:, index])
                for one in fitted
                for index, label in enumerate(schema.classes)
            }
        )
        for split in SPLITS
    }
    report = {
        one.name: {
            "train_rows": one.train_rows,
            "fitted_rows": one.fitted_rows,
            **one.details,
        }
        for one in fitted
    }
    return tables, report


def read_baselines(table: pa.Table, schema: DataSchema) -> dict[str, Floats]:
    """Baseline -> probabilities [rows, classes], from a table of the above."""
    # A label may hold colons; the name of a baseline holds none.
    split = [column.partition(":") for column in table.column_names]
    names = dict.fromkeys(name for name, colon, _ in split if colon)
    return {
        name: np.stack([table[f"{name}:{c}"].to_numpy() for c in schema.classes], 1)
        for name in names
    }


def read_predictions(table: pa.Table, schema: DataSchema) -> tuple[Floats, Integers]:
    """Probabilities [rows, classes] and labels [rows] of a prediction table."""
    names = probability_columns(schema.classes)
    probabilities = np.stack([table[name].to_numpy() for name in names], 1)
    labels = pc.index_in(table["label"], value_set=pa.array(schema.classes))
    return probabilities, labels.to_numpy().astype(np.int64)
