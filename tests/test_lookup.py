import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import MissingDataError, SchemaError
from tabweave.lookup import find_first_data_file, find_split


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
        ([], r"train, and no train\.tsv, train\.csv or train\.parquet in .* data_dir"),
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
