from pathlib import Path

import pytest

from tabweave.datasets.files import (
    FigureDataset,
    FolderDataset,
    JsonDataset,
    ModelDataset,
    OnnxDataset,
    TensorBoardDataset,
    TokenizersDataset,
)
from tabweave.datasets.tables import (
    DemoTableDataset,
    MappedTableDataset,
    RawTableDataset,
    ScoredRowsDataset,
    TypedTableDataset,
)

SIMPLE = [
    *(FigureDataset, FolderDataset, JsonDataset, ModelDataset, OnnxDataset),
    *(TensorBoardDataset, TokenizersDataset),
    *(DemoTableDataset, MappedTableDataset, TypedTableDataset),
]
OF_A_SPLIT = [RawTableDataset, ScoredRowsDataset]


@pytest.mark.parametrize("kind", [*SIMPLE, *OF_A_SPLIT])
def test_an_entry_says_where_it_lies_and_keeps_what_the_viewer_needs(tmp_path, kind):
    more = {"split": "val"} if kind in OF_A_SPLIT else {}
    metadata = {"kedro-viz": {"layer": "raw"}}
    entry = kind(path=str(tmp_path / "x.csv"), metadata=metadata, **more)
    assert entry.metadata == metadata
    assert str(tmp_path / "x.csv") in repr(entry)
    assert kind(path="x", **more).metadata is None


@pytest.mark.parametrize("kind", SIMPLE)
def test_an_entry_exists_when_its_path_does(tmp_path, kind):
    entry = kind(path=str(tmp_path / "x"))
    assert entry.path == Path(tmp_path / "x")
    assert not entry.exists()
    (tmp_path / "x").touch()
    assert entry.exists()
