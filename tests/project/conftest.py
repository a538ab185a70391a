"""The pipelines and catalogs that the guards look at; nothing is run or written."""

import warnings
from functools import cache

import pytest
from kedro.io import DataCatalog

from tabweave.configuration.loader import TabweaveConfigLoader
from tabweave.pipeline_registry import register_pipelines
from tabweave.settings import CONFIG_LOADER_ARGS


def pytest_generate_tests(metafunc):
    """Runs a test that asks for ``env`` once per environment of the repository."""
    if "env" in metafunc.fixturenames:
        conf = metafunc.config.rootpath / "conf"
        names = sorted(folder.name for folder in conf.iterdir() if folder.is_dir())
        metafunc.parametrize("env", names)


@pytest.fixture(scope="session")
def pipelines():
    """Every registered pipeline by name."""
    return register_pipelines()


@pytest.fixture(scope="session")
def everything(pipelines):
    """All nodes of all pipelines."""
    return sum(pipelines.values(), start=pipelines["__default__"])


@pytest.fixture(scope="session")
def dataset_names(everything):
    """Every dataset that a node reads or writes, parameters aside."""
    names = everything.datasets()
    return sorted(name for name in names if not name.startswith("params:"))


@pytest.fixture(scope="session")
def configuration(root):
    """The configuration of an environment, as Kedro would read it."""

    def load(env):
        arguments = {**CONFIG_LOADER_ARGS, "default_run_env": ""}
        return TabweaveConfigLoader(str(root / "conf"), env=env, **arguments)

    return load


@pytest.fixture(scope="session")
def catalog_of(configuration):
    """The catalog of an environment; its paths are relative to the project."""

    @cache
    def load(env):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return DataCatalog.from_config(configuration(env)["catalog"])

    return load
