"""Predictions as tables: one of ours, and the user's own file with columns added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import ArtifactError, SchemaError, shorten
from tabweave.schema import PREDICTED, probability_columns
from tabweave.tables.headers import check_room_for
from tabweave.tables.parted_tables import Source

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.int64]


def check_predictions(probabilities: Floats, labels: Integers, classes: int) -> None:
    """Refuses probabilities or labels that no metric can be computed from.

    Args:
        probabilities: Shape [rows, classes], each in [0, 1].
        labels: Shape [rows], each a position among the classes.
        classes: Number of classes.

    Raises:
        ArtifactError: A shape is wrong, a probability is no number in [0, 1], or a
            label is not a class; the message names the first such row.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != classes:
        raise ArtifactError(
            f"Probabilities have shape {probabilities.shape}; {classes} classes need "
            f"shape [rows, {classes}]."
        )
    if labels.shape != probabilities.shape[:1] or labels.dtype.kind not in "iu":
        raise ArtifactError(
            f"Labels have shape {labels.shape} and type {labels.dtype}; there must be "
            f"one class number for each of {len(probabilities)} rows of probabilities."
        )
    outside = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1)).all(axis=1))
    if len(outside):
        row = int(outside[0])
        raise ArtifactError(
            f"{len(outside)} rows have probabilities that are not numbers from 0 to 1; "
            f"the first is row {row + 1}: {shorten(probabilities[row].tolist())}. "
            "Train again: the model's weights are not usable."
        )
    unknown = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(unknown):
        row = int(unknown[0])
        raise ArtifactError(
            f"Row {row + 1} has label number {labels[row]}, which is not one of the "
            f"{classes} classes (0 to {classes - 1})."
        )


def predicted_classes(probabilities: Floats) -> Integers:
    """The most probable class of each row; of equal ones the first.

    Example:
        >>> predicted_classes(np.array([[0.2, 0.8], [0.5, 0.5]])).tolist()
        [1, 0]
    """
    return np.argmax(probabilities, axis=1).astype(np.int64)


def prediction_table(
    ids: Sequence[str] | pa.Array | pa.ChunkedArray,
    labels: Integers,
    probabilities: Floats,
    classes: Sequence[str],
) -> pa.Table:
    """One row per input row: id, label, a probability per class, predicted class.

    Args:
        ids: Id of each row, as text.
        labels: Shape [rows]: number of each row's true class.
        probabilities: Shape [rows, classes].
        classes: The classes, in order.

    Raises:
        ArtifactError: The numbers of rows differ, or a value is not usable.
    """
    check_predictions(probabilities, labels, len(classes))
    if len(ids) != len(labels):
        raise ArtifactError(f"There are {len(ids)} ids for {len(labels)} predictions.")
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    names = pa.array(classes, pa.string())
    columns = {
        "id": pa.array(ids, pa.string()),
        "label": names.take(pa.array(labels)),
        **{
            name: pa.array(np.ascontiguousarray(probabilities[:, index], np.float32))
            for index, name in enumerate(probability_columns(classes))
        },
        PREDICTED: names.take(pa.array(predicted_classes(probabilities))),
    }
    return pa.table(columns)


def scored_batches(
    raw: Source, predictions: pa.Table, *, id_column: str | None = None
) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
    """The user's own file in batches, with the predictions as further columns.

    Every column and cell of the file stays as it is; ``prob_<class>`` columns and
    ``predicted`` follow. Only one batch of the file is held at a time.

    Args:
        raw: The file that the predictions were made from.
        predictions: As `prediction_table` gives it, in the row order of the file.
        id_column: Column of the file to compare with the predictions' ids, row by row.

    Returns:
        Batches and their schema, as `tabweave.tables.files.write_rows` takes them.

    Raises:
        SchemaError: The file has a column of such a name, or two of one name. Raised
            at once.
        ArtifactError: The file has other rows than the predictions. Raised while the
            batches are drawn, so that nothing is written.
    """
    added = predictions.drop_columns(["id", "label"])
    check_room_for(added.column_names, [raw])
    batches = raw.batches()
    first = next(batches, None)
    if first is None:
        raise SchemaError(f"{raw.path}: there are no rows below the header.")
    fields = [*first.schema, *added.schema]
    schema = pa.schema(fields, metadata=first.schema.metadata)
    ids = None if id_column is None else predictions["id"]

    def scored() -> Iterator[pa.RecordBatch]:
        row = 0
        for batch in _chain(first, batches):
            part = added.slice(row, batch.num_rows)
            if part.num_rows != batch.num_rows:
                raise ArtifactError(_changed(raw, f"more than the {len(added)} rows"))
            if ids is not None:
                _check_ids(raw, batch, ids.slice(row, batch.num_rows), id_column, row)
            columns = [column.combine_chunks() for column in part.columns]
            yield pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema)
            row += batch.num_rows
        if row != len(added):
            raise ArtifactError(
                _changed(raw, f"{row} rows instead of the {len(added)}")
            )

    return scored(), schema


def _chain(
    first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _check_ids(
    raw: Source,
    batch: pa.RecordBatch,
    expected: pa.ChunkedArray,
    id_column: str | None,
    row: int,
) -> None:
    found = batch.column(batch.schema.get_field_index(id_column))
    if pa.types.is_dictionary(found.type):
        found = found.dictionary_decode()
    found = pc.fill_null(found.cast(pa.string()), "")
    same = pc.equal(found, expected.combine_chunks())
    if not pc.all(same).as_py():
        at = pc.index(same, False).as_py()
        raise ArtifactError(
            _changed(
                raw,
                f"id {shorten(found[at].as_py())} in {raw.place(row + at + 1)}, not "
                f"the {shorten(expected[at].as_py())}",
            )
        )


def _changed(raw: Source, found: str) -> str:
    return (
        f"{raw.path}: has {found} that the predictions were made from. The file has "
        "changed since it was loaded; run the load stage and all later ones again."
    )
