"""What a command asks of a run that its artifacts or its stages cannot give."""

from __future__ import annotations

from collections.abc import Mapping

from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline import Pipeline

from tabweave.errors import ConfigError, some_of
from tabweave.models.config import ModelConfig, check_text_fields
from tabweave.schema import DataConfig
from tabweave.text.config import TextConfig


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


def refuse_other_text_fields(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuses a model that takes other text fields, before a stage makes them.

    Raises:
        ConfigError: There are more or fewer fields than its architecture takes.
    """
    groups = [f"params:{name}" for name in ("data", "text", "model")]
    if pipeline.inputs().issuperset(groups):
        data, text, model = (catalog.load(group) for group in groups)
        fields = TextConfig.model_validate(text).fields
        columns = DataConfig.model_validate(data).text
        names = [field.name for field in fields] or columns
        check_text_fields(ModelConfig.model_validate(model), names)


def _is_versioned(name: str, catalog: CatalogProtocol) -> bool:
    dataset = catalog.get(name)
    return isinstance(dataset, AbstractVersionedDataset) and bool(dataset._version)
