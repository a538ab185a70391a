import datetime
import decimal
import math
import os
import random
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import ArtifactError, SchemaError
from tabweave.schema import DataConfig
from tabweave.tables import delimited
from tabweave.tables import files as tables
from tabweave.tables.files import FORMATS, RawTable, write_rows
from tabweave.tables.loading import load_splits
from tabweave.tables.lookup import find_split
from tabweave.tables.parted_tables import open_table

CONFIG = DataConfig(
    id="id", label="y", text=("note",), categorical=("shop",), numeric=("price",)
)
NAMES = ("id", "y", "note", "shop", "price")


def raw(folder, split, table, kind="parquet"):
    path = folder / f"{split}.{kind}"
    write_rows(path, iter(table.to_batches()), table.schema)
    return RawTable(path, split)


def rows(count=4, *, start=0, **columns):
    """A table of that many good rows, with some columns replaced."""
    good = {
        "id": [f"r{start + n}" for n in range(count)],
        "y": [str(n % 2) for n in range(count)],
        "note": [f"text {n}" for n in range(count)],
        "shop": ["00123"] * count,
        "price": [f"{n}.5" for n in range(count)],
    }
    return pa.table({**good, **columns})


def one(folder, kind="parquet", config=CONFIG, **columns):
    """Loads a train split with some columns replaced."""
    count = len(next(iter(columns.values()), range(4)))
    table = rows(count, **columns)
    return load_splits({"train": raw(folder, "train", table, kind)}, config)


def loaded(folder, column, values, **options):
    result = one(folder, **{column: values}, **options)
    return result.tables["train"][column].to_pylist()


def refusals(splits, config=CONFIG):
    """Every line of the one error, without the folder."""
    with pytest.raises(SchemaError) as caught:
        load_splits(splits, config)
    title, *lines = str(caught.value).splitlines()
    assert title == "The data does not fit the configuration:"
    folder = f"{next(iter(splits.values())).path.parent}/"
    return [line.removeprefix("  - ").replace(folder, "") for line in lines]


def refused(folder, kind="parquet", config=CONFIG, **columns):
    count = len(next(iter(columns.values())))
    return refusals(
        {"train": raw(folder, "train", rows(count, **columns), kind)}, config
    )


# What is in comes out


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_ids_and_cells_come_out_as_they_were(tmp_path, kind):
    result = load_splits({"train": raw(tmp_path, "train", rows(), kind)}, CONFIG)
    table = result.tables["train"]
    assert table.column_names == list(NAMES)
    assert table.schema.types == [pa.string()] * 4 + [pa.float32()]
    assert table.to_pydict() == rows().to_pydict() | {"price": [0.5, 1.5, 2.5, 3.5]}


CELL = st.text(st.sampled_from('ab0 ,"\n\té日🙂'), max_size=6)
NUMBER = st.sampled_from(["", "0", "-1.5", ".5", "5.", "1e5", "+3", "-0", "1E-3"])


@given(
    cells=st.lists(st.tuples(CELL, CELL, NUMBER), min_size=2, max_size=12),
    order=st.permutations(NAMES),
)
@settings(max_examples=60, deadline=None)
def test_the_format_and_the_column_order_do_not_matter(tmp_path_factory, cells, order):
    folder = tmp_path_factory.mktemp("formats")
    notes, shops, prices = zip(*cells, strict=True)
    table = rows(len(cells), note=notes, shop=shops, price=prices)
    expected = None
    for kind in FORMATS:
        for columns in (list(NAMES), order):
            source = raw(folder, "train", table.select(columns), kind)
            result = load_splits({"train": source}, CONFIG)
            found = (result.tables["train"], result.schema)
            expected = expected or found
            assert found == expected
    assert expected[0]["note"].to_pylist() == list(notes)
    assert expected[0]["shop"].to_pylist() == list(shops)
    wanted = [np.float32(price) if price else None for price in prices]
    assert expected[0]["price"].to_pylist() == wanted


