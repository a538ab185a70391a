"""Columns come out as arrays, or the error names the column."""

import numpy as np
import pyarrow as pa
import pytest

from tabweave.errors import SchemaError
from tabweave.schema import DataSchema
from tabweave.tabular.columns import categories, class_indices, numbers, texts

SCHEMA = DataSchema(
    id="id", label="y", text=("t",), classes=("b", "a", "c"), positive_label="a"
)


def decoded(table, name):
    codes, found = categories(table, name)
    return [found[int(code)].as_py() for code in codes]


@pytest.mark.parametrize(
    "column",
    [
        pa.chunked_array([["x", None], [], ["", "x", "z"]], pa.string()),
        pa.chunked_array([["x", None, "", "x", "z"]], pa.large_string()),
        pa.chunked_array(
            [
                pa.array(["x", None]).dictionary_encode(),
                pa.array(["", "x", "z"]).dictionary_encode(),
            ]
        ),
        # A null inside the dictionary instead of among its codes.
        pa.chunked_array(
            [pa.DictionaryArray.from_arrays([0, 1, 2, 0, 3], ["x", None, "", "z"])]
        ),
    ],
)
def test_null_and_empty_are_one_missing_category(column):
    table = pa.table({"c": column})
    assert decoded(table, "c") == ["x", "", "", "x", "z"]
    codes, found = categories(table, "c")
    assert len(set(found.to_pylist())) == len(found) == codes.max() + 1


def test_a_column_without_chunks_is_empty():
    table = pa.table({"c": pa.chunked_array([], pa.string())})
    codes, found = categories(table, "c")
    assert (len(codes), len(found)) == (0, 0)


def test_an_absent_column_is_named_with_the_nearest_one():
    table = pa.table({"channel": ["a"]})
    with pytest.raises(SchemaError, match=r"'chanel' not found.*mean 'channel'"):
        texts(table, "chanel")


@pytest.mark.parametrize("values", [[1, 2], [1.5, 2.5], [True, False]])
def test_text_roles_refuse_other_types(values):
    with pytest.raises(SchemaError, match=r"'c' has type .* wants text"):
        categories(pa.table({"c": values}), "c")


def test_numbers_are_float32_with_nan_where_missing():
    column = pa.chunked_array([[1.5, None], [3.0]], pa.float32())
    found = numbers(pa.table({"n": column}), "n")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32([1.5, np.nan, 3.0]))


def test_numeric_roles_refuse_text():
    with pytest.raises(SchemaError, match="'n' has type string"):
        numbers(pa.table({"n": ["1"]}), "n")


def test_labels_become_positions_among_the_classes_of_the_schema():
    table = pa.table({"y": ["a", "b", "c", "a"]})
    assert class_indices(table, SCHEMA).tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize("label", ["d", "", "A"])
def test_a_label_that_is_not_a_class_is_refused(label):
    table = pa.table({"y": ["a", label]})
    with pytest.raises(SchemaError, match=f"'y' holds \\['{label}'\\]"):
        class_indices(table, SCHEMA)
