import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabweave.errors import ArtifactError, SchemaError
from tabweave.schema import SPLITS, DataConfig
from tabweave.splitting.config import SplitConfig
from tabweave.splitting.division import divide
from tabweave.splitting.files import MANIFEST, file_name, write_division
from tabweave.tables.files import FORMATS, RawTable, write_rows
from tabweave.tables.lookup import find_split, find_table
from tabweave.tables.parted_tables import open_table

DATA = DataConfig(id="id", label="y", numeric=("n",))
TABLE = pa.table(
    {
        "id": [f"{row:03d}" for row in range(50)],
        "y": ["no", "yes"] * 25,
        "n": ["", "1.50", "NA", 'a "quoted",\r\ncell', "é\t"] * 10,
    }
)


def division(folder, ending="csv", name="all", **settings):
    path = folder / f"{name}.{ending}"
    write_rows(path, iter(TABLE.to_batches()), TABLE.schema)
    return divide(RawTable(path, "source"), DATA, SplitConfig(**settings))


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("ending", FORMATS)
def test_the_files_keep_format_and_cells_and_are_found_as_splits(tmp_path, ending):
    divided = division(tmp_path, ending)
    write_division(tmp_path / "out", divided)
    for split in SPLITS:
        path = find_split(tmp_path / "out", split).path
        assert path == tmp_path / "out" / split / f"all.{ending}"
        written = pa.Table.from_batches(RawTable(path, split).batches())
        mask = pa.array(divided.sides == SPLITS.index(split))
        assert written.equals(TABLE.filter(mask))
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text(encoding="utf-8"))
    assert set(manifest["files"]) == {f"{split}/all.{ending}" for split in SPLITS}


def test_parquet_keeps_its_types_and_metadata(tmp_path):
    table = TABLE.set_column(
        2, "n", pa.array([1.5, None] * 25).cast(pa.decimal128(5, 2))
    ).append_column("kind", pa.array(["a", "b"] * 25).dictionary_encode())
    table = table.replace_schema_metadata({"made by": "someone"})
    path = tmp_path / "all.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:
        # Each part has a dictionary of its own.
        writer.write_table(table.slice(0, 20))
        writer.write_table(table.slice(20).replace_schema_metadata(None))
    divided = divide(RawTable(path, "source"), DATA, SplitConfig())
    write_division(tmp_path / "out", divided)
    for number, split in enumerate(SPLITS):
        written = pq.read_table(tmp_path / "out" / split / "all.parquet")
        assert written.schema.equals(table.schema, check_metadata=True)
        expected = table.filter(pa.array(divided.sides == number))
        assert written.to_pylist() == expected.to_pylist()


def test_equal_inputs_give_equal_bytes(tmp_path):
    for name in ("one", "other"):
        write_division(tmp_path / name, division(tmp_path))
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_an_earlier_split_is_replaced_whole(tmp_path):
    write_division(tmp_path / "out", division(tmp_path))
    before = files(tmp_path / "out")
    write_division(tmp_path / "out", division(tmp_path, "tsv", "other", seed=7))
    after = files(tmp_path / "out")
    assert set(after) == {MANIFEST, *(f"{split}/other.tsv" for split in SPLITS)}
    assert not set(before) & set(after) - {MANIFEST}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train/mine.csv", "train/mine.csv was not written by the split"),
        ("all.csv", "all.csv was not written by the split"),
        ("test/all.csv", "test/all.csv was changed after the split wrote it"),
    ],
)
@pytest.mark.parametrize("after_a_split", [True, False])
def test_files_of_the_user_are_never_replaced(tmp_path, name, part, after_a_split):
    out = tmp_path / "out"
    divided = division(tmp_path)
    if after_a_split:
        write_division(out, divided)
    elif "changed" in part:
        part = "test/all.csv was not written by the split"
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("id,y,n\nmine,no,1\n", encoding="utf-8")
    before = files(out)
    with pytest.raises(ArtifactError) as error:
        write_division(out, divided)
    assert part in str(error.value)
    assert "Nothing was written" in str(error.value)
    assert files(out) == before


def test_a_folder_with_the_source_in_it_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"all\.csv was not written"):
        write_division(tmp_path, division(tmp_path))
    assert set(files(tmp_path)) == {"all.csv"}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    divided = division(tmp_path)
    with pytest.raises(ArtifactError, match="is a file"):
        write_division(tmp_path / "all.csv", divided)


def test_a_failure_leaves_the_earlier_split(tmp_path):
    write_division(tmp_path / "out", division(tmp_path))
    before = files(tmp_path / "out")
    divided = division(tmp_path, seed=3)
    divided.source.path.write_text("id,y,n\n1,no,1\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="changed while it was read"):
        write_division(tmp_path / "out", divided)
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("all.csv", "all.csv"),
        ("_all.TSV", "all.tsv"),
        (".hidden.parquet", "hidden.parquet"),
        ("part-0.snappy.parquet", "part-0.snappy.parquet"),
        ("_.csv", "rows.csv"),
        ("my reviews .csv", "my reviews.csv"),
        ("reviews-00000-of-00002.csv", "reviews.csv"),
        ("reviews_1-of-2-0fab.snappy.PARQUET", "reviews.snappy.parquet"),
        ("reviews-00001-of-00002 (1).tsv", "reviews.tsv"),
        ("data - Copy (2).csv", "data.csv"),
        ("_-0-of-2.csv", "rows.csv"),
    ],
)
def test_the_file_keeps_its_name_where_it_will_be_found(name, expected):
    assert file_name(RawTable(Path(name), "source")) == expected


