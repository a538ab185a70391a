"""Rows with equal or nearly equal texts, and rows of two splits with one id."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tabweave.data_report.summaries import cut
from tabweave.schema import DataSchema
from tabweave.splitting.assignment import hash_keys
from tabweave.splitting.duplicates import duplicate_units, row_texts

NEAR = 0.9
"""Jaccard similarity of the shingles of nearly equal texts."""
SAMPLED_ROWS = 50_000
"""Rows of all splits that are compared for nearly equal texts, drawn at random."""
SAMPLED_CHARACTERS = 10_000_000
"""Characters, about, of the texts that are compared."""
SEED = 0
EXAMPLES = 3
"""Ids that are named at most."""
# Odd, so that it keeps all bits: the golden ratio as a fraction of 2^64.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

Keys = npt.NDArray[Any]


def shared_ids(
    tables: Mapping[str, pa.Table], schema: DataSchema
) -> list[dict[str, Any]]:
    """Rows of a split whose id an earlier split has, per pair, with a few of the ids."""
    from pyarrow.compute import is_in

    found = []
    for earlier, later in combinations(tables, 2):
        known, ids = tables[earlier][schema.id], tables[later][schema.id]
        shared = ids.filter(is_in(ids, value_set=known.combine_chunks()))
        examples = [cut(value) for value in shared[:EXAMPLES].to_pylist()]
        counted = _rows(len(shared), len(ids))
        found.append({"split": later, "of": earlier, **counted, "examples": examples})
    return found


def duplicate_texts(
    tables: Mapping[str, pa.Table], schema: DataSchema
) -> dict[str, Any]:
    """Exact and near duplicates among the texts of all splits.

    The text of a row is that of all text columns. Rows without any text are left out.
    Within a split, a row counts when an earlier row has its text; between two splits, a
    row of the later one counts when the earlier one has its text. Near duplicates are
    those of `tabweave.splitting.duplicates`, exact ones among them.
    """
    if not schema.text:
        return {}
    present = {split: _present(table, schema) for split, table in tables.items()}
    keys = {
        split: _exact_keys(table, schema)[present[split]]
        for split, table in tables.items()
    }
    exact = _counted(keys)
    for entry in exact["across"]:
        entry["examples"] = _examples(entry, keys, tables, present, schema)
    rows = _sample(tables, present, schema)
    near = _counted(_near_keys(tables, rows, schema))
    compared = {split: len(chosen) for split, chosen in rows.items()}
    sampled = sum(compared.values()) < sum(map(len, present.values()))
    about = {"similarity": NEAR, "compared_rows": compared, "sampled": sampled}
    return {"exact": exact, "near": {**about, **near}}


def _present(table: pa.Table, schema: DataSchema) -> npt.NDArray[np.int64]:
    """Rows that have a text."""
    there = np.zeros(table.num_rows, bool)
    for name in schema.text:
        there |= _lengths(table[name]) > 0
    return np.flatnonzero(there)


def _lengths(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    from pyarrow.compute import utf8_length

    return np.asarray(utf8_length(column)).astype(np.int64)


def _exact_keys(table: pa.Table, schema: DataSchema) -> Keys:
    """A number [rows] for the text of each row; equal numbers mean equal texts.

    64 bits: two different texts among a million share one with a chance of 3e-8.
    """
    keys = np.zeros(table.num_rows, np.uint64)
    for name in schema.text:
        # Chunk by chunk, so that a large column is not held twice.
        parts = [hash_keys(pa.chunked_array([c]), SEED) for c in _slices(table[name])]
        keys = keys * GOLDEN + np.concatenate(parts)
    return keys


def _slices(column: pa.ChunkedArray, rows: int = 65_536) -> list[pa.Array]:
    return [
        chunk[start : start + rows]
        for chunk in column.chunks
        for start in range(0, len(chunk), rows)
    ]


def _counted(keys: Mapping[str, Keys]) -> dict[str, Any]:
    """Duplicates within and across splits, by the keys of their rows."""
    within = {
        split: _rows(len(found) - len(np.unique(found)), len(found))
        for split, found in keys.items()
    }
    across = [
        {
            "split": later,
            "of": earlier,
            **_rows(int(np.isin(keys[later], keys[earlier]).sum()), len(keys[later])),
        }
        for earlier, later in combinations(keys, 2)
    ]
    return {"within": within, "across": across}


def _rows(rows: int, of: int) -> dict[str, Any]:
    return {"rows": rows, "share": rows / of if of else 0.0}


def _examples(
    entry: Mapping[str, Any],
    keys: Mapping[str, Keys],
    tables: Mapping[str, pa.Table],
    present: Mapping[str, npt.NDArray[np.int64]],
    schema: DataSchema,
) -> list[str]:
    """A few ids of the later split."""
    later = entry["split"]
    shared = np.flatnonzero(np.isin(keys[later], keys[entry["of"]]))[:EXAMPLES]
    ids = tables[later][schema.id].take(pa.array(present[later][shared], pa.int64()))
    return [cut(value) for value in ids.to_pylist()]


def _sample(
    tables: Mapping[str, pa.Table],
    present: Mapping[str, npt.NDArray[np.int64]],
    schema: DataSchema,
) -> dict[str, npt.NDArray[np.int64]]:
    """The rows of each split that are compared: all, or a seeded share of all."""
    rows = sum(map(len, present.values()))
    characters = sum(
        int(_lengths(table[name]).sum())
        for table in tables.values()
        for name in schema.text
    )
    share = min(
        1.0, SAMPLED_ROWS / max(1, rows), SAMPLED_CHARACTERS / max(1, characters)
    )
    if share == 1:
        return dict(present)
    generator = np.random.default_rng(SEED)
    return {
        split: np.sort(generator.choice(there, int(len(there) * share), replace=False))
        for split, there in present.items()
    }


def _near_keys(
    tables: Mapping[str, pa.Table],
    rows: Mapping[str, npt.NDArray[np.int64]],
    schema: DataSchema,
) -> dict[str, Keys]:
    """The unit of each compared row."""
    parts = [
        row_texts(table.select(list(schema.text)).take(pa.array(rows[split])))
        for split, table in tables.items()
    ]
    units = duplicate_units(pa.chunked_array(parts, pa.large_string()), NEAR)
    borders = np.cumsum([len(part) for part in parts])[:-1]
    return dict(zip(tables, np.split(units, borders), strict=True))
