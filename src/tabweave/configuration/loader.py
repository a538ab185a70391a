"""Kedro's configuration, with four things that only the loader can know.

* ``${layer:06_models}`` is ``data/06_models``, or ``data/06_models/<env>`` for an
  environment of its own, so that runs of two environments do not overwrite each other;
  the runtime parameter ``layers.06_models`` names another folder for one run.
* ``${parameter:data.train_filename}`` lets a catalog entry read a parameter; a second
  argument is the value to use where the parameter is null.
* Every parameter is checked before anything runs, those of other stages included.
* ``USE_PRECOMPUTED_IMPUTATION`` and ``USE_PRECOMPUTED_RISK_TABLES``, variables of the
  process, become parameters, so that the record of an artifact shows them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from kedro.utils import find_kedro_project, is_kedro_project
from omegaconf import OmegaConf

from tabweave.configuration.parameters import check_parameters
from tabweave.configuration.yaml_text import check_conf_source
from tabweave.errors import ConfigError, Problems, did_you_mean, shorten
from tabweave.models.config import ModelConfig
from tabweave.project_setup.environment import name_fault
from tabweave.storage.local_paths import check_local_paths
from tabweave.text.encoder_files import encoder_fault

SHARED_ENVIRONMENTS = (None, "", "base", "local")
SCRATCH = "scratch"
# Variables of the process that set a parameter of the group tabular.
SWITCHES = {
    "USE_PRECOMPUTED_IMPUTATION": "precomputed_imputation",
    "USE_PRECOMPUTED_RISK_TABLES": "precomputed_risk_tables",
}
LAYERS = (
    "02_intermediate",
    "04_feature",
    "05_model_input",
    "06_models",
    "07_model_output",
    "08_reporting",
)


def _apply_switches(parameters: dict[str, Any]) -> None:
    """Lets the variables of the process win, as parameters that every stage can see.

    Raises:
        ConfigError: A variable is neither true nor false.
    """
    problems = Problems("The variables of the environment are not valid")
    for variable, name in SWITCHES.items():
        value = os.environ.get(variable)
        if value is None:
            continue
        if value not in ("true", "false"):
            problems.add(
                f"{variable} is {shorten(value)}, but must be 'true' or 'false', or unset "
                f"to leave tabular.{name} as it is."
            )
            continue
        group = parameters.setdefault("tabular", {})
        if isinstance(group, dict):
            group[name] = value == "true"
    problems.raise_as(ConfigError)


class TabweaveConfigLoader(OmegaConfigLoader):
    """An OmegaConfigLoader for a tabweave project."""

    def __init__(
        self,
        conf_source: str | Path,
        env: str | None = None,
        runtime_params: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        check_local_paths({"--conf-source": conf_source})
        self._project = _project_of(Path(conf_source))
        _check_name(env, conf_source)
        check_conf_source(Path(conf_source), ("base", env or "local"))
        super().__init__(conf_source, env, runtime_params, **kwargs)
        self._check_environment()
        self._layers = _checked_layers((runtime_params or {}).get("layers", {}))
        self._parameters: dict[str, Any] | None = None

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The merged configuration of one kind; parameters are checked for names."""
        # Resolvers are global: another loader of this process may have set its own.
        OmegaConf.register_new_resolver("layer", self._layer, replace=True)
        OmegaConf.register_new_resolver("parameter", self._parameter, replace=True)
        if key == "catalog":
            # Once for all entries; inside an interpolation its errors lose their words.
            self._parameters = self["parameters"]
        try:
            config = super().__getitem__(key)
        finally:
            if key == "catalog":
                self._parameters = None
        if key == "parameters":
            _apply_switches(config)
            check_parameters(config)
            self._resolve_encoders(config.get("text") or {})
            _check_encoders(config.get("text") or {}, config.get("model") or {})
        if key == "catalog":
            check_local_paths(_paths_of(config))
        return config

    def _layer(self, name: str) -> str:
        if name in self._layers:
            return str(self._layers[name])
        if self.env in SHARED_ENVIRONMENTS:
            return f"data/{name}"
        return f"data/{name}/{self.env}"

    def _parameter(self, name: str, default: Any = None) -> Any:
        value: Any = self._parameters or self["parameters"]
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return default if value is None else value

    def _check_environment(self) -> None:
        whole = self._get_conf_env_path("")
        if self.env in SHARED_ENVIRONMENTS or not self._fs.isdir(whole):
            return
        folder = self._get_conf_env_path(str(self.env))
        if not self._fs.isdir(folder):
            found = self._fs.ls(whole, detail=True)
            known = sorted(
                Path(p["name"]).name for p in found if p["type"] == "directory"
            )
            raise ConfigError(
                f"There is no environment {self.env!r}: {folder} does not exist."
                f"{did_you_mean(str(self.env), known)} Environments: {known}. "
                "Write one for your own files with: tabweave init"
            )

    def _resolve_encoders(self, text: dict[str, Any]) -> None:
        """Relative encoder folders count from the project root, wherever Kedro runs.

        Raises:
            ConfigError: A relative folder is not there.
        """
        holders = [text, *(f for f in text.get("fields") or () if isinstance(f, dict))]
        for holder in holders:
            source = holder.get("encoder")
            if isinstance(source, str) and source != SCRATCH:
                folder = self._project / source
                if folder.is_dir():
                    holder["encoder"] = str(folder.resolve())
                elif _is_relative_folder(source):
                    # A record must never hold a name that means another folder elsewhere.
                    raise ConfigError(
                        f"text.encoder {shorten(source)} is a relative folder, but "
                        f"{folder} is not there: it counts from the project, not from "
                        "the current folder. Give the whole path of a folder that holds "
                        "tokenizer.json, a hub id such as owner/model, or scratch."
                    )


