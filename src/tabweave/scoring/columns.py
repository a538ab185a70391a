"""Rows as callers hold them (dicts, pandas, Arrow) become columns of raw cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from tabweave.errors import Problems, SchemaError, did_you_mean, some_of
from tabweave.schema import DataSchema

Values: TypeAlias = "pa.Array | list[Any]"
ROWS_SHOWN = 5


@dataclass(frozen=True)
class RawColumns:
    """Named columns of raw cells, all of one length.

    Attributes:
        values: Column -> Arrow array, or a list of Python values of any kinds.
        rows: Number of rows.
        gaps: Column -> rows, counted from 1, that do not name it.
    """

    values: dict[str, Values]
    rows: int
    gaps: dict[str, list[int]]


def raw_columns(rows: Any) -> RawColumns:
    """The columns of a list of dicts, a pandas DataFrame, or an Arrow table or batch.

    Raises:
        SchemaError: It is something else, a column name is no text, or a name stands
            twice.
    """
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if isinstance(rows, pa.Table):
        _check_names(rows.column_names)
        whole = {n: _one_array(rows[n]) for n in rows.column_names}
        return RawColumns(whole, rows.num_rows, {})
    if type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "columns"):
        _check_names(list(rows.columns))
        found = {name: _of_series(rows[name]) for name in rows.columns}
        return RawColumns(found, len(rows), {})
    if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        return _of_dicts(rows)
    raise SchemaError(
        f"Rows must be a list of dicts, a pandas DataFrame or an Arrow table, but are "
        f"{type(rows).__name__}. A single row is a list of one dict."
    )


def _check_names(names: Sequence[Any]) -> None:
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise SchemaError(f"Column names must be text, but there are {some_of(wrong)}.")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise SchemaError(f"Columns {some_of(twice)} appear more than once.")


def _of_dicts(rows: Sequence[Any]) -> RawColumns:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise SchemaError(
                f"Row {number} must be a dict of column and value, but is "
                f"{type(row).__name__}."
            )
    names = list(dict.fromkeys(name for row in rows for name in row))
    _check_names(names)
    gaps = {
        name: [number for number, row in enumerate(rows, 1) if name not in row]
        for name in names
    }
    values: dict[str, Values] = {n: [row.get(n) for row in rows] for n in names}
    return RawColumns(
        values, len(rows), {n: found for n, found in gaps.items() if found}
    )


def _of_series(series: Any) -> Values:
    """Columns of any objects stay Python values: each may be of another kind."""
    if series.dtype == object:
        return list(series)
    return _one_array(pa.chunked_array(pa.Array.from_pandas(series)))


def _one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        # Arrow gives a chunked array back where one array cannot hold the text.
        whole = column.combine_chunks()
        column = pa.concat_arrays(whole.chunks) if hasattr(whole, "chunks") else whole
    if isinstance(column, pa.ExtensionArray):
        return column.storage
    return column


def check_columns(
    columns: RawColumns, read: Mapping[str, str], schema: DataSchema
) -> None:
    """Refuses rows that lack a column of the model, or have one that nobody knows.

    Args:
        columns: The rows.
        read: Column that the model reads -> its role.
        schema: All columns of the training data; those that are not read may be there.

    Raises:
        SchemaError: Lists every such column.
    """
    problems = Problems("The rows do not fit the model")
    roles = (schema.id, schema.label, *schema.text, *schema.categorical)
    group = () if schema.group is None else (schema.group,)
    known = (*roles, *schema.numeric, *group)
    for name, kind in read.items():
        gaps = columns.gaps.get(name, [])
        if name not in columns.values:
            hint = did_you_mean(
                name, [one for one in columns.values if one not in known]
            )
            problems.add(f"Column '{name}' ({kind}) is missing.{hint}")
        elif gaps:
            where = some_of(gaps, ROWS_SHOWN)
            problems.add(
                f"Column '{name}' ({kind}) is missing in rows {where}; write null where "
                "the value is not known."
            )
    for name in columns.values:
        if name not in known:
            hint = did_you_mean(name, known)
            problems.add(
                f"Column '{name}' is unknown.{hint} Known: {some_of(known, 30)}."
            )
    problems.raise_as(SchemaError)