@given(seed=st.integers(0, 2**20))
@settings(max_examples=20, deadline=None)
def test_shuffled_rows_give_the_same_rows_shuffled(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("shuffle")
    order = random.Random(seed).sample(range(50), 50)
    straight = one(folder, **rows(50).to_pydict()).tables["train"]
    mixed = one(folder, **rows(50).take(order).to_pydict()).tables["train"]
    assert mixed.equals(straight.take(order))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_of_many_blocks_keeps_its_rows(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 100)
    table = one(tmp_path, kind, **rows(3000).to_pydict()).tables["train"]
    assert table["price"].num_chunks > 10
    assert table["id"].to_pylist() == [f"r{n}" for n in range(3000)]
    assert table["price"].to_pylist() == [n + 0.5 for n in range(3000)]


def test_other_columns_are_left_alone(tmp_path):
    table = rows().append_column("other", pa.array([datetime.date(2024, 1, 31)] * 4))
    result = load_splits({"train": raw(tmp_path, "train", table)}, CONFIG)
    assert result.tables["train"].column_names == list(NAMES)


# Text


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_is_guessed_from_what_a_cell_looks_like(tmp_path, kind):
    cells = ["NA", "null", "None", "NaN", "True", "00123", "1e5", " x ", "2024-01-31"]
    for column in ("id", "note", "shop"):
        assert loaded(tmp_path, column, cells, kind=kind) == cells


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (pa.array([1, -2], pa.int8()), ["1", "-2"]),
        (pa.array([2**64 - 1, 0], pa.uint64()), ["18446744073709551615", "0"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["b", "a"], pa.large_string()), ["b", "a"]),
        (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
        (pa.array([7, 8]).dictionary_encode(), ["7", "8"]),
        (pa.array(["a", None]), ["a", ""]),
        (pa.array([None, None]), ["", ""]),
        # What pandas makes of a column that is missing throughout.
        (pa.array([None, None], pa.float64()), ["", ""]),
        (pa.array([math.nan, math.nan]), ["", ""]),
        (pa.array([None, None], pa.timestamp("ns")), ["", ""]),
    ],
)
def test_typed_columns_become_text(tmp_path, values, cells):
    assert loaded(tmp_path, "shop", values) == cells


@pytest.mark.parametrize("role", ["id", "y", "note", "shop"])
def test_a_float_column_has_no_one_spelling_and_is_refused(tmp_path, role):
    values = pa.array([1.0, None, math.nan, 2.5, 3.0, 4.0])
    assert refused(tmp_path, **{role: values}) == [
        f"train.parquet: column '{role}' holds floating-point numbers, but its role "
        "wants text; write whole numbers or strings: row 1: 1.0; row 4: 2.5; row 5: 3.0 "
        "and 1 more."
    ]


@pytest.mark.parametrize("role", ["note", "price"])
@pytest.mark.parametrize(
    ("values", "kind", "shown"),
    [
        ([datetime.date(2024, 1, 31)] * 2, "date32[day]", "datetime.date(2024, 1, 31)"),
        ([b"a", b"b"], "binary", "b'a'"),
        ([["a"], []], "list<element: string>", "['a']"),
    ],
)
def test_a_type_that_cannot_take_the_role_is_refused(
    tmp_path, role, values, kind, shown
):
    (line,) = refused(tmp_path, **{role: values})
    assert f"column '{role}' has type {kind}" in line
    assert f": row 1: {shown}; row 2: " in line


# Numbers


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (pa.array([1, -2], pa.int8()), [1.0, -2.0]),
        (pa.array([True, False]), [1.0, 0.0]),
        (pa.array([0.5, 2.0], pa.float16()), [0.5, 2.0]),
        (pa.array([decimal.Decimal("1.50"), None]), [1.5, None]),
        (pa.array([math.nan, 1.0]), [None, 1.0]),
        (pa.array([None, 1]), [None, 1.0]),
        (pa.array([None, None]), [None, None]),
        (pa.array(["1.5", None]), [1.5, None]),
        (pa.array(["1.5", "2"]).dictionary_encode(), [1.5, 2.0]),
        # Nanoseconds since 1970 are no exact double.
        (pa.array([2**53 + 1, 1]), [2.0**53, 1.0]),
        (pa.array([2**64 - 1, 1], pa.uint64()), [2.0**64, 1.0]),
    ],
)
def test_typed_columns_become_float32(tmp_path, values, numbers):
    assert loaded(tmp_path, "price", values) == numbers


@pytest.mark.parametrize("kind", FORMATS)
def test_cells_that_are_no_numbers_are_named_by_row_and_value(tmp_path, kind):
    prices = ["1", "12,50", "", "n/a", " 1", "0x1F", "1_000", "٣", "--1", "1e", "."]
    assert refused(tmp_path, kind, price=prices) == [
        f"train.{kind}: numeric column 'price' holds cells that are not numbers (declare "
        "them under data.null_values if they mean 'missing'): row 2: '12,50'; row 4: "
        "'n/a'; row 5: ' 1' and 6 more."
    ]


