import pytest

from tabweave.errors import SchemaError
from tabweave.tables.folder_names import (
    below,
    check_readable,
    key_folders,
    tables_of,
    visible,
)


def test_names_are_seen_unless_they_are_hidden_or_plain_folders(tmp_path):
    for name in ("a.csv", "_SUCCESS", ".a.csv", "a.csv.crc", "n.txt"):
        (tmp_path / name).touch()
    for name in ("deep", "deep.csv", "part-0.csv", "k=1", "_k=2", ".k=3", "_h"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").touch()
    (tmp_path / "gone.csv").symlink_to("nowhere")
    assert visible(tmp_path) == ["a.csv", "gone.csv", "n.txt", "part-0.csv"]
    assert tables_of(tmp_path) == ["a.csv", "gone.csv", "part-0.csv"]
    assert [path.name for path in key_folders(tmp_path)] == ["_k=2", "k=1"]
    inside = [name for name in below(tmp_path) if "/" in name]
    folders = ["_k=2", "deep", "deep.csv", "k=1", "part-0.csv"]
    assert inside == [f"{name}/x.csv" for name in folders]
    assert visible(tmp_path / "none") == [*below(tmp_path / "none")] == []


def test_everything_that_cannot_be_read_is_told_at_once(tmp_path):
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.csv").symlink_to("a.csv")
    (tmp_path / "c.csv").symlink_to("c.csv")
    (tmp_path / "d.csv").mkdir()
    check_readable(tmp_path, ["a.csv", "b.csv"])
    with pytest.raises(SchemaError) as caught:
        check_readable(tmp_path, ["a.csv", "c.csv", "d.csv"])
    assert "c.csv is a link to c.csv that leads nowhere" in str(caught.value)
    assert "d.csv is a folder" in str(caught.value)
