import os
import time
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import MissingDataError, SchemaError
from tabweave.tables.lookup import find_first_data_file, find_split, find_table


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


# One file


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (["train/x.csv"], "train/x.csv"),
        (["train/b.tsv", "train/a.parquet"], "train/a.parquet"),
        (["train/_SUCCESS", "train/part-1.parquet"], "train/part-1.parquet"),
        (["train/_meta.csv", "train/.a.csv", "train/x.csv"], "train/x.csv"),
        (["train/a.txt", "train/x.CSV"], "train/x.CSV"),
        (["train/x.csv", "train.csv", "train.tsv"], "train/x.csv"),
        (["train/deep.csv/x.csv", "train/y.csv"], "train/y.csv"),
        (["train.csv"], "train.csv"),
        (["train.tsv", "val.csv"], "train.tsv"),
        (["train/notes.txt", "train.parquet"], "train.parquet"),
        (["train", "train.csv"], "train.csv"),
    ],
)
def test_the_first_file_of_the_folder_wins_then_the_one_beside(tmp_path, there, found):
    touch(tmp_path, *there)
    assert find_split(tmp_path, "train").path == tmp_path / found


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ([], r"train, and no train\.tsv, train\.csv or train\.parquet in .*\(data_dir"),
        (["trian.csv"], "no train.tsv, train.csv or train.parquet"),
        (["train/_SUCCESS", "train/a.txt"], r"train\. It holds '_SUCCESS', 'a.txt'\."),
        (["train/deep/x.csv"], r"train\. It holds nothing\."),
    ],
)
def test_no_file_says_where_it_was_sought(tmp_path, there, message):
    touch(tmp_path, *there)
    with pytest.raises(MissingDataError, match=message) as caught:
        find_split(tmp_path, "train")
    start = "No supported data file (.tsv, .csv, .parquet) found in "
    assert str(caught.value).startswith(f"{start}{tmp_path / 'train'}")


def test_a_data_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=f"{tmp_path / 'no'}"):
        find_split(tmp_path / "no", "train")


def test_two_files_that_claim_to_be_the_split_are_refused(tmp_path):
    touch(tmp_path, "train.csv", "train.parquet")
    with pytest.raises(SchemaError, match=r"'train\.csv', 'train\.parquet'") as caught:
        find_split(tmp_path, "train")
    assert "set data.train_filename" in str(caught.value)


@pytest.mark.parametrize("name", ["mine.csv", "deep/mine.tsv", "train/mine.parquet"])
def test_a_named_file_wins(tmp_path, name):
    touch(tmp_path, "train/a.csv", "train.csv", name)
    assert find_split(tmp_path, "train", name).path == tmp_path / name


def test_a_named_file_is_sought_in_the_folder_of_the_split_first(tmp_path):
    touch(tmp_path, "train/mine.csv", "mine.csv")
    found = find_split(tmp_path, "train", "mine.csv").path
    assert found == tmp_path / "train" / "mine.csv"


def test_a_named_file_may_lie_anywhere(tmp_path):
    touch(tmp_path, "elsewhere/mine.csv")
    path = tmp_path / "elsewhere" / "mine.csv"
    assert find_split(tmp_path / "data", "train", str(path)).path == path


def test_a_named_file_that_is_not_there_or_of_no_format_is_refused(tmp_path):
    touch(tmp_path, "train/a.csv", "mine.xlsx")
    with pytest.raises(MissingDataError, match=r"data\.train_filename names 'no\.csv'"):
        find_split(tmp_path, "train", "no.csv")
    with pytest.raises(SchemaError, match=r"'mine\.xlsx', whose format is not known"):
        find_split(tmp_path, "train", "mine.xlsx")


