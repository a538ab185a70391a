"""What a command asks of a run that its artifacts cannot give."""

from __future__ import annotations

from collections.abc import Mapping

from kedro.io import AbstractVersionedDataset, CatalogProtocol

from tabweave.errors import ConfigError, some_of


def refuse_versions(versions: Mapping[str, str], catalog: CatalogProtocol) -> None:
    """Refuses --load-versions for datasets without versions, which Kedro passes over.

    Raises:
        ConfigError: Names them.
    """
    plain = [n for n in versions if not _is_versioned(n, catalog)]
    if plain:
        raise ConfigError(
            f"--load-versions names {some_of(plain)}, which have no versions: of an "
            "artifact there is the last one only. To keep several, let each run write to "
            "an environment of its own (--env), or name folders: "
            "--params=layers.06_models=<folder>."
        )


def _is_versioned(name: str, catalog: CatalogProtocol) -> bool:
    dataset = catalog.get(name)
    return isinstance(dataset, AbstractVersionedDataset) and bool(dataset._version)
