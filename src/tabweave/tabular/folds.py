"""Folds that depend on a row's own id alone: not on order, shard or process."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import ConfigError
from tabweave.schema import DataSchema
from tabweave.tabular.columns import Codes, categories, texts
from tabweave.tabular.config import RiskSettings


def hashed_folds(keys: pa.ChunkedArray | pa.Array, folds: int, seed: int) -> Codes:
    """The fold [keys] of each text: its BLAKE2b hash, keyed by the seed, modulo folds.

    Example:
        >>> hashed_folds(pa.array(["a", "b", "c"]), folds=5, seed=0).tolist()
        [3, 3, 0]
    """
    key = seed.to_bytes(8, "little")
    digests = b"".join(
        blake2b(text, digest_size=8, key=key).digest()
        for text in keys.cast(pa.large_binary()).to_pylist()
    )
    return (np.frombuffer(digests, "<u8") % folds).astype(np.int64)


def assign_folds(table: pa.Table, schema: DataSchema, settings: RiskSettings) -> Codes:
    """The fold [rows] of every row, by its id, or by its group where one is named.

    A row whose group is missing belongs to nobody and is placed by its id.

    Raises:
        ConfigError: The group is a categorical feature or is not in the table.
    """
    if settings.cross_fit == 1:
        return np.zeros(table.num_rows, np.int64)
    ids = texts(table, schema.id)
    if settings.group is None:
        return hashed_folds(ids, settings.cross_fit, settings.seed)
    _check_group(settings.group, table, schema)
    codes, groups = categories(table, settings.group)
    folds = hashed_folds(groups, settings.cross_fit, settings.seed)[codes]
    alone = np.flatnonzero(pc.equal(groups, "").to_numpy(zero_copy_only=False)[codes])
    folds[alone] = hashed_folds(ids.take(alone), settings.cross_fit, settings.seed)
    return folds


def _check_group(group: str, table: pa.Table, schema: DataSchema) -> None:
    if group in schema.categorical:
        raise ConfigError(
            f"tabular.group names {group!r}, which is also under data.categorical. All "
            "rows of a group share one fold, so no fold could learn that group's risk "
            "from the others. Take it out of data.categorical, or name another group."
        )
    if group not in table.column_names:
        raise ConfigError(
            f"tabular.group names {group!r}, but the table has {table.column_names}. "
            "Name it under data.group, so that the load stage keeps it."
        )