@given(
    names=st.sets(
        st.text("ab._AB", min_size=1, max_size=4).filter(lambda n: n.strip("."))
    )
)
@settings(max_examples=40, deadline=None)
def test_the_first_file_does_not_depend_on_the_order_of_the_disk(
    tmp_path_factory, names
):
    folder = tmp_path_factory.mktemp("split")
    touch(folder, *[f"{name}.csv" for name in names])
    usable = sorted(f"{n}.csv" for n in names if not n.startswith((".", "_")))
    if usable:
        assert find_first_data_file(folder) == folder / usable[0]
    else:
        with pytest.raises(MissingDataError):
            find_first_data_file(folder)


# Many files


def names(found):
    return [name.as_posix() for name in found.names]


SPARK = [f"part-{n:05d}-0f3e-c000.csv" for n in range(3)]
HUGGING_FACE = [f"train-{n:05d}-of-00003.parquet" for n in range(3)]
HIVE = ["marketplace=DE/part-0.csv", "marketplace=US/part-0.csv"]


@pytest.mark.parametrize(
    ("there", "read", "unread"),
    [
        (SPARK, SPARK, ()),
        ([*SPARK, "_SUCCESS", f".{SPARK[0]}.crc", f"{SPARK[0]}.crc"], SPARK, ()),
        ([*SPARK, "_metadata", "_common_metadata", "_x.csv"], SPARK, ()),
        (HUGGING_FACE, HUGGING_FACE, ()),
        ([*HUGGING_FACE, "README.md"], HUGGING_FACE, ("README.md",)),
        (["part.10.csv", "part.9.csv"], ["part.9.csv", "part.10.csv"], ()),
        (HIVE, HIVE, ()),
        (["a=10/x.csv", "a=9/x.csv"], ["a=9/x.csv", "a=10/x.csv"], ()),
        (["a=1/b=2/x.tsv", "a=1/b=1/x.tsv"], ["a=1/b=1/x.tsv", "a=1/b=2/x.tsv"], ()),
        ([*HIVE, "_SUCCESS", "_temporary/a=1/x.csv"], HIVE, ()),
        (["a=1/x.csv"], ["a=1/x.csv"], ()),
        (
            ["a=1/x.csv", "a=1/x (1).csv", "a=1/deep/x.csv"],
            ["a=1/x.csv"],
            ("a=1/deep/x.csv", "a=1/x (1).csv"),
        ),
        # What does not belong together: the first one.
        (["data.csv", "data (1).csv"], ["data (1).csv"], ("data.csv",)),
        (["a.csv", "b.csv", "notes.txt"], ["a.csv"], ("b.csv",)),
        (["a.csv", "b.csv.gz", "c.xlsx"], ["a.csv"], ("b.csv.gz",)),
        (["a.csv", "deep/b.csv", "deep/c.txt"], ["a.csv"], ("deep/b.csv",)),
        (["a.csv", "k=1/b.csv"], ["a.csv"], ("k=1/b.csv",)),
        (["2023.csv", "2024.csv"], ["2023.csv"], ("2024.csv",)),
        ([*SPARK, f"{SPARK[0][:-4]} (1).csv"], SPARK, (f"{SPARK[0][:-4]} (1).csv",)),
        ([*SPARK, "x.csv"], SPARK, ("x.csv",)),
        ([*SPARK, "all.csv"], ["all.csv"], tuple(SPARK)),
    ],
)
def test_a_split_folder_is_read_whole_or_what_is_not_read_is_named(
    tmp_path, there, read, unread
):
    touch(tmp_path / "train", *there)
    found = find_split(tmp_path, "train")
    assert names(found) == read
    assert sorted(found.unread) == sorted(unread)
    assert found.folder == tmp_path / "train"
    several = len(read) > 1 or "=" in read[0]
    assert found.is_file is not several
    assert found.path == tmp_path / "train" / ("" if several else read[0])


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (["part-0.csv", "part-1.parquet"], r"part-0.csv \(csv\), part-1.parquet"),
        (["part-0.csv", "part-1.csv.gz"], r"part-1.csv.gz \(not .tsv, .csv or"),
        (
            HUGGING_FACE[:2],
            r"there must be 3 files .* 1 of them are missing, numbers 2",
        ),
        (HUGGING_FACE[:1], "2 of them are missing"),
        (["a=1/x.csv", "a=2/x.tsv"], "must have one format"),
        (
            ["a=1/x.csv", "b=2/x.csv"],
            r"a=1/x.csv has \['a'\] and b=2/x.csv has \['b'\]",
        ),
        (["a=1/x.csv", "a=1/b=2/x.csv"], "must have the same keys"),
        (["a=1/a=2/x.csv"], "two folders have the key 'a'"),
        (["a=1/x.txt"], r"No supported data file .* found in the folders 'a=1'"),
        (
            ["a=1/t-0-of-2.csv", "a=2/t-0-of-1.csv"],
            r"(?s)a=1: .* 1 of them are missing",
        ),
        (["a=1/b=1/t-0-of-1-aa.csv", "a=1/b=1/t-0-of-1-bb.csv"], "the same number"),
    ],
)
def test_parts_that_are_not_one_table_are_refused(tmp_path, there, message):
    touch(tmp_path / "train", *there)
    with pytest.raises(SchemaError, match=message):
        find_split(tmp_path, "train")


