"""Nodes of the splitting stage."""

from __future__ import annotations

from typing import Any

from tabweave.schema import DataConfig, typed
from tabweave.splitting import Division, SplitConfig, divide
from tabweave.tables.parted_tables import Source


@typed
def split_source(
    source: Source, config: SplitConfig, data: DataConfig
) -> tuple[Division, dict[str, Any]]:
    """The split of every row of the file, and the report about them."""
    division = divide(source, data, config)
    return division, division.report