def test_the_row_is_right_beyond_the_first_block(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1000)
    prices = ["1"] * 2000
    prices[1234], prices[1876] = "one", "two"
    (line,) = refused(tmp_path, "csv", price=prices)
    assert line.endswith("row 1235: 'one'; row 1877: 'two'.")


@pytest.mark.parametrize(
    "cell", ["nan", "NaN", "inf", "-Infinity", "NA", "null", "None"]
)
def test_words_for_no_number_must_be_declared(tmp_path, cell):
    (line,) = refused(tmp_path, "csv", price=["1", cell])
    assert line.endswith(f"row 2: {cell!r}.")
    config = CONFIG.model_copy(update={"null_values": (cell,)})
    given = {"kind": "csv", "config": config}
    assert loaded(tmp_path, "price", ["1", cell, ""], **given) == [1.0, None, None]


@pytest.mark.parametrize(
    "values", [["1", "-999", "2"], [1, -999, 2], [1.0, -999.0, 2.0]]
)
def test_a_declared_number_is_missing_in_every_type(tmp_path, values):
    config = CONFIG.model_copy(update={"null_values": ("", "-999", "n/a")})
    assert loaded(tmp_path, "price", values, config=config) == [1.0, None, 2.0]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["1", "1e39"], "'1e39'"),
        (["1", "-1e400"], "'-1e400'"),
        ([1.0, math.inf], "inf"),
        ([1.0, -1e39], "-1e+39"),
    ],
)
def test_a_number_that_is_infinite_as_float32_is_refused(tmp_path, values, shown):
    assert refused(tmp_path, price=values) == [
        "train.parquet: numeric column 'price' holds values that are infinite as "
        f"float32: row 2: {shown}."
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_whole_numbers_that_lose_digits_are_reported(tmp_path, kind):
    prices = ["16777216", "16777217", "-123456789", "33554432", "0.1"]
    result = one(tmp_path, kind, price=prices)
    assert result.notes == [
        {
            "severity": "warning",
            "split": "train",
            "column": "price",
            "message": "2 values exceed 2^24 and lose digits as float32",
        }
    ]


@given(
    numbers=st.lists(
        st.floats(width=64, allow_nan=False, min_value=-3e38, max_value=3e38),
        min_size=2,
        max_size=20,
    )
)
@settings(max_examples=50, deadline=None)
def test_numbers_are_the_nearest_float32_in_every_format(tmp_path_factory, numbers):
    folder = tmp_path_factory.mktemp("numbers")
    expected = np.array(numbers, np.float32).tolist()
    assert loaded(folder, "price", numbers) == expected
    assert loaded(folder, "price", [repr(n) for n in numbers], kind="csv") == expected


# Ids and labels


def test_empty_and_repeated_ids_are_named_with_their_rows(tmp_path):
    ids = ["a", "", "b", "a", "c", "b", None, "a", "a"]
    assert refused(tmp_path, id=ids) == [
        "train.parquet: id column 'id' is empty in 2 rows, first rows 2, 7.",
        "train.parquet: id column 'id' must be unique, but 2 ids repeat: 'a' in rows 1, "
        "4, 8 and 1 more; 'b' in rows 3, 6.",
    ]


def test_an_id_may_come_again_in_another_split(tmp_path):
    splits = {s: raw(tmp_path, s, rows()) for s in ("train", "val")}
    assert load_splits(splits, CONFIG).tables["val"].num_rows == 4


@pytest.mark.parametrize("declared", [None, ("0", "1")])
def test_a_label_that_train_or_the_configuration_does_not_know_is_refused(
    tmp_path, declared
):
    config = CONFIG.model_copy(update={"classes": declared})
    splits = {
        "train": raw(tmp_path, "train", rows()),
        "test": raw(tmp_path, "test", rows(4, y=["0", "1.0", "yes", ""])),
    }
    source = "data.classes" if declared else "the labels of train"
    assert refusals(splits, config) == [
        "test.parquet: label column 'y' is empty in 1 rows, first row 4.",
        f"test.parquet: labels '1.0', 'yes' are not among {source}, '0', '1'.",
    ]


@pytest.mark.parametrize("labels", [["1"] * 4, ["", "", "1", "1"]])
def test_one_class_in_train_is_refused(tmp_path, labels):
    line = "train.parquet: train needs at least two classes in 'y', but holds '1'."
    assert refused(tmp_path, y=labels)[-1] == line


@pytest.mark.parametrize("split", ["val", "test"])
def test_only_what_is_never_trained_for_may_have_one_class(tmp_path, split):
    """On a val of one class no model is better than another; a test only says less."""
    splits = {
        "train": raw(tmp_path, "train", rows()),
        split: raw(tmp_path, split, rows(2, y=["1", "1"])),
    }
    if split == "val":
        with pytest.raises(SchemaError, match="val needs at least two classes in 'y'"):
            load_splits(splits, CONFIG)
        return
    loaded = load_splits(splits, CONFIG)
    assert loaded.tables["test"]["y"].to_pylist() == ["1", "1"]
    assert loaded.schema.classes == ("0", "1")


def test_a_positive_label_that_train_does_not_have_is_refused(tmp_path):
    config = CONFIG.model_copy(update={"positive_label": "yes"})
    line = "data.positive_label 'yes' is not among the labels '0', '1'."
    assert refused(tmp_path, config=config, y=["0", "1"]) == [line]


@pytest.mark.parametrize(
    ("labels", "classes", "positive"),
    [
        (["10", "9", "10", "1"], ("1", "9", "10"), "1"),
        (pa.array([True, False]), ("false", "true"), "true"),
        (["good", "bad"], ("bad", "good"), "good"),
    ],
)
def test_classes_come_from_train_in_their_order(tmp_path, labels, classes, positive):
    schema = one(tmp_path, y=labels).schema
    assert (schema.classes, schema.positive_label) == (classes, positive)


def test_declared_classes_keep_their_order_and_need_not_all_be_there(tmp_path):
    config = CONFIG.model_copy(update={"classes": ("1", "0", "2")})
    result = one(tmp_path, config=config)
    assert result.schema.classes == ("1", "0", "2")


# Everything at once


def test_one_error_lists_everything_in_all_files(tmp_path):
    bad_train = rows(
        4,
        id=["a", "a", "", "b"],
        y=["0", "", "0", "0"],
        price=["1", "x", "1e99", "2"],
    )
    no_note = rows().drop_columns(["note"]).append_column("Notes", pa.array(["x"] * 4))
    splits = {
        "train": raw(tmp_path, "train", bad_train, "csv"),
        "val": raw(tmp_path, "val", no_note, "tsv"),
        "test": raw(tmp_path, "test", rows(2, y=["0", "7"], shop=[1.5, 2.5])),
    }
    lines = refusals(splits)
    for start in [
        "train.csv: numeric column 'price' holds cells that are not numbers",
        "train.csv: numeric column 'price' holds values that are infinite as float32",
        "train.csv: id column 'id' is empty in 1 rows, first row 3.",
        "train.csv: id column 'id' must be unique, but 1 ids repeat: 'a' in rows 1, 2.",
        "train.csv: label column 'y' is empty in 1 rows, first row 2.",
        "train.csv: train needs at least two classes in 'y', but holds '0'.",
        "val.tsv: Column 'note' not found in dataset. Did you mean 'Notes'?",
        "test.parquet: column 'shop' holds floating-point numbers",
        "test.parquet: labels '7' are not among the labels of train, '0'.",
    ]:
        assert sum(line.startswith(start) for line in lines) == 1, (start, lines)
    assert len(lines) == 9


def test_what_was_found_before_a_broken_row_is_listed_too(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 100)
    path = tmp_path / "train.csv"
    good = "".join(f"r{n},0,t,s,{'x' if n == 1 else n}\n" for n in range(50))
    path.write_text(f"id,y,note,shop,price\n{good}short\n")
    found, broken = refusals({"train": RawTable(path, "train")})
    assert found.endswith("row 2: 'x'.")
    assert broken == (
        "train.csv: row 51 has 1 cells, but the header has 5 names: 'short'."
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_without_rows_is_refused(tmp_path, kind):
    source = raw(
        tmp_path,
        "train",
        rows(0).cast(pa.schema([(n, pa.string()) for n in NAMES])),
        kind,
    )
    assert refusals({"train": source}) == [
        f"train.{kind}: there are no rows below the header."
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_one_row_is_enough_for_a_split(tmp_path, kind):
    splits = {
        "train": raw(tmp_path, "train", rows()),
        "test": raw(tmp_path, "test", rows(1), kind),
    }
    assert load_splits(splits, CONFIG).tables["test"]["price"].to_pylist() == [0.5]


LONG = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=200, max_size=300
)


@given(
    cell=LONG,
    column=st.sampled_from(["id", "y", "price"]),
    kind=st.sampled_from(FORMATS),
)
@settings(max_examples=60, deadline=None)
def test_no_error_shows_more_than_80_characters_of_a_cell(
    tmp_path_factory, cell, column, kind
):
    folder = tmp_path_factory.mktemp("long")
    config = CONFIG.model_copy(update={"classes": ("0", "1")})
    lines = refused(folder, kind, config, **{column: [cell, cell, "0"]})
    shown = "\n".join(lines)
    assert repr(cell)[:79] in shown
    assert repr(cell)[:81] not in shown
    assert len(shown) < 1500


# What the data report says of a file


def test_file_and_format_of_every_split_are_noted(tmp_path):
    splits = {
        "train": raw(tmp_path, "train", rows(), "csv"),
        "test": raw(tmp_path, "test", rows(3), "tsv"),
    }
    result = load_splits(splits, CONFIG)
    assert result.notes == []
    assert result.sources == {
        "train": {"file": "train.csv", "format": "csv", "repaired_utf8": {}},
        "test": {"file": "test.tsv", "format": "tsv", "repaired_utf8": {}},
    }


# Bytes that are not UTF-8


def with_bytes(folder, kind, cells, column="note"):
    """A file in which some cells of a column are these bytes."""
    path = folder / f"train.{kind}"
    if kind == "parquet":
        table = rows(len(cells))
        bad = pa.array(cells, pa.binary())
        # A Parquet writer takes the bytes of a string as they are.
        forged = pa.StringArray.from_buffers(len(bad), *bad.buffers()[1:])
        place = NAMES.index(column)
        pq.write_table(table.set_column(place, column, forged), path)
        return RawTable(path, "train")
    delimiter = tables.DELIMITERS[kind].encode()
    lines = [delimiter.join(name.encode() for name in NAMES)]
    for number, row in enumerate(rows(len(cells)).to_pylist()):
        written = {name: str(row[name]).encode() for name in NAMES}
        lines.append(delimiter.join({**written, column: cells[number]}.values()))
    path.write_bytes(b"\n".join(lines) + b"\n")
    return RawTable(path, "train")


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_that_are_not_utf8_are_refused_with_row_and_column(tmp_path, kind):
    source = with_bytes(tmp_path, kind, [b"good", b"fine", b"caf\xe9", b"x"])
    (line,) = refusals({"train": source})
    assert line.startswith(f"train.{kind}: column 'note': the cell is not UTF-8.")
    assert line.endswith("(data.invalid_utf8: repair): row 3: 'caf\ufffd'.")
    assert "data.invalid_utf8: repair" in line


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("column", ["note", "shop"])
def test_bytes_that_are_not_utf8_are_repaired_and_counted(tmp_path, kind, column):
    cells = [b"good", b"caf\xe9 \xff", "\ufffd".encode(), b"\xe6\x97"]
    source = with_bytes(tmp_path, kind, cells, column)
    config = CONFIG.model_copy(update={"invalid_utf8": "repair"})
    result = load_splits({"train": source}, config)
    found = result.tables["train"][column].to_pylist()
    assert found == ["good", "caf\ufffd \ufffd", "\ufffd", "\ufffd"]
    assert result.sources["train"]["repaired_utf8"] == {column: 3}
    assert result.notes == [
        {
            "severity": "warning",
            "split": "train",
            "column": column,
            "message": "3 byte sequences are not UTF-8 and became U+FFFD",
        }
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_repairing_changes_nothing_of_a_good_file(tmp_path, kind):
    source = raw(tmp_path, "train", rows(50, note=["é日🙂\ufffd"] * 50), kind)
    config = CONFIG.model_copy(update={"invalid_utf8": "repair"})
    plain, repaired = load_splits({"train": source}, CONFIG), None
    repaired = load_splits({"train": source}, config)
    assert repaired.tables["train"].equals(plain.tables["train"])
    assert repaired.notes == []


def test_the_row_of_bad_bytes_is_right_beyond_the_first_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 10)
    cells = [b"x"] * 34 + [b"\xff"] + [b"x"] * 5
    (line,) = refusals({"train": with_bytes(tmp_path, "parquet", cells)})
    assert line.endswith(": row 35: '\ufffd'.")


# Cells above the cap


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("column", NAMES)
def test_a_cell_above_the_cap_is_refused_with_row_and_column(tmp_path, kind, column):
    config = CONFIG.model_copy(update={"max_cell_bytes": 100})
    cells = rows(4)[column].to_pylist()
    cells[2] = "1" * 101
    lines = refused(tmp_path, kind, config, **{column: cells})
    assert lines[0].startswith(
        f"train.{kind}: column '{column}' holds cells above data.max_cell_bytes (100 "
        "bytes): row 3: '111"
    )
    assert len(lines[0]) < 250


@pytest.mark.parametrize("kind", FORMATS)
def test_the_cap_counts_bytes_and_includes_its_own_length(tmp_path, kind):
    config = CONFIG.model_copy(update={"max_cell_bytes": 100})
    assert loaded(tmp_path, "note", ["é" * 50, "x"], kind=kind, config=config)
    (line,) = refused(tmp_path, kind, config, note=["é" * 50 + "x", "x"])
    assert "row 1" in line


def test_by_default_a_mebibyte_is_the_cap(tmp_path):
    assert one(tmp_path, note=["x" * 2**20, "y"])
    (line,) = refused(tmp_path, note=["y", "x" * (2**20 + 1)])
    assert "(1048576 bytes): row 2" in line


def test_a_category_above_the_cap_is_named_with_its_rows(tmp_path):
    config = CONFIG.model_copy(update={"max_cell_bytes": 100})
    values = pa.array(["x" * 101, "a", None] * 20).dictionary_encode()
    (line,) = refused(tmp_path, config=config, shop=values)
    assert "row 1: " in line
    assert "row 4: " in line
    assert line.endswith("and 17 more.")


def test_a_group_column_is_kept_as_text_and_is_no_feature(tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text(
            "id,y,t,g\n1,0,a,007\n2,1,b,\n", encoding="utf-8"
        )
    config = DataConfig(id="id", label="y", text=("t",), group="g")
    raw = {
        split: RawTable(tmp_path / f"{split}.csv", split)
        for split in ("train", "val", "test")
    }
    loaded = load_splits(raw, config)
    assert loaded.tables["train"]["g"].to_pylist() == ["007", ""]
    assert loaded.schema.group == "g"
    assert "g" not in config.features


# Many files


def pieces(table, bounds):
    edges = [0, *bounds, table.num_rows]
    return [table.slice(a, b - a) for a, b in pairwise(edges)]


def split_of(folder, split="train"):
    return open_table(find_split(folder, split), split)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["part-{:05d}", "train-{:05d}-of-00004"])
def test_a_split_in_parts_is_the_split_in_one_file(tmp_path, kind, name):
    table = pa.table(
        {
            "id": [f"{n:04d}" for n in range(300)],
            "y": ["no", "yes", "no"] * 100,
            "t": [f"text {n}\n, or" if n % 7 else "" for n in range(300)],
            "c": [["a", "b", ""][n % 3] for n in range(300)],
            "n": [f"{n}.5" if n % 5 else "" for n in range(300)],
        }
    )
    config = DataConfig(
        id="id", label="y", text=("t",), categorical=("c",), numeric=("n",)
    )
    write_rows(tmp_path / f"one/train.{kind}", iter(table.to_batches()), table.schema)
    for number, rows in enumerate(pieces(table, [75, 75, 200])):
        path = tmp_path / "many/train" / f"{name.format(number)}.{kind}"
        write_rows(path, iter(rows.to_batches()), rows.schema)
    one = load_splits({"train": split_of(tmp_path / "one")}, config)
    many = load_splits({"train": split_of(tmp_path / "many")}, config)
    assert (
        many.tables["train"]
        .combine_chunks()
        .equals(one.tables["train"].combine_chunks())
    )
    assert many.schema == one.schema
    assert (many.notes, one.notes) == ([], [])
    assert list(many.sources["train"]["parts"].values()) == [75, 0, 125, 100]
    assert many.sources["train"]["file"] == "train"
    assert "parts" not in one.sources["train"]


def test_a_folder_may_be_a_feature(tmp_path):
    for shop, rows in {"DE": "1,no\n2,yes\n", "US": "3,no\n"}.items():
        path = tmp_path / "train" / f"shop={shop}" / "year=2024" / "part-0.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"id,y\n{rows}")
    config = DataConfig(id="id", label="y", categorical=("shop",), numeric=("year",))
    found = load_splits({"train": split_of(tmp_path)}, config).tables["train"]
    assert found["shop"].to_pylist() == ["DE", "DE", "US"]
    assert found["year"].to_pylist() == [2024.0] * 3


def test_what_is_wrong_in_parts_is_named_with_file_and_row(tmp_path):
    parts = ["a,no,1\nb,no,x\n", "", "c,yes,2\na,,3\n", ",no,1\nd,yes,inf\n"]
    for number, rows in enumerate(parts):
        path = tmp_path / "train" / f"part-{number}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"id,y,n\n{rows}")
    config = DataConfig(id="id", label="y", numeric=("n",))
    with pytest.raises(SchemaError) as caught:
        load_splits({"train": split_of(tmp_path)}, config)
    where = f"  - {tmp_path / 'train'}: "
    wrong = str(caught.value)
    assert f"{where}numeric column 'n' holds cells that are not numbers" in wrong
    assert "part-0.csv row 2: 'x'; part-3.csv row 2: 'inf'." in wrong
    assert f"{where}id column 'id' is empty in 1 rows, first part-3.csv row 1." in wrong
    assert "'a' in part-0.csv row 1, part-2.csv row 2." in wrong
    assert "label column 'y' is empty in 1 rows, first part-2.csv row 2." in wrong


def test_parts_without_any_row_are_refused(tmp_path):
    (tmp_path / "train").mkdir()
    for number in range(2):
        (tmp_path / "train" / f"part-{number}.csv").write_text("id,y,n\n")
    config = DataConfig(id="id", label="y", numeric=("n",))
    with pytest.raises(SchemaError, match=f"{tmp_path / 'train'}: there are no rows"):
        load_splits({"train": split_of(tmp_path)}, config)
    (tmp_path / "train" / "part-1.csv").write_text("")
    with pytest.raises(SchemaError, match=r"part-1.csv: the file is empty"):
        load_splits({"train": split_of(tmp_path)}, config)


def test_files_that_are_not_read_are_a_finding_and_one_line(tmp_path, caplog):
    (tmp_path / "train").mkdir()
    for name in ("data", "other", "data (1)"):
        rows = "".join(f"{name}{n},{n % 2},1\n" for n in range(4))
        (tmp_path / "train" / f"{name}.csv").write_text(f"id,y,n\n{rows}")
    config = DataConfig(id="id", label="y", numeric=("n",))
    found = load_splits({"train": split_of(tmp_path)}, config)
    assert found.tables["train"].num_rows == 4
    (note,) = found.notes
    assert (note["severity"], note["split"]) == ("warning", "train")
    assert "'data.csv', 'other.csv'" in note["message"]
    assert "data.train_filename='*.csv'" in note["message"]
    assert [record.getMessage() for record in caplog.records] == [
        f"train: {note['message']}."
    ]


# Every finding of a file


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_all_that_is_wrong_with_a_file_is_in_one_error(tmp_path, kind):
    d = tables.DELIMITERS[kind]
    lines = [NAMES, ("r1", "0", "ok", "caf\xe9", "dear"), ("r2", "1", "\xff", "b", "2")]
    lines += [("r3", "0", "ok", "b", "x"), ("r4", "1", "\xfe", "b", "4")]
    path = tmp_path / f"train.{kind}"
    path.write_text("".join(f"{d.join(row)}\n" for row in lines), encoding="latin-1")
    found = refusals({"train": RawTable(path, "train")})
    assert len(found) == 3
    shown = {line.split("column '")[1][:4]: line for line in found}
    assert shown["note"].endswith("row 2: '\ufffd'; row 4: '\ufffd'.")
    assert shown["shop"].endswith("row 1: 'caf\ufffd'.")
    assert shown["pric"].endswith("row 1: 'dear'; row 3: 'x'.")


@pytest.mark.parametrize("column", ["id", "y"])
def test_an_unreadable_id_or_label_is_not_called_anything_else(tmp_path, column):
    (line,) = refusals({"train": with_bytes(tmp_path, "csv", [b"\xff"] * 4, column)})
    assert f"column '{column}': the cell is not UTF-8" in line
    assert line.endswith("'\ufffd' and 1 more.")


def test_every_row_that_does_not_fit_is_counted(tmp_path):
    path = tmp_path / "train.csv"
    good = "".join(
        f"{'short' if n % 10 == 3 else f'r{n},0,t,s,1'}\n" for n in range(50)
    )
    path.write_text(f"id,y,note,shop,price\n{good}")
    (line,) = refusals({"train": RawTable(path, "train")})
    assert [f"row {n} has 1 cells" in line for n in (4, 14, 24, 34)] == [1, 1, 1, 0]
    assert line.endswith(": 'short' and 2 more such rows.")


# Quotes


def with_quotes(folder, first, last, kind="tsv", rows=50):
    """A file of a program that knows no quotes; two cells have a stray one."""
    d = tables.DELIMITERS[kind]
    lines = [d.join(NAMES)]
    for n in range(1, rows + 1):
        begin, end = '"' * (n == first), '"' * (n == last)
        note = f"{begin}text {n}{end}"
        lines.append(d.join((f"r{n}", str(n % 2), note, "s", "1")))
    path = folder / f"train.{kind}"
    path.write_text("\n".join(lines) + "\n")
    return RawTable(path, "train")


def quoted(quoting):
    return CONFIG.model_copy(update={"quoting": quoting})


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_rows_that_stray_quotes_would_join_are_loaded_or_refused(tmp_path, kind):
    source = with_quotes(tmp_path, 10, 40, kind)
    (line,) = refusals({"train": source})
    assert "20 rows if cells may be in quotes, 50 if" in line
    assert "data.quoting=none" in line
    plain = load_splits({"train": source}, quoted("none"))
    notes = plain.tables["train"]["note"].to_pylist()
    assert (len(notes), notes[9], notes[39]) == (50, '"text 10', 'text 40"')
    assert plain.notes == []
    joined = load_splits({"train": source}, quoted("standard"))
    assert joined.tables["train"].num_rows == 20
    (note,) = joined.notes
    assert (note["severity"], note["split"], note["column"]) == (
        "warning",
        "train",
        None,
    )
    assert note["message"].startswith("1 cells in quotes go over several lines")
    assert "first in rows 10." in note["message"]


def test_a_text_that_holds_what_looks_like_a_row_is_a_finding(tmp_path):
    text = "I bought\na,b,c,d,e\nof it"
    result = one(tmp_path, "csv", note=["one", text, "three", "four"])
    assert result.tables["train"]["note"][1].as_py() == text
    assert "first in rows 2." in result.notes[0]["message"]


# Files that change while they are read

LOAD = """
import sys
from pathlib import Path
from tabweave.tables.loading import load_splits
from tabweave.schema import DataConfig
from tabweave.tables.files import RawTable
table = RawTable(Path(sys.argv[1]), "train").pinned()
print("reading", flush=True)
load_splits({"train": table}, DataConfig(id="id", label="y", text=("note",)))
print("loaded", flush=True)
"""


def truncated(path):
    os.truncate(path, 1000)


def grown(path):
    with open(path, "a", encoding="utf-8") as file:
        file.write("more,0,and more\n")


def swapped(path):
    other = path.with_name("other")
    other.write_text("id,y,note\n1,0,x\n2,1,y\n")
    os.replace(other, path)


def large(folder, kind, count):
    """A file with that many rows."""
    table = pa.table(
        {
            "id": pa.array(range(count)).cast(pa.string()),
            "y": pa.array(np.arange(count) % 2).cast(pa.string()),
            "note": ['a text of "some" length, and more'] * count,
        }
    )
    path = folder / f"train.{kind}"
    write_rows(path, table.to_batches(), table.schema)
    return RawTable(path, "train")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_shrinks_while_it_is_loaded_ends_no_process(tmp_path, kind):
    path = large(tmp_path, kind, 300_000).path
    command = [sys.executable, "-c", LOAD, str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "reading\n"
        time.sleep(0.05)
        truncated(path)
        said, error = process.communicate(timeout=60)
    assert said == ""
    assert process.returncode == 1  # and not minus the number of a signal
    assert f"ArtifactError: {path} changed while it was read" in error


@pytest.mark.parametrize("change", [truncated, grown, swapped])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_changes_while_it_is_read_is_an_error(
    tmp_path, kind, change, monkeypatch
):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 100)
    raw = large(tmp_path, kind, 1000)
    batches = raw.batches(["note"])
    assert next(batches).num_rows < 1000
    change(raw.path)
    with pytest.raises(ArtifactError, match=f"{raw.path} changed while it was read"):
        list(batches)
