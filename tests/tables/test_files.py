import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import ArtifactError, SchemaError
from tabweave.tables import delimited
from tabweave.tables import files as tables
from tabweave.tables.files import (
    FORMATS,
    ArrowFile,
    RawTable,
    TableFile,
    format_of,
    write_arrow,
    write_parquet,
    write_rows,
)

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def texts(**columns):
    return pa.table({name: pa.array(v, pa.string()) for name, v in columns.items()})


def write(path, table):
    write_rows(path, iter(table.to_batches()), table.schema)
    return RawTable(path, "train")


def read(raw, columns=None):
    return pa.Table.from_batches(raw.batches(columns))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.csv", "csv"),
        ("x.TSV", "tsv"),
        (" x.Parquet ", "parquet"),
        ("part-0.snappy.parquet", "parquet"),
        ("x.csv.gz", None),
        ("x.csv.crc", None),
        ("x.txt", None),
        ("csv", None),
        ("_SUCCESS", None),
        ("", None),
    ],
)
def test_the_ending_says_the_format(tmp_path, name, kind):
    assert format_of(tmp_path / name) == kind


# A user's file


@pytest.mark.parametrize("kind", FORMATS)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_rows_read_back_as_they_were_written(tmp_path_factory, kind, rows):
    path = tmp_path_factory.mktemp("rows") / f"x.{kind}"
    table = texts(**dict(zip("abc", zip(*rows, strict=True), strict=True)))
    raw = write(path, table)
    assert (raw.format, raw.columns()) == (kind, ["a", "b", "c"])
    assert read(raw).equals(table)
    reordered = ["c", "a"]
    assert read(raw, reordered).select(reordered).equals(table.select(reordered))


@pytest.mark.parametrize("kind", FORMATS)
def test_many_batches_keep_their_order_in_every_format(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 100)
    table = texts(a=[str(n) for n in range(2500)], b=["x\r\ny"] * 2500)
    raw = write(tmp_path / f"x.{kind}", table)
    batches = list(raw.batches())
    assert len(batches) > 10
    assert pa.Table.from_batches(batches).equals(table)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_table_without_rows_has_columns(tmp_path, kind):
    raw = write(tmp_path / f"x.{kind}", texts(a=[], b=[]))
    assert raw.columns() == ["a", "b"]
    assert sum(batch.num_rows for batch in raw.batches()) == 0


def test_parquet_keeps_the_types_of_its_columns(tmp_path):
    table = pa.table(
        {
            "n": pa.array([1, None], pa.int64()),
            "d": pa.array(["a", "b"]).dictionary_encode(),
            "t": pa.array([0, 1], pa.timestamp("ms")),
        }
    )
    assert read(write(tmp_path / "x.parquet", table)).schema.types == table.schema.types


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"PAR1" + b"\0" * 50 + b"PAR1"]
)
def test_what_is_not_parquet_is_named(tmp_path, content):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=f"{path}: is not a Parquet file"):
        RawTable(path, "train").columns()
    with pytest.raises(SchemaError, match=f"{path}: is not a Parquet file"):
        list(RawTable(path, "train").batches(["a"]))


def test_parquet_with_a_damaged_page_is_named(tmp_path):
    raw = write(tmp_path / "x.parquet", texts(a=[f"{n:>50}" for n in range(999)]))
    content = bytearray(raw.path.read_bytes())
    content[20:600] = b"\xff" * 580
    raw.path.write_bytes(content)
    with pytest.raises(SchemaError, match=f"{raw.path}: is damaged"):
        list(raw.batches(["a"]))