def test_a_circle_of_key_folders_ends(tmp_path):
    touch(tmp_path / "train", "a=1/x.csv")
    (tmp_path / "train" / "a=1" / "a=2").symlink_to(tmp_path / "train" / "a=1")
    with pytest.raises(SchemaError, match="two folders have the key 'a'"):
        find_split(tmp_path, "train")


def test_shards_of_all_splits_may_lie_in_one_folder(tmp_path):
    touch(tmp_path, *HUGGING_FACE, "test-00000-of-00001.parquet", "train (1).parquet")
    assert names(find_split(tmp_path, "train")) == HUGGING_FACE
    assert find_split(tmp_path, "train").unread == ("train (1).parquet",)
    found = find_split(tmp_path, "test")
    assert found.path == tmp_path / "test-00000-of-00001.parquet"
    with pytest.raises(MissingDataError):
        find_split(tmp_path, "val")
    touch(tmp_path, "train.csv")
    with pytest.raises(SchemaError, match="Several files claim to be the train split"):
        find_split(tmp_path, "train")


def test_files_beside_the_folder_of_the_split_are_named(tmp_path):
    touch(tmp_path, "train/x.csv", "train.csv")
    assert find_split(tmp_path, "train").unread == ("../train.csv",)


@pytest.mark.parametrize(
    ("filename", "read"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("deep/*.tsv", ["x.tsv", "y.tsv"]),
        ("**/*.tsv", ["deep/x.tsv", "deep/y.tsv"]),
        ("k=*/*.csv", ["k=1/c.csv", "k=2/c.csv"]),
        ("k=*", ["k=1/c.csv", "k=2/c.csv"]),
        ("k=*/", ["k=1/c.csv", "k=2/c.csv"]),
        ("_*.csv", ["_h.csv"]),
    ],
)
@pytest.mark.parametrize("below", ["train", "", "odd[1]*/train"])
def test_a_pattern_names_files_in_their_order(tmp_path, filename, read, below):
    files = ["b.csv", "a.csv", "_h.csv", "n.txt", "deep/x.tsv", "deep/y.tsv"]
    touch(tmp_path / below, *files, "k=1/c.csv", "k=2/c.csv")
    data = tmp_path / "odd[1]*" if below.startswith("odd") else tmp_path
    found = find_split(data, "train", filename)
    assert names(found) == read
    assert not found.is_file


def test_a_file_that_is_named_like_a_pattern_is_that_file(tmp_path):
    touch(tmp_path, "train/data[1].csv", "train/data1.csv")
    found = find_split(tmp_path, "train", "data[1].csv")
    assert found.path == tmp_path / "train" / "data[1].csv"
    assert found.is_file


