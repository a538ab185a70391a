import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabweave.errors import ConfigError, SchemaError
from tabweave.schema import DataConfig
from tabweave.splitting.config import SplitConfig
from tabweave.splitting.keys import read_keys
from tabweave.tables.files import RawTable

DATA = DataConfig(id="id", label="y", text=("title", "body"))
STRATIFIED = SplitConfig()
TOGETHER = SplitConfig(keep_duplicates_together=True)
BY_GROUP = SplitConfig(method="group", group_column="who")
BY_TIME = SplitConfig(method="time", time_column="at")


def file(tmp_path, text):
    path = tmp_path / "all.csv"
    path.write_text(text, encoding="utf-8")
    return RawTable(path, "source")


def typed(tmp_path, **columns):
    path = tmp_path / "all.parquet"
    pq.write_table(pa.table(columns), path)
    return RawTable(path, "source")


def refused(source, config, data=DATA):
    with pytest.raises(SchemaError) as error:
        read_keys(source, data, config)
    return str(error.value)


def test_only_the_columns_that_decide_are_needed(tmp_path):
    source = file(tmp_path, "y,id\n1,007\n0,NA\n")
    keys = read_keys(source, DATA, STRATIFIED)
    assert keys.ids.to_pylist() == ["007", "NA"]
    assert keys.labels.to_pylist() == ["1", "0"]
    assert (keys.groups, keys.times, keys.texts) == (None, None, None)


def test_the_columns_of_a_method_are_read(tmp_path):
    source = file(tmp_path, "id,y,who,at\na,1,p,2024-01-01\nb,0,q,2024-01-02\n")
    assert read_keys(source, DATA, BY_GROUP).groups.to_pylist() == ["p", "q"]
    keys = read_keys(source, DATA, BY_TIME)
    assert keys.times.kind == "naive"
    assert keys.written_times.to_pylist() == ["2024-01-01", "2024-01-02"]


def test_the_texts_of_a_row_are_one_normalised_text(tmp_path):
    source = file(tmp_path, "id,y,title,body\na,1,Hi  YOU,x\nb,0,,x\nc,0,x,\nd,1, ,\n")
    keys = read_keys(source, DATA, TOGETHER)
    assert keys.texts.to_pylist() == ["hi you\nx", "\nx", "x\n", ""]


def test_types_that_write_alike_read_alike(tmp_path):
    text = file(tmp_path, "id,y,who\n1,true,b\n2,false,a\n")
    columns = {
        "id": pa.array([1, 2], pa.int64()),
        "y": pa.array([True, False]),
        "who": pa.array(["b", "a"]).dictionary_encode(),
    }
    one, other = (
        read_keys(s, DATA, BY_GROUP) for s in (text, typed(tmp_path, **columns))
    )
    for name in ("ids", "labels", "groups"):
        assert getattr(one, name).to_pylist() == getattr(other, name).to_pylist()


def test_all_that_is_wrong_with_the_columns_comes_in_one_error(tmp_path):
    source = file(tmp_path, "ids,y,extra,extra\n1,1,1,1\n")
    message = refused(source, BY_GROUP)
    assert "Column 'id' not found in dataset. Did you mean 'ids'?" in message
    assert "Column 'who' not found" in message
    assert "column 'extra' appears more than once" in message


def test_all_that_is_wrong_with_the_cells_comes_in_one_error(tmp_path):
    rows = ["a,1,2024-01-01", "a,,x", ",0,2024-01-02", "b,,", "b,0,2024-01-02"]
    message = refused(file(tmp_path, "\n".join(["id,y,at", *rows])), BY_TIME)
    assert "column 'id' is empty in 1 rows, first row 3" in message
    assert "2 ids repeat: 'a' in rows 1, 2; 'b' in rows 4, 5" in message
    assert "column 'y' is empty in 2 rows, first rows 2, 4" in message
    assert "time column 'at' is empty in 1 rows, first row 4" in message
    assert "row 2: 'x'" in message


def test_a_missing_group_is_the_empty_text(tmp_path):
    source = typed(tmp_path, id=["a", "b"], y=["0", "1"], who=["p", None])
    assert read_keys(source, DATA, BY_GROUP).groups.to_pylist() == ["p", ""]


def test_a_type_that_is_no_text_is_refused(tmp_path):
    source = typed(tmp_path, id=[1.0, 2.0], y=[[1], [2]])
    message = refused(source, STRATIFIED)
    assert "column 'id' has type double" in message
    assert "column 'y' has type list" in message


@pytest.mark.parametrize("text", ["id,y\n", "id,y"])
def test_a_file_without_rows_is_refused(tmp_path, text):
    assert "no rows below the header" in refused(file(tmp_path, text), STRATIFIED)


def test_duplicates_need_a_text_column(tmp_path):
    data = DataConfig(id="id", label="y", numeric=("n",))
    with pytest.raises(ConfigError, match=r"data\.text names no column"):
        read_keys(file(tmp_path, "id,y,n\n1,1,1\n"), data, TOGETHER)


@pytest.mark.parametrize(
    ("cells", "embargo", "part"),
    [
        ("1 2", "7d", "'7d', but split.time_column 'at' holds numbers"),
        ("2024-01-01 2024-01-02", 7, "must be a duration such as 7d"),
    ],
)
def test_an_embargo_of_another_kind_than_the_times_is_refused(
    tmp_path, cells, embargo, part
):
    rows = (f"{row},1,{cell}" for row, cell in enumerate(cells.split()))
    source = file(tmp_path, "\n".join(["id,y,at", *rows]))
    config = SplitConfig(method="time", time_column="at", embargo=embargo)
    with pytest.raises(ConfigError) as error:
        read_keys(source, DATA, config)
    assert part in str(error.value)
