"""Nodes of the data loading stage."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tabweave.loading import load_splits
from tabweave.schema import SPLITS, DataConfig
from tabweave.tables import RawTable


def load_tables(
    train: RawTable, val: RawTable, test: RawTable, config: DataConfig
) -> tuple[pa.Table, pa.Table, pa.Table, dict[str, Any], dict[str, Any]]:
    """Typed tables of the three splits, their schema and the data report."""
    loaded = load_splits({"train": train, "val": val, "test": test}, config)
    train_table, val_table, test_table = (loaded.tables[split] for split in SPLITS)
    schema = loaded.schema.model_dump(mode="json")
    return train_table, val_table, test_table, schema, loaded.report
