import math
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import SchemaError
from tabweave.tables.files import FORMATS, RawTable, write_rows
from tabweave.tables.lookup import find_split
from tabweave.tables.parted_tables import (
    PartedTable,
    contradictions,
    named_rows,
    open_table,
    sampled_batches,
    unread_sentence,
    with_options,
)

NAMES = "part-{:05d}.{}".format


def texts(**columns):
    return pa.table({name: pa.array(v, pa.string()) for name, v in columns.items()})


def write(path, table):
    write_rows(path, iter(table.to_batches()), table.schema)


def parted(folder, tables, kind="parquet"):
    for number, table in enumerate(tables):
        write(folder / "train" / NAMES(number, kind), table)
    return open_table(find_split(folder, "train"), "train")


def keyed(folder, files, kind="parquet"):
    for name, table in files.items():
        write(folder / "train" / f"{name}.{kind}", table)
    return open_table(find_split(folder, "train"), "train")


def read(source, columns=None):
    return pa.Table.from_batches(source.batches(columns))


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@pytest.mark.parametrize("kind", FORMATS)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8),
    cuts=st.sets(st.integers(0, 8), max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_parts_read_as_the_one_file_they_were_cut_from(
    tmp_path_factory, kind, rows, cuts
):
    folder = tmp_path_factory.mktemp("rows")
    whole = texts(**dict(zip("ab", zip(*rows, strict=True), strict=True)))
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [whole.slice(a, b - a) for a, b in pairwise(bounds)]
    source = parted(folder, [*parts, whole.slice(0, 0)], kind)
    assert isinstance(source, PartedTable)
    assert (source.format, source.columns()) == (kind, ["a", "b"])
    assert source.schema() == whole.schema
    assert read(source).combine_chunks().equals(whole.combine_chunks())
    assert read(source, ["b"]).equals(whole.select(["b"]))
    for row in range(len(rows)):
        part = max(n for n, start in enumerate(bounds[:-1]) if start <= row)
        assert (
            source.place(row + 1) == f"{NAMES(part, kind)} row {row - bounds[part] + 1}"
        )


def test_one_file_stays_one_file(tmp_path):
    write(tmp_path / "train" / "part-0.csv", texts(a=["1"]))
    source = open_table(find_split(tmp_path, "train"), "train", invalid_utf8="repair")
    assert source == RawTable(tmp_path / "train" / "part-0.csv", "train", "repair")


# Headers and types


def test_every_file_is_compared_with_the_first(tmp_path):
    (tmp_path / "train").mkdir()
    contents = ["a,b\n1,2\n", "b,a\n4,3\n", "a,c\n1,2\n", "", "a,b,d\n", "a\n", "a,b\n"]
    for number, content in enumerate(contents):
        (tmp_path / "train" / f"part-{number}.csv").write_text(content)
    source = open_table(find_split(tmp_path, "train"), "train")
    with pytest.raises(SchemaError) as caught:
        source.columns()
    lines = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    assert lines == [
        "train: the files are not parts of one table:",
        "  - train/part-3.csv: the file is empty; it has no header.",
        "  - train/part-2.csv: lacks the columns 'b' and has further columns 'c'; "
        "part-0.csv has 'a', 'b'.",
        "  - train/part-4.csv: has further columns 'd'; part-0.csv has 'a', 'b'.",
        "  - train/part-5.csv: lacks the columns 'b'; part-0.csv has 'a', 'b'.",
    ]
    with pytest.raises(SchemaError):
        list(source.batches(["a"]))


@pytest.mark.parametrize("kind", FORMATS)
def test_columns_may_come_in_another_order(tmp_path, kind):
    tables = [texts(a=["1"], b=["2"]), texts(b=["4"], a=["3"])]
    assert read(parted(tmp_path, tables, kind)).equals(
        texts(a=["1", "3"], b=["2", "4"])
    )


def test_repeated_columns_must_come_in_one_order(tmp_path):
    (tmp_path / "train").mkdir()
    for number, header in enumerate(["a,b,a", "a,a,b", "a,b,a"]):
        (tmp_path / "train" / f"part-{number}.csv").write_text(f"{header}\n1,2,3\n")
    with pytest.raises(
        SchemaError, match=r"part-1.csv: has columns of one name in ano"
    ):
        open_table(find_split(tmp_path, "train"), "train").columns()


D = pa.dictionary(pa.int8(), pa.string())


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.array([1], pa.int32()), pa.array([2**40], pa.int64()), pa.int64()),
        (pa.array([1], pa.int64()), pa.array([0.5], pa.float64()), pa.float64()),
        (pa.array([0.5], pa.float32()), pa.array([0.1], pa.float64()), pa.float64()),
        (pa.nulls(1), pa.array(["a"]), pa.string()),
        (pa.array([7]), pa.nulls(1), pa.int64()),
        (pa.array(["a"]).cast(D), pa.array(["b"]), pa.string()),
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), pa.large_string()),
        (pa.array([1], pa.timestamp("s")), pa.array([2], pa.timestamp("us")), None),
    ],
)
def test_types_that_hold_one_another_go_together(tmp_path, one, other, both):
    source = parted(tmp_path, [pa.table({"a": one}), pa.table({"a": other})])
    found = read(source)
    assert found["a"].type == (both or other.type)
    assert found.schema == source.schema()
    assert found["a"].to_pylist() == [one[0].as_py(), other[0].as_py()]


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (
            pa.array(["1"]),
            pa.array([1]),
            "has type int64, but in part-00000.parquet it",
        ),
        (pa.array([True]), pa.array([1]), "has type int64, but"),
        (pa.array(["a"]), pa.array([b"a"]), "has type binary, but"),
        (pa.array([1.5]), pa.array([1]).cast(pa.decimal128(25, 2)), "has type decimal"),
        (pa.array([1], pa.timestamp("s")), pa.array(["x"]), "has type string, but"),
    ],
)
def test_types_that_do_not_fit_are_refused_with_file_and_column(
    tmp_path, one, other, words
):
    source = parted(tmp_path, [pa.table({"a": one}), pa.table({"a": other})])
    with pytest.raises(SchemaError, match=rf"part-00001.parquet: column 'a' {words}"):
        source.columns()


