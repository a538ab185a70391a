"""Rows per category and class: integers that add up over batches and shards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import SchemaError
from tabweave.schema import DataSchema
from tabweave.tabular.columns import Codes, categories, class_indices

# Counts of so many batches are held before they are added up.
PENDING = 64


@dataclass(frozen=True, eq=False)
class ColumnCounts:
    """Rows of every category of one column.

    Attributes:
        categories: Distinct strings, sorted by their UTF-8 bytes.
        rows: Shape [categories, folds, classes].
    """

    categories: pa.Array
    rows: Codes

    def per_class(self) -> dict[str, tuple[int, ...]]:
        """Category -> rows of every class, over all folds."""
        rows = map(tuple, self.rows.sum(axis=1).tolist())
        return dict(zip(self.categories.to_pylist(), rows, strict=True))


@dataclass(frozen=True, eq=False)
class CategoryCounts:
    """The counts of a table, or of a part of one.

    Counts of two parts add up to the counts of the whole, in any order.

    Attributes:
        classes: Classes in the order of the schema.
        rows: All rows, shape [folds, classes].
        columns: Categorical column -> its counts.
    """

    classes: tuple[str, ...]
    rows: Codes
    columns: dict[str, ColumnCounts]

    def __add__(self, other: CategoryCounts) -> CategoryCounts:
        """The counts of both parts together.

        Raises:
            SchemaError: The parts were counted with other classes, folds or columns.
        """
        return _add_up([self, other])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CategoryCounts) and self._content() == other._content()

    __hash__ = None  # type: ignore[assignment]

    def _content(self) -> tuple[object, ...]:
        columns = {
            name: (column.categories.to_pylist(), column.rows.tolist())
            for name, column in self.columns.items()
        }
        return (*self._kind(), self.rows.tolist(), columns)

    def _kind(self) -> tuple[object, ...]:
        return self.classes, len(self.rows), list(self.columns)


def count_categories(
    batches: Iterable[pa.RecordBatch], schema: DataSchema
) -> CategoryCounts:
    """Counts rows per category and class, in one pass and without folds.

    Memory grows with the number of distinct categories, not with the rows.

    Raises:
        SchemaError: There is no batch, a column is absent, or a label is not a class.
    """
    pending: list[CategoryCounts] = []
    for batch in batches:
        pending.append(count_table(pa.Table.from_batches([batch]), schema))
        if len(pending) == PENDING:
            pending = [_add_up(pending)]
    if not pending:
        raise SchemaError(
            "There are no rows to count categories in: the train split is empty."
        )
    return _add_up(pending)


def count_table(
    table: pa.Table,
    schema: DataSchema,
    folds: Codes | None = None,
    number_of_folds: int = 1,
) -> CategoryCounts:
    """The counts of a table in memory, per fold where `folds` [rows] are given.

    Raises:
        SchemaError: A column is absent, or a label is not a class.
    """
    shape = (number_of_folds, len(schema.classes))
    cells = shape[0] * shape[1]
    cell = class_indices(table, schema)
    if folds is not None:
        cell += folds * shape[1]
    columns = {}
    for name in schema.categorical:
        codes, found = categories(table, name)
        counted = np.bincount(codes * cells + cell, minlength=len(found) * cells)
        columns[name] = _sorted(found, counted.reshape(-1, *shape))
    rows = np.bincount(cell, minlength=cells).reshape(shape)
    return CategoryCounts(schema.classes, rows, columns)


def _sorted(found: pa.Array, rows: Codes) -> ColumnCounts:
    order = pc.sort_indices(found)
    return ColumnCounts(found.take(order), rows[order.to_numpy()])


def _add_up(parts: Sequence[CategoryCounts]) -> CategoryCounts:
    first = parts[0]
    for part in parts[1:]:
        if part._kind() != first._kind():
            raise SchemaError(
                "Counts with different classes, folds or columns do not add up: "
                f"{first._kind()} and {part._kind()}. Count every part with the same "
                "schema."
            )
    columns = {
        name: _add_up_column([part.columns[name] for part in parts])
        for name in first.columns
    }
    rows = np.sum([part.rows for part in parts], axis=0)
    return CategoryCounts(first.classes, rows, columns)


def _add_up_column(parts: Sequence[ColumnCounts]) -> ColumnCounts:
    if len(parts) == 1:
        return parts[0]
    found = pc.unique(pa.chunked_array([part.categories for part in parts]))
    rows = np.zeros((len(found), *parts[0].rows.shape[1:]), np.int64)
    for part in parts:
        # A part names a category once, so no index repeats within one addition.
        rows[pc.index_in(part.categories, value_set=found).to_numpy()] += part.rows
    return _sorted(found, rows)
