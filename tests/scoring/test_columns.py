import pandas as pd
import pyarrow as pa
import pytest

from tabweave.errors import SchemaError
from tabweave.schema import DataSchema
from tabweave.scoring.columns import check_columns, raw_columns

SCHEMA = DataSchema(
    id="id",
    label="y",
    text=("note",),
    numeric=("price",),
    group="customer",
    classes=("n", "y"),
    positive_label="y",
)
READ = {"note": "text", "price": "numeric"}
ROWS = [{"note": "x", "price": 1}, {"note": "y", "price": None}]


def refused(rows):
    with pytest.raises(SchemaError) as caught:
        check_columns(raw_columns(rows), READ, SCHEMA)
    return str(caught.value)


def as_lists(columns):
    return {
        name: values if isinstance(values, list) else values.to_pylist()
        for name, values in columns.values.items()
    }


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        tuple(ROWS),
        pd.DataFrame(ROWS),
        pd.DataFrame(ROWS, dtype=object),
        pa.Table.from_pylist(ROWS),
        pa.RecordBatch.from_pylist(ROWS),
        pa.concat_tables(
            [
                pa.Table.from_pylist(
                    [row], pa.table({"note": ["x"], "price": [1]}).schema
                )
                for row in ROWS
            ]
        ),
    ],
)
def test_every_kind_of_rows_gives_the_same_columns(rows):
    found = raw_columns(rows)
    assert as_lists(found) == {"note": ["x", "y"], "price": [1, None]}
    assert found.rows == 2
    check_columns(found, READ, SCHEMA)


@pytest.mark.parametrize("rows", [{"note": "x"}, "x", b"x", 3, None, iter(ROWS)])
def test_what_are_no_rows_is_refused(rows):
    with pytest.raises(SchemaError, match="must be a list of dicts"):
        raw_columns(rows)


def test_a_row_that_is_no_dict_is_named():
    with pytest.raises(SchemaError, match=r"Row 2 must be a dict .* but is list"):
        raw_columns([{"note": "x"}, ["x"]])


def test_names_must_be_text_and_stand_once():
    with pytest.raises(SchemaError, match="must be text, but there are 1"):
        raw_columns([{1: "x"}])
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    with pytest.raises(SchemaError, match="'a' appear more than once"):
        raw_columns(twice)
    with pytest.raises(SchemaError, match="more than once"):
        raw_columns(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_all_missing_and_unknown_columns_are_named_at_once():
    message = refused([{"nota": "x", "zzz": 1}])
    assert "Column 'note' (text) is missing. Did you mean 'nota'?" in message
    assert "Column 'price' (numeric) is missing." in message
    assert "Column 'nota' is unknown. Did you mean 'note'?" in message
    assert (
        "Column 'zzz' is unknown. Known: 'id', 'y', 'note', 'price', 'customer'."
        in message
    )


def test_a_column_that_some_rows_lack_is_missing_there():
    message = refused([{"note": "x", "price": 1}, {"note": "y"}])
    assert "Column 'price' (numeric) is missing in rows 2; write null" in message


def test_columns_of_the_training_data_may_be_there():
    rows = [{"id": "1", "y": "n", "customer": "c", "note": "x", "price": 1}]
    check_columns(raw_columns(rows), READ, SCHEMA)