@pytest.mark.parametrize("name", ["all-00000-of-00002", "part-0", "all (1)"])
def test_the_split_of_one_part_can_be_loaded(tmp_path, name):
    write_division(tmp_path / "out", division(tmp_path, name=name))
    for split in SPLITS:
        assert len(find_split(tmp_path / "out", split).files) == 1
        assert find_table(tmp_path / "out" / split, "score.input").unread == ()


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_without_quotes_every_row_is_in_the_splits_as_written(tmp_path, kind):
    d = "," if kind == "csv" else "\t"
    rows = [f'{n:03d}{d}{"yes" if n % 2 else "no"}{d}"{n}' for n in range(80)]
    path = tmp_path / f"all.{kind}"
    path.write_text("\n".join([d.join(["id", "y", "n"]), *rows]) + "\n")
    data = DATA.model_copy(update={"quoting": "none"})
    divided = divide(RawTable(path, "source"), data, SplitConfig())
    write_division(tmp_path / "out", divided)
    found = []
    for split in SPLITS:
        text = (tmp_path / "out" / split / f"all.{kind}").read_text()
        assert text.startswith(d.join(["id", "y", "n"]) + "\n")
        found += text.splitlines()[1:]
    assert sorted(found) == rows


def test_rows_that_stray_quotes_would_join_are_refused_or_told(tmp_path, caplog):
    rows = [f"{n:03d},{'yes' if n % 2 else 'no'},{n}" for n in range(80)]
    rows[10] = rows[10].replace(",10", ',"10')
    rows[40] += '"'
    path = tmp_path / "all.csv"
    path.write_text("\n".join(["id,y,n", *rows]) + "\n")
    source = RawTable(path, "source")
    with pytest.raises(SchemaError, match=r"50 rows if .* 80 if .*quoting=none"):
        divide(source, DATA, SplitConfig())
    said = DATA.model_copy(update={"quoting": "standard"})
    divided = divide(source, said, SplitConfig())
    (finding,) = [f for f in divided.report["findings"] if "quotes" in f["message"]]
    assert finding["severity"] == "warning"
    assert "first in rows 11." in finding["message"]
    assert "first in rows 11." in caplog.text


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("method", ["stratified", "time"])
def test_a_source_in_parts_is_split_like_the_one_file(tmp_path, ending, method):
    table = TABLE.append_column(
        "at", [[f"2024-01-{n % 28 + 1:02d}" for n in range(50)]]
    )
    time = {"time_column": "at"} if method == "time" else {}
    config = SplitConfig(method=method, **time)
    whole = tmp_path / f"rows.{ending}"
    write_rows(whole, iter(table.to_batches()), table.schema)
    for number, (start, count) in enumerate([(0, 7), (7, 0), (7, 43)]):
        part = table.slice(start, count)
        path = tmp_path / "rows" / f"part-{number}.{ending}"
        write_rows(path, iter(part.to_batches()), part.schema)
    one = divide(RawTable(whole, "source"), DATA, config)
    found = find_table(tmp_path / "rows", "split.source")
    many = divide(open_table(found, "source"), DATA, config)
    assert many.sides.tolist() == one.sides.tolist()
    assert list(many.report["parts"].values()) == [7, 0, 43]
    write_division(tmp_path / "a", one)
    write_division(tmp_path / "b", many)
    assert files(tmp_path / "a").keys() == files(tmp_path / "b").keys()
    for split in SPLITS:
        paths = [tmp_path / name / split / f"rows.{ending}" for name in "ab"]
        tables = [pa.Table.from_batches(RawTable(p, split).batches()) for p in paths]
        assert tables[0].combine_chunks().equals(tables[1].combine_chunks())


def test_what_is_wrong_in_parts_is_named_with_file_and_row(tmp_path):
    rows = [["a,no,2024-01-01"], ["a,yes,soon", ",no,", "b,,2024-01-02"]]
    for number, lines in enumerate(rows):
        path = tmp_path / "all" / f"part-{number}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["id,y,at", *lines]) + "\n")
    source = open_table(find_table(tmp_path / "all", "split.source"), "source")
    with pytest.raises(SchemaError) as caught:
        divide(source, DATA, SplitConfig(method="time", time_column="at"))
    message = str(caught.value)
    assert "column 'id' is empty in 1 rows, first part-1.csv row 2" in message
    assert "column 'y' is empty in 1 rows, first part-1.csv row 3" in message
    assert "'a' in part-0.csv row 1, part-1.csv row 1." in message
    assert "is empty in 1 rows, first part-1.csv row 2. A row" in message
    assert "part-1.csv row 1: 'soon'" in message
