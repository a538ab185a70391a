"""Predictions as tables: one of ours, and the user's own file with columns added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import ArtifactError, SchemaError, shorten
from tabweave.schema import PREDICTED, probability_columns
from tabweave.statistics.classification import check_predictions, predicted_classes
from tabweave.statistics.ranking import Floats
from tabweave.statistics.resampling import Integers
from tabweave.tables.headers import check_room_for
from tabweave.tables.parted_tables import Source


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
