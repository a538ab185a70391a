import datetime
import decimal
import math
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave import delimited, tables
from tabweave.errors import SchemaError
from tabweave.loading import load_splits
from tabweave.schema import DataConfig
from tabweave.tables import FORMATS, RawTable, write_rows

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
            found = (result.tables["train"], result.schema, result.notes)
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
        "train.parquet: id column 'id' is empty in 2 rows, first [2, 7].",
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
        "train.csv: id column 'id' is empty in 1 rows, first [3].",
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
    assert line.startswith(
        f"train.{kind}: row 3, column 'note': the cell is not UTF-8."
    )
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
    assert "row 35, column 'note'" in line


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
