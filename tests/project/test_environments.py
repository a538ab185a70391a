import logging.config

import yaml

from tabweave.configuration.loader import TabweaveConfigLoader
from tabweave.configuration.parameters import PARAMETER_TYPES


def test_the_configuration_of_every_environment_is_valid(configuration, env):
    config = configuration(env)
    # Reading the parameters checks every name, type and value.
    parameters = config["parameters"]
    assert set(PARAMETER_TYPES) <= set(parameters)
    assert set(config["globals"]) == {"data_dir"}


def test_every_environment_resolves_every_dataset(dataset_names, catalog_of, env):
    catalog = catalog_of(env)
    for name in dataset_names:
        assert catalog.get(name) is not None, name


def test_every_file_of_the_configuration_is_read_by_someone(root):
    for path in (root / "conf").rglob("*"):
        if path.is_file() and "local" not in path.parts:
            assert path.name in (
                "catalog.yml",
                "parameters.yml",
                "globals.yml",
                "logging.yml",
                "README.md",
            ), path


def test_every_file_of_the_configuration_is_yaml_with_a_purpose(root):
    for path in (root / "conf").rglob("*.yml"):
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path


def test_base_knows_every_key_that_it_sets(configuration):
    parameters = configuration("base")["parameters"]
    for group, values in parameters.items():
        fields = PARAMETER_TYPES[group].model_fields
        assert set(values) <= set(fields), group


def test_the_logging_configuration_is_one(root):
    settings = yaml.safe_load((root / "conf/logging.yml").read_text(encoding="utf-8"))
    logging.config.DictConfigurator(settings)
    assert settings["disable_existing_loggers"] is False


def test_no_consent_to_telemetry_is_given(root):
    answer = yaml.safe_load((root / ".telemetry").read_text(encoding="utf-8"))
    assert answer == {"consent": False}


def test_settings_name_the_loader_of_the_project():
    from tabweave import settings

    assert settings.CONFIG_LOADER_CLASS is TabweaveConfigLoader
