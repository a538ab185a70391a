import pytest

from tabweave.errors import Problems, SchemaError
from tabweave.tables.files import RawTable
from tabweave.tables.headers import check_header, check_room_for


def checked(tmp_path, header, wanted):
    path = tmp_path / "x.csv"
    path.write_text(f"{header}\n")
    problems = Problems("Wrong")
    ok = check_header(RawTable(path, "train"), wanted, problems)
    assert ok is not bool(problems)
    return [line.removeprefix(f"{path}: ") for line in problems.found]


def test_a_header_with_all_wanted_columns_in_any_order_is_right(tmp_path):
    assert checked(tmp_path, "c,other,b,a,other", ["a", "b", "c"]) == []


def test_missing_and_repeated_columns_are_all_noted(tmp_path):
    assert checked(tmp_path, "id,Lable,text,text", ["id", "label", "text", "zz"]) == [
        "column 'text' appears more than once.",
        "Column 'label' not found in dataset. Did you mean 'Lable'? The file has "
        "'id', 'Lable', 'text', 'text'.",
        "Column 'zz' not found in dataset. The file has 'id', 'Lable', 'text', 'text'.",
    ]


@pytest.mark.parametrize("header", ["id;label;text", "id\tlabel\ttext"])
def test_a_file_with_another_delimiter_is_recognised(tmp_path, header):
    *_, last = checked(tmp_path, header, ["id", "label"])
    assert last == (
        f"the whole header is one column, {header!r}. Is the file delimited by "
        "something other than ','?"
    )


def test_a_header_that_is_really_a_row_is_cut(tmp_path):
    lines = checked(tmp_path, ",".join(["x" * 5000] * 500), ["id", "label"])
    assert max(map(len, lines)) < 1000


def test_files_with_room_for_further_columns_pass(tmp_path):
    (tmp_path / "in.csv").write_text("key,prob_no\n1,x\n")
    raw = RawTable(tmp_path / "in.csv", "train")
    check_room_for(["prob_yes", "predicted"], [raw])


def test_every_file_without_room_for_further_columns_is_named(tmp_path):
    for name in ("val", "test"):
        (tmp_path / f"{name}.csv").write_text(f"key,a,a,predicted,{name}\n")
    files = [RawTable(tmp_path / f"{s}.csv", s) for s in ("val", "test")]
    with pytest.raises(SchemaError) as caught:
        check_room_for(["prob_yes", "val", "predicted"], files)
    said = [line for line in str(caught.value).splitlines() if line.startswith("  - ")]
    assert len(said) == 4
    assert said[0].endswith("val.csv: has columns of these names, 'val', 'predicted'.")
    assert "val.csv: columns 'a' appear more than once" in said[1]
    assert said[2].endswith("test.csv: has columns of these names, 'predicted'.")
    assert "then run from load on" in str(caught.value)


def test_what_to_do_when_there_is_no_room_depends_on_who_asks(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(SchemaError, match="in the files, then score the file again"):
        check_room_for(
            ["a"], [RawTable(tmp_path / "x.csv", "x")], "then score the file again."
        )