def test_a_number_that_would_lose_digits_is_refused(tmp_path):
    tables = [pa.table({"n": [0.5]}), pa.table({"n": [2**53 + 1]})]
    with pytest.raises(
        SchemaError, match=r"part-00001.parquet: column 'n' has type int64"
    ):
        read(parted(tmp_path, tables))


# Folders key=value


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_is_a_column_of_text(tmp_path, kind):
    files = {
        "shop=DE/year=2024/part-0": texts(a=["1", "2"]),
        "shop=__HIVE_DEFAULT_PARTITION__/year=07/x": texts(a=["3"]),
    }
    source = keyed(tmp_path, files, kind)
    assert source.columns() == ["a", "shop", "year"]
    expected = texts(
        a=["1", "2", "3"], shop=["DE", "DE", ""], year=["2024"] * 2 + ["07"]
    )
    assert read(source).equals(expected)
    assert read(source, ["year"]).equals(expected.select(["year"]))
    assert read(source, ["year", "a"]).equals(expected.select(["year", "a"]))


def test_a_column_that_says_the_same_as_its_folder_is_read(tmp_path):
    files = {
        "n=1/x": pa.table({"n": pa.array([1, 1], pa.int32()), "a": ["x", "y"]}),
        "n=2/x": pa.table({"n": pa.array([2], pa.int32()), "a": ["z"]}),
    }
    found = read(keyed(tmp_path, files))
    assert found["n"].type == pa.int32()
    assert found["n"].to_pylist() == [1, 1, 2]


def test_a_column_that_contradicts_its_folder_is_refused(tmp_path):
    files = {"shop=DE/x": texts(a=["1", "2"], shop=["DE", "US"])}
    with pytest.raises(
        SchemaError, match=r"x.csv: row 2, column 'shop' holds 'US', but"
    ):
        read(keyed(tmp_path, files, "csv"))


def test_a_folder_stands_in_for_a_column_that_only_some_files_have(tmp_path):
    files = {"k=1/x": texts(a=["1"]), "k=2/x": texts(a=["1"], k=["2"])}
    source = keyed(tmp_path, files)
    assert source.columns() == ["a", "k"]
    assert read(source)["k"].to_pylist() == ["1", "2"]


