import pyarrow as pa
import pytest
from kedro.io.core import DatasetError

from tabweave.datasets.split_files import SourceTableDataset, SplitFolderDataset
from tabweave.errors import ConfigError, MissingDataError
from tabweave.schema import DataConfig
from tabweave.splitting import SplitConfig, divide

METADATA = {"kedro-viz": {"layer": "raw"}}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "all.csv"
    rows = [f"{row:03d},{row % 2},{row}" for row in range(40)]
    path.write_text("\n".join(["id,y,n", *rows]) + "\n", encoding="utf-8")
    return SourceTableDataset(path=str(path), metadata=METADATA)


def cause(call):
    with pytest.raises(DatasetError) as error:
        call()
    return error.value.__cause__


def test_the_source_is_a_handle_of_the_named_file(source, tmp_path):
    raw = source.load()
    assert (raw.path, raw.format) == (tmp_path / "all.csv", "csv")
    assert source.exists()
    assert source.metadata == METADATA
    assert source.preview(2)["data"] == [["000", "0", "0"], ["001", "1", "1"]]


def test_no_source_is_an_error_that_names_the_key():
    entry = SourceTableDataset(path=None)
    assert not entry.exists()
    error = cause(entry.load)
    assert isinstance(error, ConfigError)
    assert "split.source is not set" in str(error)
    assert "--params=split.source=<file>" in str(error)


def test_a_source_that_is_not_there_is_named(tmp_path):
    error = cause(SourceTableDataset(path=str(tmp_path / "gone.csv")).load)
    assert isinstance(error, MissingDataError)
    assert str(tmp_path / "gone.csv") in str(error)


def test_the_source_is_never_written(source, tmp_path):
    before = (tmp_path / "all.csv").read_bytes()
    with pytest.raises(DatasetError, match="never written"):
        source.save(pa.table({"id": ["1"]}))
    assert (tmp_path / "all.csv").read_bytes() == before


def test_the_folder_is_written_and_read_by_split(source, tmp_path):
    data = DataConfig(id="id", label="y", numeric=("n",))
    entry = SplitFolderDataset(path=str(tmp_path / "out"), metadata=METADATA)
    assert not entry.exists()
    entry.save(divide(source.load(), data, SplitConfig()))
    assert entry.exists()
    rows = {
        s: sum(b.num_rows for b in raw.batches()) for s, raw in entry.load().items()
    }
    assert rows == {"train": 28, "val": 4, "test": 8}
    assert len(entry.preview(3)["data"]) == 3
