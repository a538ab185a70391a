from pathlib import PurePath

import pytest

from tabweave.errors import SchemaError
from tabweave.tables.part_names import (
    check_complete,
    family,
    folder_keys,
    natural_order,
    original_of,
)

SPARK = "part-00000-0f3e2a4c-5f0a-4d3e-9a51-6d2f7b1c8e90-c000"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"{SPARK}.csv", "part"),
        (f"{SPARK}.snappy.parquet", "part"),
        ("part-00000.csv", "part"),
        ("part-r-00003.tsv", "part"),
        ("part-a.csv", "part"),
        ("part.0.parquet", "part"),
        ("PART_7.CSV", "part"),
        ("train-00000-of-00003.parquet", "train of 3"),
        ("train-00000-of-00001-a09b74b3ef9c3b56.parquet", "train of 1"),
        ("part-00000-of-00002.csv", "part of 2"),
        ("reviews_1_of_3.csv", "reviews of 3"),
        ("part-00001.csv.gz", "part"),
        # Numbered copies, and names that only look like parts.
        ("part-00000 (1).csv", None),
        ("part-00000 - Copy.csv", None),
        ("part-00000 copy 2.csv", None),
        ("data.csv", None),
        ("data (1).csv", None),
        ("data-1.csv", None),
        ("parts.csv", None),
        ("partner.csv", None),
        ("part_time.csv", None),
        ("2024-01.csv", None),
        ("one-of-us.csv", None),
    ],
)
def test_names_of_one_table_have_one_family(name, kind):
    assert family(name) == kind


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("data (1).csv", "data"),
        ("data(12).csv", "data"),
        ("data copy.csv", "data"),
        ("data copy 3.csv", "data"),
        ("data - Copy (2).csv", "data"),
        ("data (final).csv", None),
        ("photocopy.csv", None),
        ("(1).csv", None),
    ],
)
def test_copies_are_told_from_files_of_their_own(name, original):
    assert original_of(name) == original


def test_parts_that_say_how_many_they_are_must_all_be_there():
    name = "x-{:05d}-of-00003.csv".format
    check_complete(PurePath("in"), map(name, range(3)))
    check_complete(PurePath("in"), map(name, range(1, 4)))  # some count from 1
    check_complete(PurePath("in"), ["part-7.csv"])
    with pytest.raises(
        SchemaError, match=r"there must be 3 .* 1 .* missing, numbers 2"
    ):
        check_complete(PurePath("in"), map(name, range(2)))
    twice = ["x-0-of-1-aaaa.csv", "x-0-of-1-bbbb.csv"]
    with pytest.raises(SchemaError, match="have the same number"):
        check_complete(PurePath("in"), twice)


def test_a_name_that_promises_billions_of_files_costs_nothing():
    with pytest.raises(
        SchemaError,
        match=r"9999999998 of them are missing, numbers 0, 1, 2, 4, .* more",
    ):
        check_complete(PurePath("in"), ["x-3-of-9999999999.csv"])
    with pytest.raises(
        SchemaError, match=r"11 .* missing, numbers 1, .*, 10 and 1 more"
    ):
        check_complete(PurePath("in"), ["x-0-of-12.csv"])


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("x.csv", ()),
        ("a=1/x.csv", (("a", "1"),)),
        ("b=US/deep/a=2024-01-31/x.csv", (("b", "US"), ("a", "2024-01-31"))),
        ("a=/x.csv", (("a", ""),)),
        ("a=__HIVE_DEFAULT_PARTITION__/x.csv", (("a", ""),)),
        ("a=x%2Fy%3Dz/x.csv", (("a", "x/y=z"),)),
        ("Gr%C3%B6%C3%9Fe=groß/x.csv", (("Größe", "groß"),)),
        ("a=1=2/x.csv", (("a", "1=2"),)),
        ("=1/x.csv", ()),
    ],
)
def test_folders_say_columns(name, keys):
    assert folder_keys(PurePath(name)) == keys


def test_folders_that_contradict_or_cannot_be_read_are_refused():
    with pytest.raises(SchemaError, match="two folders have the key 'a'"):
        folder_keys(PurePath("a=1/a=1/x.csv"))
    for name in ("a=%FF/x.csv", "a=\udcff/x.csv"):
        with pytest.raises(SchemaError, match="is not UTF-8"):
            folder_keys(PurePath(name))


def test_names_are_sorted_as_people_count():
    names = ["part-10.csv", "part-2.csv", "part-a.csv", "a=10/1.csv", "a=9/2.csv"]
    names += ["part-02.csv", "part-²1.csv"]
    ordered = sorted(map(PurePath, names), key=natural_order)
    assert [name.as_posix() for name in ordered] == [
        "a=9/2.csv",
        "a=10/1.csv",
        "part-02.csv",
        "part-2.csv",
        "part-10.csv",
        "part-a.csv",
        "part-²1.csv",
    ]
