"""Nodes of the fabrication stage."""

from __future__ import annotations

import pyarrow as pa

from tabweave.fabrication import FabricationConfig, fabricate_split
from tabweave.schema import SPLITS, typed


@typed
def fabricate_splits(config: FabricationConfig) -> tuple[pa.Table, ...]:
    """Seeded marketplace threads for all three splits."""
    return tuple(fabricate_split(config, split) for split in SPLITS)