def test_a_pattern_that_does_not_fit_is_refused(tmp_path):
    touch(tmp_path / "train", "a.csv", "b.tsv", "c.csv.gz", "n.txt")
    with pytest.raises(SchemaError, match=r"a.csv \(csv\), b.tsv \(tsv\)"):
        find_split(tmp_path, "train", "*")
    with pytest.raises(MissingDataError, match=r"'z\*', but neither .* match a file"):
        find_split(tmp_path, "train", "z*")
    assert find_split(tmp_path, "train", "*c*").unread == ("c.csv.gz",)


def test_a_named_folder_is_looked_through_like_that_of_the_split(tmp_path):
    touch(tmp_path, *[f"mine/{name}" for name in SPARK], "train/a.csv")
    found = find_split(tmp_path, "train", "mine")
    assert (names(found), found.path) == (SPARK, tmp_path / "mine")


@pytest.mark.parametrize(
    ("there", "filename", "read", "unread"),
    [
        (
            ["d=1/p-0.csv", "d=1/p-0 (1).csv", "d=1/sub/x.csv", "d=1/n.txt"],
            "d=*",
            ["d=1/p-0.csv"],
            ["d=1/p-0 (1).csv", "d=1/sub/x.csv"],
        ),
        (["a/x.csv", "_temporary/0/x.csv"], "**/*.csv", ["a/x.csv"], []),
        (["a/x.csv", "a/_t/x.csv"], "**/_t/*.csv", ["a/_t/x.csv"], []),
        (["_k=1/x.csv", "_h/k=1/x.csv"], "**/*.csv", ["_k=1/x.csv"], []),
        (["a.csv", "backup/a.csv"], "*", ["a.csv"], ["backup/a.csv"]),
        (["k=1/a.csv", "backup/k=1/a.csv"], "*", ["k=1/a.csv"], ["backup/k=1/a.csv"]),
    ],
)
def test_a_pattern_passes_over_what_a_folder_passes_over_and_names_the_rest(
    tmp_path, there, filename, read, unread
):
    touch(tmp_path / "train", *there)
    found = find_split(tmp_path, "train", filename)
    assert (names(found), sorted(found.unread)) == (read, unread)


def test_a_pattern_does_not_take_plain_folders_and_looks_into_shards(tmp_path):
    touch(tmp_path / "train", "day1/x.csv", "k=1/t-0-of-2.csv")
    with pytest.raises(MissingDataError, match="match a file or a folder key=value"):
        find_split(tmp_path, "train", "day*")
    with pytest.raises(SchemaError, match=r"(?s)k=1: .* 1 of them are missing"):
        find_split(tmp_path, "train", "k=*")


def test_a_file_with_many_names_is_read_once(tmp_path):
    touch(tmp_path / "train", "a/x.csv", "k=1/x.csv", "k=2/y.csv")
    (tmp_path / "train" / "loop").symlink_to(".")
    (tmp_path / "train" / "k=2" / "x.csv").symlink_to("../k=1/x.csv")
    (tmp_path / "train" / "a" / "z.csv").symlink_to("x.csv")
    found = find_split(tmp_path, "train", "a/*.csv")
    assert (names(found), found.unread) == (["x.csv"], ("z.csv",))
    found = find_split(tmp_path, "train", "**/k=*/*.csv")
    assert names(found) == ["k=1/x.csv", "k=2/x.csv", "k=2/y.csv"]


@pytest.mark.parametrize(
    ("there", "unread"),
    [
        (["train.csv", "train-0-of-2.csv.gz"], ["train-0-of-2.csv.gz"]),
        (["train.csv", "train/x.csv.gz"], ["train/x.csv.gz"]),
        (["train.csv", "train.csv.gz", "val.csv.gz"], ["train.csv.gz"]),
        (
            ["train/x.csv", "train.csv", "train.tsv.zip"],
            ["../train.csv", "../train.tsv.zip"],
        ),
    ],
)
def test_packed_files_of_a_split_are_named(tmp_path, there, unread):
    touch(tmp_path, *there)
    assert sorted(find_split(tmp_path, "train").unread) == unread


