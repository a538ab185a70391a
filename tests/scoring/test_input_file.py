import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabweave.errors import SchemaError
from tabweave.scoring.input_file import InputFile, check_fits
from tabweave.tables import files as tables
from tabweave.tables.cells import CellRules
from tabweave.tables.files import RawTable

READS = {"note": "text", "price": "numeric"}
RULES = CellRules(null_values=("", "NA"), max_cell_bytes=20)


@pytest.fixture
def csv(tmp_path):
    def make(*lines, header="id,note,price", rules=RULES):
        path = tmp_path / "in.csv"
        content = b"".join(
            (line if isinstance(line, bytes) else line.encode()) + b"\n"
            for line in (header, *lines)
        )
        path.write_bytes(content)
        return InputFile(RawTable(path, "input"), READS, rules)

    return make


GOOD = ("1,a,2", "2,,NA", '3,"x, ""y""",.5')


def refused(file, *, may_reject=False):
    with pytest.raises(SchemaError) as caught:
        file.survey(may_reject=may_reject)
    return str(caught.value)


def test_cells_stay_and_the_model_s_columns_are_typed(csv):
    (batch,) = csv(*GOOD).batches()
    assert batch.cells.to_pydict() == {
        "id": ["1", "2", "3"],
        "note": ["a", "", 'x, "y"'],
        "price": ["2", "NA", ".5"],
    }
    assert batch.typed["price"].to_pylist() == [2.0, None, 0.5]
    assert batch.typed["note"].to_pylist() == ["a", "", 'x, "y"']
    assert set(batch.typed) == set(READS)
    assert not batch.rejected.any()
    assert batch.text_bytes(["note"]).tolist() == [1, 0, 6]


def test_a_good_file_is_surveyed(csv):
    found = csv(*GOOD).survey(may_reject=False)
    assert (found.rows, found.rejected, found.repaired) == (3, 0, {})


BAD = ("1,a,2", "2,b,dear", b"3,caf\xe9,1", "4," + "x" * 21 + ",1", "5,b,1e99", "6,,")


def test_all_that_is_wrong_is_said_with_rows_and_columns(csv):
    message = refused(csv(*BAD))
    assert "in.csv cannot be scored as it is" in message
    assert "numeric column 'price' holds cells that are not numbers" in message
    assert "row 2: 'dear'" in message
    assert "column 'note': the cell is not UTF-8" in message
    assert "row 3: 'caf\ufffd'" in message
    assert (
        "column 'note' holds cells above data.max_cell_bytes (20 bytes): row 4"
        in message
    )
    assert "infinite as float32: row 5: '1e99'" in message
    assert "score.rejects=<file> (tabweave score --rejects <file>)" in message


def test_such_rows_may_be_rejected_and_say_why(csv):
    file = csv(*BAD)
    found = file.survey(may_reject=True)
    assert (found.rows, found.rejected) == (6, 4)
    (batch,) = file.batches()
    assert batch.rejected.tolist() == [False, True, True, True, True, False]
    assert "not numbers" in batch.reasons(1)
    assert "not UTF-8" in batch.reasons(2)
    assert batch.reasons(0) == ""


def test_one_row_may_have_several_reasons(csv):
    (batch,) = csv(b"1,\xff,dear").batches()
    assert "not UTF-8" in batch.reasons(0)
    assert "not numbers" in batch.reasons(0)
    assert "; " in batch.reasons(0)


def test_a_bad_cell_in_a_column_that_is_not_read_counts_too(csv):
    (batch,) = csv(b"\xff,a,1", "2,b,2").batches()
    assert batch.rejected.tolist() == [True, False]
    assert batch.typed["note"].to_pylist() == ["a", "b"]


def test_bad_bytes_are_repaired_where_the_training_data_were(csv):
    rules = RULES.model_copy(update={"invalid_utf8": "repair"})
    file = csv(b"1,caf\xe9 \xff,2", rules=rules)
    assert file.survey(may_reject=False).repaired == {"note": 2}
    (batch,) = file.batches()
    assert batch.typed["note"].to_pylist() == ["caf\ufffd \ufffd"]


def test_a_type_that_no_row_can_mend_is_refused_even_with_rejects(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"note": [1.5, None], "price": [1, 2]}), path)
    file = InputFile(RawTable(path, "input"), READS, RULES)
    message = refused(file, may_reject=True)
    assert "column 'note' holds floating-point numbers" in message
    assert "Correct the columns" in message


@pytest.mark.parametrize("lines", [("1,a",), ("1,a,2,3",), ('1,"a,2', "2,b,3")])
def test_a_file_that_is_no_table_is_refused_even_with_rejects(csv, lines):
    refused(csv(*lines), may_reject=True)


def test_columns_are_checked_before_any_row(csv):
    with pytest.raises(SchemaError, match="Column 'price' not found"):
        check_fits(csv("1,a,2", header="id,note,prise").raw, list(READS), [])
    with pytest.raises(SchemaError, match="'prob_yes'") as caught:
        check_fits(
            csv("1,a,2,3", header="id,note,price,prob_yes").raw,
            list(READS),
            ["prob_yes"],
        )
    assert "then score the file again" in str(caught.value)
    check_fits(csv(*GOOD).raw, list(READS), ["prob_yes"])


def test_the_schema_is_known_without_a_row(csv, tmp_path):
    assert csv().schema().names == ["id", "note", "price"]
    assert csv().survey(may_reject=False).rows == 0
    path = tmp_path / "in.parquet"
    table = pa.table({"note": ["x"], "price": [1]}).replace_schema_metadata({"k": "v"})
    pq.write_table(table.slice(0, 0), path)
    schema = InputFile(RawTable(path, "input"), READS, RULES).schema()
    assert schema.types == [pa.string(), pa.int64()]
    assert schema.metadata[b"k"] == b"v"


def test_rows_are_counted_through_all_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 10)
    path = tmp_path / "in.parquet"
    prices = ["1"] * 25
    prices[17] = "dear"
    pq.write_table(pa.table({"note": ["x"] * 25, "price": prices}), path)
    file = InputFile(RawTable(path, "input"), READS, RULES)
    assert [batch.first_row for batch in file.batches()] == [0, 10, 20]
    assert "row 18: 'dear'" in refused(file)
