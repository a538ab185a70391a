import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from tabweave.errors import ArtifactError, SchemaError
from tabweave.evaluation.predictions import prediction_table, scored_batches
from tabweave.schema import DataSchema
from tabweave.tables import delimited
from tabweave.tables import files as tables
from tabweave.tables.files import FORMATS, RawTable, write_rows
from tabweave.tables.lookup import find_split
from tabweave.tables.parted_tables import open_table

SCHEMA = DataSchema(
    id="key", label="y", text=("t",), classes=("no", "yes", "?"), positive_label="?"
)
LABELS = np.array([0, 1, 2, 0])
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0]], np.float32
)
IDS = ["007", "b", "c,d", "e"]
ADDED = ["prob_no", "prob_yes", "prob_?", "predicted"]


def predictions():
    return prediction_table(IDS, LABELS, PROBABILITIES, SCHEMA.classes)


def write(path, table):
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        delimiter = tables.DELIMITERS[path.suffix[1:]]
        pa_csv.write_csv(table, path, pa_csv.WriteOptions(delimiter=delimiter))
    return RawTable(path, "test")


def user_table():
    return pa.table(
        {
            "note": ['a\n"b"', "", "tab\there", "ü,ñ"],
            "key": IDS,
            "amount": ["1.50", "NaN", "", "1e3"],
            "y": ["no", "yes", "?", "no"],
        }
    )


def test_a_prediction_table_says_everything_in_words():
    table = predictions()
    assert table.column_names == ["id", "label", *ADDED]
    assert table["id"].to_pylist() == IDS
    assert table["label"].to_pylist() == ["no", "yes", "?", "no"]
    assert table["predicted"].to_pylist() == ["no", "no", "?", "yes"]
    for index, name in enumerate(ADDED[:3]):
        assert table[name].type == pa.float32()
        assert table[name].to_pylist() == PROBABILITIES[:, index].tolist()
    assert table["id"].type == table["label"].type == pa.string()


@pytest.mark.parametrize("ids", [pa.array(IDS), pa.chunked_array([IDS[:1], IDS[1:]])])
def test_ids_may_be_arrow_columns(ids):
    table = prediction_table(ids, LABELS, PROBABILITIES, SCHEMA.classes)
    assert table.equals(predictions())


def test_predictions_that_do_not_fit_are_refused():
    with pytest.raises(ArtifactError, match="3 ids for 4 predictions"):
        prediction_table(IDS[1:], LABELS, PROBABILITIES, SCHEMA.classes)
    with pytest.raises(ArtifactError, match="need shape"):
        prediction_table(IDS, LABELS, PROBABILITIES[:, :2], SCHEMA.classes)
    with pytest.raises(ArtifactError, match="Labels have shape"):
        prediction_table(IDS, LABELS[:2], PROBABILITIES, SCHEMA.classes)
    with pytest.raises(ArtifactError, match="from 0 to 1"):
        prediction_table(IDS, LABELS, PROBABILITIES * 2, SCHEMA.classes)


@pytest.mark.parametrize("ending", tables.FORMATS)
@pytest.mark.parametrize("block", [16 << 20, 40])
def test_the_users_columns_stay_and_ours_follow(tmp_path, monkeypatch, ending, block):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block)
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", block)
    raw = write(tmp_path / f"in.{ending}", user_table())
    batches, schema = scored_batches(raw, predictions(), id_column="key")
    out = tmp_path / f"out.{ending}"
    write_rows(out, batches, schema)
    monkeypatch.undo()
    found = pa.Table.from_batches(RawTable(out, "test").batches())
    assert found.column_names == [*user_table().column_names, *ADDED]
    assert found.select(user_table().column_names).equals(user_table())
    assert found["predicted"].to_pylist() == predictions()["predicted"].to_pylist()
    for name in ADDED[:3]:
        values = np.array(found[name].to_pylist(), np.float32)
        assert values.tolist() == predictions()[name].to_pylist()


def test_probabilities_survive_a_text_file_bit_by_bit(tmp_path):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], 500).astype(np.float32)
    ids = [str(i) for i in range(500)]
    raw = write(tmp_path / "in.csv", pa.table({"key": ids}))
    table = prediction_table(ids, np.zeros(500, int), probabilities, SCHEMA.classes)
    write_rows(tmp_path / "out.csv", *scored_batches(raw, table))
    found = pa_csv.read_csv(tmp_path / "out.csv")
    for index, name in enumerate(ADDED[:3]):
        values = found[name].to_numpy().astype(np.float32)
        assert np.array_equal(values, probabilities[:, index])


