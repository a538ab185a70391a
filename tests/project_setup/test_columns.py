import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabweave.errors import SchemaError
from tabweave.project_setup import columns as module
from tabweave.project_setup.columns import ID_NAME, sample_columns, whole_column
from tabweave.tables.files import RawTable


def csv_column(tmp_path, name, cells):
    path = tmp_path / "train.csv"
    path.write_text("\n".join([f"{name},y", *(f"{c},1" for c in cells)]) + "\n")
    return sample_columns(RawTable(path, "train"), [name])[name]


def parquet_column(tmp_path, values):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"x": values}), path)
    return sample_columns(RawTable(path, "train"), ["x"])["x"]


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "ID",
        "row_id",
        "orderId",
        "customerid",
        "order-number",
        "uuid",
        "zip_code",
        "invoicenumber",
        "api_key",
        "id_order",
        "hash.id.x",
        "userID",
    ],
)
def test_names_of_ids_are_recognised(name):
    assert ID_NAME.search(name)


@pytest.mark.parametrize(
    "name",
    [
        "paid",
        "bid",
        "valid",
        "amount_paid",
        "unpaid",
        "number_of_items",
        "age",
        "idle",
        "numbers",
        "width",
        "title",
        "keyboard",
    ],
)
def test_names_of_amounts_are_not_ids(name):
    assert not ID_NAME.search(name)


def test_numbers_follow_the_rule_of_loading(tmp_path):
    cells = ["1", "-2.5", ".5", "5.", "1e3", ""]
    found = csv_column(tmp_path, "x", cells).numbers
    expected = [1, -2.5, 0.5, 5, 1000, np.nan]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cell", ["1,5", "0x10", "1_000", "inf", "$5", "1 "])
def test_other_spellings_are_not_numbers(tmp_path, cell):
    assert csv_column(tmp_path, "x", ["1", f'"{cell}"']).numbers is None


@pytest.mark.parametrize("word", ["NA", "null", "None", "-", "NaN", "n/a"])
def test_null_words_do_not_hide_numbers(tmp_path, word):
    column = csv_column(tmp_path, "x", ["1", word, "3"])
    np.testing.assert_array_equal(column.numbers, [1, np.nan, 3])
    assert column.not_numbers == (word,)


def test_null_words_alone_are_no_numbers(tmp_path):
    assert csv_column(tmp_path, "x", ["NA", "-", ""]).numbers is None


def test_digits_beyond_float32_are_not_numbers(tmp_path):
    assert csv_column(tmp_path, "x", ["9" * 45, "1"]).numbers is None


def test_a_leading_zero_makes_a_code(tmp_path):
    assert csv_column(tmp_path, "x", ["007", "12", "9"]).is_code
    assert not csv_column(tmp_path, "x", ["7", "0", "0.5", "9"]).is_code
    assert not csv_column(tmp_path, "x", ["7", "0", "9"]).is_code


def test_strings_of_parquet_stay_strings(tmp_path):
    column = parquet_column(tmp_path, ["1", "2", None])
    assert column.numbers is None
    assert column.cells.to_pylist() == ["1", "2", ""]


def test_dictionary_columns_are_strings(tmp_path):
    column = parquet_column(tmp_path, pa.array(["a", "b", "a"]).dictionary_encode())
    assert column.is_string
    assert column.distinct == 2


def test_nan_is_missing(tmp_path):
    column = parquet_column(tmp_path, pa.array([1.5, float("nan"), None]))
    assert len(column.present) == 1
    np.testing.assert_array_equal(column.numbers, [1.5, np.nan, np.nan])


def test_lists_and_bytes_have_no_role(tmp_path):
    for values in (pa.array([[1], [2]]), pa.array([b"\xff", b"a"])):
        column = parquet_column(tmp_path, values)
        assert not column.is_wordlike
        assert column.numbers is None


def test_dates(tmp_path):
    today = datetime.date(2024, 5, 1)
    assert parquet_column(tmp_path, [today, None]).is_date
    assert csv_column(tmp_path, "x", ["2024-05-01", "2023-12-31 10:00"]).is_date
    assert csv_column(tmp_path, "x", ["2024-05-01T10:00:00Z", ""]).is_date
    assert csv_column(tmp_path, "x", ["20240501", "20231231"]).is_date
    assert not csv_column(tmp_path, "x", ["2024-05-01", "soon"]).is_date
    assert not csv_column(tmp_path, "x", ["20240501", "20231331"]).is_date


def test_long_text_is_told_from_hashes(tmp_path):
    words = [f"the parcel number {i} has not arrived yet" for i in range(5)]
    hashes = [f"{i:040x}" for i in range(5)]
    chinese = [
        "包裹还没有送到、我已经等了三个星期、请尽快处理并回复我的问题谢谢" + str(i)
        for i in range(5)
    ]
    assert csv_column(tmp_path, "x", words).is_long_text
    assert csv_column(tmp_path, "x", chinese).is_long_text
    assert not csv_column(tmp_path, "x", hashes).is_long_text
    assert not csv_column(tmp_path, "x", words[:1] * 5).is_long_text


def test_the_sample_is_the_head_and_the_whole_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_ROWS", 3)
    column = csv_column(tmp_path, "x", ["a", "b", "c", "d"])
    assert column.cells.to_pylist() == ["a", "b", "c"]
    source = RawTable(tmp_path / "train.csv", "train")
    assert whole_column(source, "x").to_pylist() == ["a", "b", "c", "d"]


def test_the_sample_spans_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("tabweave.tables.files.ROWS_PER_BATCH", 2)
    monkeypatch.setattr(module, "SAMPLE_ROWS", 5)
    column = parquet_column(tmp_path, list(range(9)))
    assert column.cells.to_pylist() == ["0", "1", "2", "3", "4"]


def test_a_header_without_rows_is_refused(tmp_path):
    with pytest.raises(SchemaError, match="no rows below the header"):
        csv_column(tmp_path, "x", [])
