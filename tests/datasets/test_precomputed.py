"""A file of an upstream step is read only where it is asked for."""

import json
from pathlib import Path

import pytest
from kedro.io.core import DatasetError

from tabweave.datasets.precomputed import PrecomputedDataset
from tabweave.errors import MissingDataError
from tabweave.hooks import artifact_path

VALUE = {"price": 1.5}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "impute_dict.json").write_text(json.dumps(VALUE), encoding="utf-8")
    return tmp_path


def entry(folder, **options):
    return PrecomputedDataset(path=str(folder), name="impute_dict", **options)


def test_a_file_in_use_is_read_and_is_an_input(folder):
    dataset = entry(folder, used=True)
    assert dataset.load().value == VALUE
    assert dataset.load().path == folder / "impute_dict.json"
    assert artifact_path({"x": dataset}, "x") == folder / "impute_dict.json"
    assert dataset.exists()


@pytest.mark.parametrize("used", [False, None])
def test_a_file_that_is_not_in_use_is_nothing(folder, used):
    """Not even an input: a change of it makes no artifact stale."""
    for place in (folder, folder / "missing"):
        dataset = entry(place, used=used)
        assert dataset.load() is None
        assert artifact_path({"x": dataset}, "x") is None
        assert dataset.exists()


def test_a_missing_file_in_use_is_refused(tmp_path):
    dataset = entry(tmp_path, used=True)
    assert not dataset.exists()
    assert artifact_path({"x": dataset}, "x") is None
    with pytest.raises(MissingDataError, match=r"No impute_dict\.json"):
        _ = dataset.path
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, MissingDataError)


def test_it_is_never_written(folder):
    with pytest.raises(DatasetError, match="read only"):
        entry(folder, used=True).save(VALUE)


def test_it_says_what_it_is(folder):
    shown = entry(Path("given"), used=True)._describe()
    assert shown == {"path": "given", "name": "impute_dict", "used": True}
