"""Kedro's configuration, with three things that only the loader can know.

* ``${layer:06_models}`` is ``data/06_models``, or ``data/06_models/<env>`` for an
  environment of its own, so that runs of two environments do not overwrite each other.
* ``${parameter:data.train_filename}`` lets a catalog entry read a parameter.
* Every parameter is checked before anything runs, those of other stages included.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from tabweave.errors import ConfigError, did_you_mean
from tabweave.parameters import check_parameters
from tabweave.project_setup.environment import ARTIFACT_FOLDERS

SHARED_ENVIRONMENTS = (None, "", "base", "local")
SCRATCH = "scratch"


class TabweaveConfigLoader(OmegaConfigLoader):
    """An OmegaConfigLoader for a tabweave project."""

    def __init__(
        self,
        conf_source: str | Path,
        env: str | None = None,
        runtime_params: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._project = Path(conf_source).resolve().parent
        super().__init__(conf_source, env, runtime_params, **kwargs)
        self._check_environment(Path(conf_source))

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The merged configuration of one kind; parameters are checked for names."""
        # Resolvers are global: another loader of this process may have set its own.
        OmegaConf.register_new_resolver("layer", self._layer, replace=True)
        OmegaConf.register_new_resolver("parameter", self._parameter, replace=True)
        config = super().__getitem__(key)
        if key == "parameters":
            check_parameters(config)
            self._resolve_encoders(config.get("text") or {})
        return config

    def _layer(self, name: str) -> str:
        if self.env in SHARED_ENVIRONMENTS:
            return f"data/{name}"
        return f"data/{name}/{self.env}"

    def _parameter(self, name: str) -> Any:
        value: Any = self["parameters"]
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def _check_environment(self, conf_source: Path) -> None:
        if self.env in SHARED_ENVIRONMENTS or not conf_source.is_dir():
            return
        if not (conf_source / str(self.env)).is_dir():
            known = sorted(p.name for p in conf_source.iterdir() if p.is_dir())
            raise ConfigError(
                f"There is no environment {self.env!r}: {conf_source / str(self.env)} does "
                f"not exist.{did_you_mean(str(self.env), known)} Environments: {known}. "
                "Write one for your own files with: tabweave init"
            )
        if str(self.env).lower() in ARTIFACT_FOLDERS:
            raise ConfigError(
                f"{self.env!r} cannot name an environment: its files would lie in "
                f"data/<layer>/{self.env}, which a run without --env writes itself. "
                f"Rename {conf_source / str(self.env)}."
            )

    def _resolve_encoders(self, text: dict[str, Any]) -> None:
        """Relative encoder folders count from the project root, wherever Kedro runs."""
        holders = [text, *(f for f in text.get("fields") or () if isinstance(f, dict))]
        for holder in holders:
            source = holder.get("encoder")
            if isinstance(source, str) and source != SCRATCH:
                folder = self._project / source
                if folder.is_dir():
                    holder["encoder"] = str(folder.resolve())