def _check_name(env: str | None, conf_source: str | Path) -> None:
    """Nothing outside the configuration is read as one, nor written to as its data.

    Raises:
        ConfigError: The name of the environment cannot be one.
    """
    fault = "" if env in SHARED_ENVIRONMENTS else name_fault(str(env))
    if fault:
        raise ConfigError(
            f"{fault}. --env (or KEDRO_ENV) takes the name of a folder in {conf_source}."
        )


def _paths_of(catalog: dict[str, Any]) -> dict[str, str]:
    """Where our entries lie, such as below the data_dir of globals.yml."""
    return {
        f"path of {name} in the catalog": entry["path"]
        for name, entry in catalog.items()
        if isinstance(entry, dict)
        and str(entry.get("type")).startswith("tabweave.")
        and isinstance(entry.get("path"), str)
    }


def _project_of(conf_source: Path) -> Path:
    """The folder that relative paths count from.

    It is the project of a configuration. One that lies elsewhere, as that of a packaged
    project does, serves the project around the current folder, or that folder itself.
    """
    holder = conf_source.resolve().parent
    here = Path.cwd()
    if is_kedro_project(holder):
        return holder
    return Path(find_kedro_project(here) or here)


def _check_encoders(text: dict[str, Any], model: dict[str, Any]) -> None:
    """Encoder folders have weights where the architecture trains them.

    Raises:
        ConfigError: Lists what is wrong with which folder, before the text stage runs.
    """
    if ModelConfig(**model).architecture.text != "bert":
        return
    holders = [text, *(f for f in text.get("fields") or () if isinstance(f, dict))]
    problems = Problems("The pretrained encoders cannot be used")
    for source in dict.fromkeys(holder.get("encoder") for holder in holders):
        folder = Path(source).expanduser() if source not in (None, SCRATCH) else None
        fault = encoder_fault(folder) if folder and folder.is_dir() else ""
        if fault:
            problems.add(f"text.encoder {source!r}: {fault}.")
    problems.raise_as(ConfigError)


def _is_relative_folder(source: str) -> bool:
    path = Path(source)
    if path.is_absolute():
        return False
    return path.is_dir() or source.startswith(("./", "../"))


def _checked_layers(named: Any) -> dict[str, str]:
    if (
        not isinstance(named, dict)
        or not set(named) <= set(LAYERS)
        or not all(isinstance(folder, str) and folder for folder in named.values())
    ):
        raise ConfigError(
            f"layers must hold a folder for some of {list(LAYERS)}, but is "
            f"{shorten(named)}. For example: --params=layers.06_models=<folder>"
        )
    return dict(named)
