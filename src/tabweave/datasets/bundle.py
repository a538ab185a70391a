"""Catalog entry of the bundle: the folder that is deployed."""

from __future__ import annotations

from tabweave.bundle import Bundle, BundleParts, open_bundle, write_bundle
from tabweave.datasets.base import FileDataset


class BundleDataset(FileDataset[BundleParts, Bundle]):
    """A folder of models, fitted parts, a sample and the manifest of them all."""

    def load(self) -> Bundle:
        """The bundle, every file of it verified."""
        return open_bundle(self.path)

    def save(self, data: BundleParts) -> None:
        """Writes all files, or none."""
        write_bundle(self.path, data)
