"""Rows as callers hold them (dicts, pandas, Arrow) become columns of raw cells."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import Problems, SchemaError, did_you_mean, shorten, some_of
from tabweave.schema import DataSchema
from tabweave.scoring.python_cells import is_missing
from tabweave.tables.cells import is_any

Values: TypeAlias = "pa.Array | list[Any]"
ROWS_SHOWN = 5


@dataclass(frozen=True)
class RawColumns:
    """The columns of some rows that a model can use, as raw cells of one length.

    Attributes:
        values: Column -> Arrow array, or a list of Python values of any kinds.
        names: Every column of the rows, those that nobody reads included.
        rows: Number of rows.
        gaps: Column -> rows, counted from 1, that do not name it.
    """

    values: dict[str, Values]
    names: tuple[Any, ...]
    rows: int
    gaps: dict[str, list[int]]


def raw_columns(rows: Any, wanted: Collection[str]) -> RawColumns:
    """The columns of a list of dicts, a pandas DataFrame, or an Arrow table or batch.

    Args:
        rows: The rows.
        wanted: Columns whose cells are taken where they are there; of the others, which
            may hold anything, only the name is looked at.

    Raises:
        SchemaError: It is something else, or the name of a wanted column stands twice.
    """
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if isinstance(rows, pa.Table):
        names = tuple(rows.column_names)
        values: dict[str, Values] = {
            name: _one_array(rows[name]) for name in _present(names, wanted)
        }
        return RawColumns(values, names, rows.num_rows, {})
    if type(rows).__module__.partition(".")[0] == "pandas" and hasattr(rows, "columns"):
        names = tuple(rows.columns)
        found = {name: _of_series(rows[name]) for name in _present(names, wanted)}
        return RawColumns(found, names, len(rows), {})
    if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        return _of_dicts(rows, wanted)
    raise SchemaError(
        f"Rows must be a list of dicts, a pandas DataFrame or an Arrow table, but are "
        f"{type(rows).__name__}. A single row is a list of one dict."
    )


def _present(names: Sequence[Any], wanted: Collection[str]) -> list[str]:
    """The wanted names that are there, in the order of the columns."""
    found = [name for name in names if isinstance(name, str) and name in wanted]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise SchemaError(f"Columns {some_of(twice)} appear more than once.")
    return found


def _of_dicts(rows: Sequence[Any], wanted: Collection[str]) -> RawColumns:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise SchemaError(
                f"Row {number} must be a dict of column and value, but is "
                f"{type(row).__name__}."
            )
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    present = _present(names, wanted)
    gaps = {
        name: [number for number, row in enumerate(rows, 1) if name not in row]
        for name in present
    }
    values: dict[str, Values] = {n: [row.get(n) for row in rows] for n in present}
    return RawColumns(
        values, names, len(rows), {n: found for n, found in gaps.items() if found}
    )


def _of_series(series: Any) -> Values:
    """Columns of any objects stay Python values: each may be of another kind."""
    if series.dtype == object:
        return list(series)
    try:
        return _one_array(pa.chunked_array(pa.Array.from_pandas(series)))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # Categories of mixed kinds, complex numbers: what Arrow has no one type for.
        return list(series)


def _one_array(column: pa.ChunkedArray | pa.Array) -> Values:
    if isinstance(column, pa.ChunkedArray):
        # Arrow gives a chunked array back where one array cannot hold the text.
        whole = column.combine_chunks()
        column = pa.concat_arrays(whole.chunks) if hasattr(whole, "chunks") else whole
    if isinstance(column, pa.ExtensionArray):
        # How numbers of someone's own type are stored is not what they mean.
        is_text = is_any(column.type.storage_type, "string large_string")
        return column.storage if is_text else column
    if isinstance(column, pa.RunEndEncodedArray):
        return pc.run_end_decode(column)
    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    # Arrow computes little on views; as Python values they are text like any other.
    return column.to_pylist() if pa.types.is_string_view(kind) else column


def returned_column(values: Values) -> pa.Array:
    """A column that nobody reads, for the caller to find the rows again by.

    Python values of one kind keep it where Arrow has such a type; others become text.
    Missing values are null.
    """
    if not isinstance(values, list):
        return values
    kept = [None if is_missing(value) else value for value in values]
    if len({type(value) for value in kept if value is not None}) <= 1:
        # Arrow follows nested values as deep as they go.
        with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
            if not any(isinstance(value, _NESTED) for value in kept):
                return pa.array(kept)
    return pa.array([None if v is None else _written(v) for v in kept], pa.string())


_NESTED = (list, tuple, set, frozenset, Mapping)


def _written(value: Any) -> str:
    """A value as text; what cannot be text is as a message would show it."""
    try:
        text = str(value)
        text.encode()
    except (RecursionError, ValueError):  # nested too deeply, half a character
        return shorten(value)
    return text


def check_columns(
    columns: RawColumns,
    read: Mapping[str, str],
    schema: DataSchema,
    *,
    strict: bool = False,
) -> None:
    """Refuses rows that lack a column of the model.

    Args:
        columns: The rows.
        read: Column that the model reads -> its role.
        schema: All columns of the training data; those that are not read may be there.
        strict: Whether a column that the training data did not have is refused, too.

    Raises:
        SchemaError: Lists every such column.
    """
    problems = Problems("The rows do not fit the model")
    roles = (schema.id, schema.label, *schema.text, *schema.categorical)
    group = () if schema.group is None else (schema.group,)
    known = (*roles, *schema.numeric, *group)
    unknown = [name for name in columns.names if name not in known]
    texts = [name for name in unknown if isinstance(name, str)]
    for name, kind in read.items():
        gaps = columns.gaps.get(name, [])
        if name not in columns.values:
            hint = did_you_mean(name, texts)
            problems.add(f"Column '{name}' ({kind}) is missing.{hint}")
        elif gaps:
            where = some_of(gaps, ROWS_SHOWN)
            problems.add(
                f"Column '{name}' ({kind}) is missing in rows {where}; write null where "
                "the value is not known."
            )
    for name in unknown if strict else []:
        hint = did_you_mean(name, known) if isinstance(name, str) else ""
        problems.add(
            f"Column {shorten(name)} is unknown.{hint} Known: {some_of(known, 30)}."
        )
    problems.raise_as(SchemaError)