@pytest.mark.parametrize(
    ("cells", "value", "wrong"),
    [
        (pa.array([1, 2, None]), "1", [False, True, True]),
        (pa.array(["a", None]), "", [True, False]),
        (pa.array(["a", "b"]).dictionary_encode(), "a", [False, True]),
        (pa.array([[1]]), "1", [True]),
    ],
)
def test_cells_are_compared_with_the_folder_as_text(cells, value, wrong):
    assert contradictions(cells, value).tolist() == wrong


# Reading


def test_bytes_that_are_no_text_are_counted_over_all_parts(tmp_path):
    (tmp_path / "train").mkdir()
    for number in range(2):
        path = tmp_path / "train" / f"part-{number}.csv"
        path.write_bytes(b"a,b\ncaf\xe9,\xe9\n")
    source = open_table(find_split(tmp_path, "train"), "train")
    with pytest.raises(
        SchemaError, match=r"part-0.csv: row 1, column 'a': the cell is"
    ):
        read(source)
    repairs = Counter()
    mended = with_options(source, invalid_utf8="repair")
    found = pa.Table.from_batches(mended.batches(None, repairs))
    assert found["a"].to_pylist() == ["caf\ufffd"] * 2
    assert repairs == {"a": 2, "b": 2}


def test_rows_are_counted_per_part(tmp_path):
    source = parted(tmp_path, [texts(a=["1"] * n) for n in (2, 0, 3)])
    read(source)
    expected = {NAMES(n, "parquet"): rows for n, rows in enumerate((2, 0, 3))}
    assert source.rows_per_part(5) == expected
    assert named_rows(source, [2, 3]) == (
        "part-00000.parquet row 2, part-00002.parquet row 1"
    )


@pytest.mark.parametrize(("rows", "text"), [([3], "row 3"), ([3, 4], "rows 3, 4")])
def test_rows_of_one_file_are_numbers(tmp_path, rows, text):
    assert named_rows(RawTable(tmp_path / "x.csv", "train"), rows) == text
    assert named_rows(RawTable(tmp_path / "x.csv", "train"), range(1, 10)) == (
        "rows 1, 2, 3 and 6 more"
    )


@given(
    sizes=st.lists(st.integers(0, 9), min_size=2, max_size=5), rows=st.integers(1, 30)
)
@settings(max_examples=25, deadline=None)
def test_a_sample_takes_rows_of_every_part(tmp_path_factory, sizes, rows):
    tables = [texts(a=[f"{n}"] * size) for n, size in enumerate(sizes)]
    source = parted(tmp_path_factory.mktemp("s"), tables)
    found = [b.num_rows for b in sampled_batches(source, ["a"], rows)]
    taken = [
        c for b in sampled_batches(source, ["a"], rows) for c in b["a"].to_pylist()
    ]
    assert sum(found) == len(taken) <= rows
    counts = Counter(taken)
    for number, size in enumerate(sizes):
        assert counts[str(number)] >= min(size, math.floor(rows / len(sizes)))


def test_files_that_are_not_read_are_named_once_with_the_way_out(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / "train" / f"{name}.csv", texts(a=["1"]))
    source = open_table(find_split(tmp_path, "train"), "train")
    sentence = unread_sentence(source, "data.train_filename")
    assert sentence.startswith(
        f"not read beside {tmp_path / 'train' / 'a.csv'}: 'b.csv', "
    )
    assert "data.train_filename='*.csv'" in sentence
    assert unread_sentence(RawTable(tmp_path / "a.csv", "train"), "x") == ""


def test_what_is_wrong_in_several_parts_is_told_at_once(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    files = ['a,b\n1,"x\n2,y"\n', "a,b\n1,2\n", "a,b\n1,2,3\n", 'a,b\n"3,x\n4",y\n']
    for number, text in enumerate(files):
        (folder / NAMES(number, "csv")).write_text(text)
    source = open_table(find_split(tmp_path, "train"), "train")
    with pytest.raises(SchemaError, match="3 files cannot be read") as caught:
        read(source, ["a"])
    told = [n for n in range(4) if NAMES(n, "csv") in str(caught.value)]
    assert told == [0, 2, 3]
    (folder / NAMES(0, "csv")).write_text(files[1])
    (folder / NAMES(3, "csv")).write_text(files[1])
    with pytest.raises(SchemaError, match="part-00002") as caught:
        read(source)
    assert "files cannot be read" not in str(caught.value)
