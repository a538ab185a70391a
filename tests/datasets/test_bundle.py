import pytest
from kedro.io.core import DatasetError

from tabweave.bundle import Bundle
from tabweave.datasets.bundle import BundleDataset


def test_what_is_saved_is_loaded_verified(bundle_kit, tmp_path):
    dataset = BundleDataset(path=str(tmp_path / "bundle"))
    parts = bundle_kit.parts
    dataset.save(parts)
    found = dataset.load()
    assert isinstance(found, Bundle)
    assert found.pipeline == parts.pipeline
    (tmp_path / "bundle" / "metrics.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"metrics\.json"):
        dataset.load()