def test_parquet_keeps_its_types_and_nulls(tmp_path):
    table = pa.table(
        {
            "key": pa.array([7, 8, 9, 10], pa.int16()),
            "kind": pa.array(["x", None, "y", "x"]).dictionary_encode(),
            "when": pa.array([0, None, 2, 3], pa.timestamp("ms", "UTC")),
            "tags": pa.array([["a"], [], None, ["b", "c"]]),
        }
    ).replace_schema_metadata({"made": "by hand"})
    raw = write(tmp_path / "in.parquet", table)
    ids = ["7", "8", "9", "10"]
    mine = prediction_table(ids, LABELS, PROBABILITIES, SCHEMA.classes)
    write_rows(tmp_path / "out.parquet", *scored_batches(raw, mine, id_column="key"))
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(table)
    assert found.schema.metadata[b"made"] == b"by hand"


def test_the_file_is_read_while_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 10)
    rows = 95
    ids = [str(i) for i in range(rows)]
    raw = write(tmp_path / "in.parquet", pa.table({"key": ids}))
    table = prediction_table(
        ids, np.zeros(rows, int), np.full((rows, 3), 1 / 3, np.float32), SCHEMA.classes
    )
    batches, _ = scored_batches(raw, table)
    assert [batch.num_rows for batch in batches] == [10] * 9 + [5]


@pytest.mark.parametrize("name", ["predicted", "prob_yes"])
def test_a_column_that_the_predictions_would_hide_is_refused(tmp_path, name):
    raw = write(tmp_path / "in.csv", user_table().append_column(name, [["x"] * 4]))
    with pytest.raises(SchemaError, match=rf"in\.csv: has columns .*'{name}'"):
        scored_batches(raw, predictions())


def test_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "in.csv").write_text("key,a,a\n1,2,3\n")
    with pytest.raises(SchemaError, match=r"'a'.* appear more than once"):
        scored_batches(RawTable(tmp_path / "in.csv", "test"), predictions())


def test_a_file_without_rows_is_refused(tmp_path):
    (tmp_path / "in.csv").write_text("key,a\n")
    with pytest.raises(SchemaError, match="no rows below the header"):
        scored_batches(RawTable(tmp_path / "in.csv", "test"), predictions())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (user_table().slice(0, 3), "3 rows instead of the 4"),
        (pa.concat_tables([user_table()] * 2), "more than the 4 rows"),
    ],
)
@pytest.mark.parametrize("id_column", [None, "key"])
def test_other_rows_are_refused_and_nothing_is_written(
    tmp_path, rows, message, id_column
):
    raw = write(tmp_path / "in.csv", rows)
    out = tmp_path / "out.csv"
    out.write_text("old")
    with pytest.raises(ArtifactError, match=message):
        write_rows(out, *scored_batches(raw, predictions(), id_column=id_column))
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_another_order_of_rows_is_refused(tmp_path):
    raw = write(tmp_path / "in.csv", user_table().take([0, 2, 1, 3]))
    batches, _ = scored_batches(raw, predictions(), id_column="key")
    with pytest.raises(ArtifactError, match="id 'c,d' in row 2, not the 'b'"):
        list(batches)


@pytest.mark.parametrize("kind", FORMATS)
def test_parts_become_one_file_with_the_columns_of_their_folders(tmp_path, kind):
    table = pa.table({"id": IDS, "extra": ["1", "2", "3", ""]})
    for number, rows in enumerate((table.slice(0, 2), table.slice(2))):
        path = tmp_path / "test" / f"day={number}" / f"x.{kind}"
        write_rows(path, iter(rows.to_batches()), rows.schema)
    raw = open_table(find_split(tmp_path, "test"), "test")
    out = tmp_path / f"out.{kind}"
    write_rows(out, *scored_batches(raw, predictions(), id_column="id"))
    found = pa.Table.from_batches(RawTable(out, "test").batches())
    assert found.column_names[:3] == ["id", "extra", "day"]
    assert found["day"].to_pylist() == ["0", "0", "1", "1"]
    assert found["id"].to_pylist() == IDS


def test_a_part_that_has_changed_is_named_with_the_row(tmp_path):
    for number, ids in enumerate((IDS[:1], [IDS[1], "x"])):
        path = tmp_path / "test" / f"part-{number}.csv"
        rows = pa.table({"id": ids})
        write_rows(path, iter(rows.to_batches()), rows.schema)
    raw = open_table(find_split(tmp_path, "test"), "test")
    with pytest.raises(
        ArtifactError, match=r"id 'x' in part-1.csv row 2, not the 'c,d'"
    ):
        list(scored_batches(raw, predictions(), id_column="id")[0])