def test_very_many_parts_are_found_at_once(tmp_path):
    touch(tmp_path / "train", *[f"part-{n:05d}.csv" for n in range(8000)])
    started = time.process_time()
    assert len(find_split(tmp_path, "train").files) == 8000
    assert time.process_time() - started < 3  # 5 s and more when it was quadratic


@pytest.mark.parametrize(
    ("below", "filename"),
    [("train", None), ("train/k=1", None), ("train", "*.csv"), ("train/k=1", "k=*")],
)
@pytest.mark.parametrize("kind", ["leads nowhere", "a pipe", "is a folder"])
def test_a_part_that_is_no_file_is_refused_by_name(tmp_path, below, filename, kind):
    touch(tmp_path / below, "part-00000.csv")
    part = tmp_path / below / "part-00001.csv"
    make = {
        "leads nowhere": lambda: part.symlink_to("gone"),
        "a pipe": partial(os.mkfifo, part),
    }
    make.get(kind, part.mkdir)()
    with pytest.raises(SchemaError, match=rf"part-00001\.csv .*{kind}"):
        find_split(tmp_path, "train", filename)


@pytest.mark.parametrize("filename", [None, "k=*"])
def test_a_key_folder_that_is_gone_is_refused_by_name(tmp_path, filename):
    touch(tmp_path / "train", "k=1/x.csv")
    (tmp_path / "train" / "k=2").symlink_to("gone")
    with pytest.raises(SchemaError, match="k=2 is a link to gone that leads nowhere"):
        find_split(tmp_path, "train", filename)


def test_a_split_that_is_a_link_to_nothing_is_refused_by_name(tmp_path):
    (tmp_path / "train.csv").symlink_to("gone.csv")
    with pytest.raises(SchemaError, match=r"train\.csv is a link to gone\.csv"):
        find_split(tmp_path, "train")


def test_a_table_is_a_file_a_folder_of_parts_or_a_pattern(tmp_path):
    touch(
        tmp_path, *[f"parts/{n}" for n in SPARK], "one/a.csv", "two/a.csv", "two/b.csv"
    )
    find = partial(find_table, parameter="split.source")
    assert find(tmp_path / "one" / "a.csv").is_file
    assert names(find(tmp_path / "parts")) == SPARK
    assert names(find(tmp_path / "parts" / "*1*")) == SPARK[1:2]
    assert names(find(tmp_path / "one")) == ["a.csv"]
    assert not find(tmp_path / "one").is_file
    assert names(find(tmp_path / "two" / "*.csv")) == ["a.csv", "b.csv"]
    with pytest.raises(
        SchemaError, match=r"a.csv and 'b.csv'.*pattern, such as .*\*\.csv"
    ):
        find(tmp_path / "two")
    with pytest.raises(MissingDataError, match=r"split.source names .*no such file"):
        find(tmp_path / "gone")


def test_the_content_of_a_set_tells_every_change_of_its_parts(tmp_path):
    folder = tmp_path / "train"
    touch(folder, *SPARK)
    (folder / SPARK[0]).write_text("a\n1\n")

    def content():
        return find_split(tmp_path, "train").content

    seen = [content()]
    touch(folder, "_SUCCESS", "notes.txt")
    assert content() == seen[0]
    (folder / SPARK[0]).write_text("a\n2\n")
    seen.append(content())
    (folder / SPARK[2]).rename(folder / "part-00009.csv")
    seen.append(content())
    touch(folder, "part-00010.csv")
    seen.append(content())
    (folder / SPARK[1]).unlink()
    seen.append(content())
    assert len(set(seen)) == 5