def test_an_unknown_format_is_refused_for_reading_and_writing(tmp_path):
    with pytest.raises(SchemaError, match=r"x\.json: unknown format; use \.tsv"):
        RawTable(tmp_path / "x.json", "train").columns()
    with pytest.raises(SchemaError, match=r"x\.json: unknown format; use \.tsv"):
        write(tmp_path / "x.json", texts(a=["1"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_that_cannot_be_drawn_to_the_end_leave_the_old_file(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    old = write(path, texts(a=["old"])).path.read_bytes()
    table = texts(a=["new"] * 1000)

    def failing():
        yield from table.to_batches()
        raise SchemaError("row 1001 is wrong")

    with pytest.raises(SchemaError, match="row 1001 is wrong"):
        write_rows(path, failing(), table.schema)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


# Our own files

TYPED = pa.table(
    {
        "id": pa.array(["a", "b", "c"], pa.string()),
        "n": pa.array([0.5, None, 2.0], pa.float32()),
        "tokens": pa.array(
            [[[1, 2], [3]], [], [[4]]], pa.large_list(pa.large_list(pa.uint16()))
        ),
    }
)


def test_a_typed_table_reads_back_whole_and_by_column(tmp_path):
    path = tmp_path / "x.parquet"
    write_parquet(path, TYPED)
    file = TableFile(path)
    assert (file.num_rows, file.column_names) == (3, ["id", "n", "tokens"])
    assert file.read().equals(TYPED)
    assert file.read(["n"]).equals(TYPED.select(["n"]))
    batches = list(file.batches(["id"], rows=2))
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert pa.Table.from_batches(batches)["id"].to_pylist() == ["a", "b", "c"]


def test_an_arrow_file_is_one_batch_however_many_it_was_made_of(tmp_path):
    path = tmp_path / "x.arrow"
    write_arrow(path, pa.concat_tables([TYPED, TYPED.slice(1), TYPED]))
    table = ArrowFile(path).open()
    assert [column.num_chunks for column in table.columns] == [1, 1, 1]
    assert table.equals(pa.concat_tables([TYPED, TYPED.slice(1), TYPED]))


def test_an_arrow_file_is_mapped_and_not_read(tmp_path):
    path = tmp_path / "x.arrow"
    write_arrow(path, pa.table({"n": pa.array(range(1_000_000), pa.int64())}))
    before = pa.total_allocated_bytes()
    table = ArrowFile(path).open()
    assert table["n"][999_999].as_py() == 999_999
    assert pa.total_allocated_bytes() - before < 100_000


@pytest.mark.parametrize("rows", [0, 1])
def test_an_arrow_file_may_have_no_or_one_row(tmp_path, rows):
    path = tmp_path / "x.arrow"
    write_arrow(path, TYPED.slice(0, rows))
    assert ArrowFile(path).open().equals(TYPED.slice(0, rows))


@pytest.mark.parametrize("content", [None, b"", b"ARROW1\0\0half a file"])
def test_an_arrow_file_that_is_missing_or_damaged_is_named(tmp_path, content):
    path = tmp_path / "x.arrow"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{path} is missing or is not an Arrow"):
        ArrowFile(path).open()


def test_a_mapped_file_can_be_replaced_while_it_is_read(tmp_path):
    path = tmp_path / "x.arrow"
    write_arrow(path, TYPED)
    mapped = ArrowFile(path).open()
    write_arrow(path, TYPED.slice(2))
    assert mapped.equals(TYPED)
    assert ArrowFile(path).open().equals(TYPED.slice(2))


@pytest.mark.parametrize("kind", [ArrowFile, TableFile])
def test_a_handle_goes_to_another_process_as_a_path(tmp_path, kind):
    handle = kind(tmp_path / "x")
    assert pickle.loads(pickle.dumps(handle)) == handle
    assert len(pickle.dumps(handle)) < 500


@pytest.mark.parametrize("kind", FORMATS)
def test_unchecked_cells_are_the_same_where_they_are_text(tmp_path, kind):
    table = texts(a=["é", "", '"x",'], b=["1", "2", "3"])
    write(tmp_path / f"x.{kind}", table)
    raw = RawTable(tmp_path / f"x.{kind}", "x")
    assert pa.Table.from_batches(list(raw.unchecked())).equals(table)
    (batch,) = raw.unchecked(["b"])
    assert batch.schema.names == ["b"]


def test_unchecked_cells_keep_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"a,b\ncaf\xe9,1\n")
    (batch,) = RawTable(tmp_path / "x.csv", "x").unchecked()
    assert batch.column("a").type == pa.string()
    assert batch.column("a").cast(pa.binary()).to_pylist() == [b"caf\xe9"]


@pytest.mark.parametrize("write_it", [write_parquet, write])
def test_a_flipped_bit_in_a_file_of_ours_is_refused_by_name(tmp_path, write_it):
    path = tmp_path / "x.parquet"
    write_it(path, texts(a=[f"{n:>50}" for n in range(999)], b=["x"] * 999))
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(0).column(0)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 8
    path.write_bytes(content)
    file = TableFile(path)
    for read_it in (file.read, lambda: list(file.batches(["a"]))):
        with pytest.raises(
            ArtifactError, match=r"x\.parquet: is damaged .* Re-run the"
        ):
            read_it()
    assert file.read(["b"]).num_rows == file.num_rows == 999


def test_a_table_of_ours_that_is_cut_is_refused_by_name(tmp_path):
    path = tmp_path / "x.parquet"
    write_parquet(path, TYPED)
    path.write_bytes(path.read_bytes()[:-9])
    for look in (lambda t: t.num_rows, lambda t: t.column_names, TableFile.read):
        with pytest.raises(ArtifactError, match=f"{path}: is not a Parquet file, or"):
            look(TableFile(path))


def test_a_pinned_file_is_the_same_in_all_readings(tmp_path):
    raw = write(tmp_path / "x.csv", texts(a=["1"], b=["2"])).pinned()
    assert read(raw).num_rows == 1
    write(tmp_path / "x.csv", texts(a=["1"], b=["3"]))
    with pytest.raises(ArtifactError, match=f"{raw.path} changed while it was read"):
        read(raw)
    with pytest.raises(ArtifactError, match=f"{raw.path} changed while it was read"):
        raw.check_unchanged()
    assert read(raw.__class__(raw.path, "train"))["b"].to_pylist() == ["3"]
