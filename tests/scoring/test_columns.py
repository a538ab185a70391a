import numpy as np
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


def refused(rows, *, strict=False):
    with pytest.raises(SchemaError) as caught:
        check_columns(raw_columns(rows, READ), READ, SCHEMA, strict=strict)
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
    found = raw_columns(rows, READ)
    assert as_lists(found) == {"note": ["x", "y"], "price": [1, None]}
    assert found.rows == 2
    check_columns(found, READ, SCHEMA)


@pytest.mark.parametrize("rows", [{"note": "x"}, "x", b"x", 3, None, iter(ROWS)])
def test_what_are_no_rows_is_refused(rows):
    with pytest.raises(SchemaError, match="must be a list of dicts"):
        raw_columns(rows, READ)


def test_a_row_that_is_no_dict_is_named():
    with pytest.raises(SchemaError, match=r"Row 2 must be a dict .* but is list"):
        raw_columns([{"note": "x"}, ["x"]], READ)


def test_a_column_that_is_wanted_stands_once():
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["note", "note"])
    frame = pd.DataFrame([[1, 2]], columns=["note", "note"])
    for rows in (twice, frame):
        with pytest.raises(SchemaError, match="'note' appear more than once"):
            raw_columns(rows, READ)


def extra(kind):
    """Rows with columns that no model reads: any name, any type, any number of times."""
    if kind == "dicts":
        return [
            {**row, 1: object(), ("a", "b"): 2, None: 3, "\ud800": 4} for row in ROWS
        ]
    if kind == "arrow":
        own = pa.Table.from_pylist(ROWS)
        odd = pa.UnionArray.from_dense(
            pa.array([0, 0], pa.int8()),
            pa.array([0, 1], pa.int32()),
            [pa.array([1, 2])],
        )
        return own.append_column("odd", odd).append_column("odd", odd)
    frame = pd.DataFrame(ROWS)
    frame[7] = np.array([1j, 2j])
    frame["when"] = pd.period_range("2024", periods=2)
    return pd.concat([frame, frame[["when"]]], axis=1)


@pytest.mark.parametrize("kind", ["dicts", "arrow", "pandas"])
def test_columns_that_nobody_reads_may_hold_and_be_called_anything(kind):
    found = raw_columns(extra(kind), READ)
    check_columns(found, READ, SCHEMA)
    assert as_lists(found) == {"note": ["x", "y"], "price": [1, None]}
    assert "is unknown" in refused(extra(kind), strict=True)


def test_all_missing_columns_are_named_at_once_and_unknown_ones_where_asked():
    rows = [{"nota": "x", "zzz": 1}]
    message = refused(rows)
    assert "Column 'note' (text) is missing. Did you mean 'nota'?" in message
    assert "Column 'price' (numeric) is missing." in message
    assert "unknown" not in message
    message = refused(rows, strict=True)
    assert "Column 'note' (text) is missing. Did you mean 'nota'?" in message
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
    check_columns(raw_columns(rows, READ), READ, SCHEMA, strict=True)


def test_what_arrow_has_no_one_type_for_stays_python_values():
    mixed = pd.DataFrame({"note": pd.Categorical(["a", 1]), "price": [1, 2]})
    assert raw_columns(mixed, READ).values["note"] == ["a", 1]
    odd = pd.DataFrame({"note": ["a", "b"], "price": np.array([1j, 2j])})
    assert raw_columns(odd, READ).values["price"] == [1j, 2j]


def test_texts_in_any_layout_are_text_and_a_type_of_ones_own_is_not_how_it_is_stored():
    layouts = (
        pa.RunEndEncodedArray.from_arrays([1, 2], ["x", "y"]),
        pa.array(["x", "y"], pa.string_view()),
        pa.DictionaryArray.from_arrays(
            pa.array([0, 1]), pa.array(["x", "y"], pa.string_view())
        ),
        pa.array(["x", "y"], pa.json_()),
    )
    for layout in layouts:
        rows = pa.table({"note": layout, "price": [1, 2]})
        assert as_lists(raw_columns(rows, READ))["note"] == ["x", "y"]
    period = pd.DataFrame({"note": pd.period_range("2024", periods=2), "price": 1})
    assert isinstance(raw_columns(period, READ).values["note"], pa.ExtensionArray)
