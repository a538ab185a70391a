"""Nodes of the data loading stage."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tabweave.data_report import data_report, data_report_figure
from tabweave.schema import SPLITS, DataConfig, DataSchema, prediction_columns, typed
from tabweave.tables.headers import check_room_for
from tabweave.tables.loading import load_splits
from tabweave.tables.parted_tables import Source


@typed
def load_tables(
    train: Source, val: Source, test: Source, config: DataConfig
) -> tuple[pa.Table, pa.Table, pa.Table, DataSchema, dict[str, Any]]:
    """Typed tables of the three splits, their schema and the data report."""
    loaded = load_splits({"train": train, "val": val, "test": test}, config)
    # Here the names are known, and nothing has been trained in vain yet.
    check_room_for(prediction_columns(loaded.schema.classes), [val, test])
    train_table, val_table, test_table = (loaded.tables[split] for split in SPLITS)
    report = data_report(loaded.tables, loaded.schema, loaded.sources, loaded.notes)
    return train_table, val_table, test_table, loaded.schema, report


def plot_data_report(report: dict[str, Any]) -> Any:
    """The figure of the data report."""
    return data_report_figure(report)
