"""Reads columns of a typed table as arrays, or says which column does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import SchemaError, did_you_mean, shorten
from tabweave.schema import DataSchema

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]


def _column(table: pa.Table, name: str) -> Any:
    if name in table.column_names:
        return table.column(name)
    raise SchemaError(
        f"Column {name!r} not found in the table."
        f"{did_you_mean(name, table.column_names)} It has "
        f"{shorten(table.column_names, 300)}. Re-run the stage that wrote the table."
    )


def texts(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A text column; null becomes the empty string, which is 'missing'.

    Raises:
        SchemaError: The column is absent or does not hold text.
    """
    column = _column(table, name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise SchemaError(
            f"Column {name!r} has type {column.type}, but its role wants text. Load "
            "the file with the load stage, which keeps categories and labels as text."
        )
    return pc.fill_null(column, "") if column.null_count else column


def categories(table: pa.Table, name: str) -> tuple[Codes, pa.Array]:
    """A text column as codes [rows] into the distinct values that occur.

    Raises:
        SchemaError: The column is absent or does not hold text.
    """
    encoded = texts(table, name).dictionary_encode().combine_chunks()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary


def numbers(table: pa.Table, name: str) -> Singles:
    """A numeric column as float32 [rows]; a missing number is NaN.

    Raises:
        SchemaError: The column is absent or does not hold floating-point numbers.
    """
    column = _column(table, name)
    if not pa.types.is_floating(column.type):
        raise SchemaError(
            f"Column {name!r} has type {column.type}, but its role wants float32 "
            "numbers. Load the file with the load stage, which converts numbers."
        )
    return column.to_numpy().astype(np.float32)


def class_indices(table: pa.Table, schema: DataSchema) -> Codes:
    """The labels as positions [rows] among `schema.classes`.

    Raises:
        SchemaError: A label is not one of the classes; nothing is guessed for it.
    """
    codes, labels = categories(table, schema.label)
    index = {label: i for i, label in enumerate(schema.classes)}
    found = labels.to_pylist()
    unknown = sorted(label for label in found if label not in index)
    if unknown:
        raise SchemaError(
            f"Label column {schema.label!r} holds {shorten(unknown, 200)}, not among "
            f"the classes {shorten(list(schema.classes), 200)}. Correct these rows, or "
            "name every class under data.classes."
        )
    return np.array([index[label] for label in found], np.int64)[codes]
