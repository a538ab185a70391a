import click
import pytest
import yaml
from kedro.config import MissingConfigException
from kedro.framework.cli.utils import KedroCliError
from kedro.framework.project import pipelines
from kedro.io.core import DatasetError
from omegaconf.errors import InterpolationKeyError

from tabweave.cli.kedro_errors import EXTRAS, one_screen_errors
from tabweave.errors import ConfigError


@pytest.fixture(autouse=True, scope="module")
def _registry():
    pipelines.configure("tabweave.pipeline_registry")


def message_of(error):
    with pytest.raises(click.ClickException) as caught, one_screen_errors():
        raise error
    assert caught.value.exit_code == 1
    return caught.value.message


def test_our_own_error_is_shown_as_it_is():
    assert message_of(ConfigError("what, where, fix")) == "what, where, fix"


def test_our_own_error_behind_kedro_s_is_what_is_shown():
    wrapped = DatasetError("Failed while loading data from dataset ...")
    wrapped.__cause__ = ConfigError("the cause")
    assert message_of(wrapped) == "the cause"


def test_an_unknown_pipeline_lists_the_known_ones():
    message = message_of(ValueError("Failed to find the pipeline named 'x'."))
    assert "load, text, tabular, train, evaluate, export, prepare, fabricate" in message
    assert "__default__" not in message


def test_an_unknown_node_lists_the_known_ones():
    message = message_of(ValueError("Pipeline does not contain nodes named ['x']."))
    assert "train_model" in message


def test_an_unknown_dataset_is_shown_as_kedro_says_it():
    text = "Pipeline does not contain datasets named ['x']"
    assert message_of(ValueError(text)) == text


@pytest.mark.parametrize(
    "error",
    [
        ValueError("operands could not be broadcast in the pipeline"),
        RuntimeError("x"),
        KeyError("x"),
        ModuleNotFoundError("No module named 'nothing'", name="nothing"),
        ModuleNotFoundError("nameless"),
    ],
)
def test_an_error_that_the_user_cannot_mend_keeps_its_traceback(error):
    with pytest.raises(type(error)), one_screen_errors():
        raise error


@pytest.mark.parametrize(
    ("module", "extra"),
    [(name, extra) for extra, names in EXTRAS.items() for name in names],
)
def test_a_missing_library_names_the_extra(module, extra):
    error = ModuleNotFoundError(f"No module named {module!r}", name=f"{module}.sub")
    message = message_of(error)
    assert f"{module}.sub is not installed" in message
    assert f"pip install 'tabweave[{extra}]'" in message


def test_configuration_that_cannot_be_read():
    for error in (yaml.YAMLError("bad"), InterpolationKeyError("no key 'x'")):
        assert "The configuration cannot be read" in message_of(error)


def test_click_s_own_errors_pass():
    with pytest.raises(click.UsageError), one_screen_errors():
        raise click.UsageError("wrong option")


def test_an_error_of_kedro_s_commands_is_shown_by_its_words():
    assert message_of(KedroCliError("--load-versions is wrong")).endswith("is wrong")


def test_a_folder_that_is_no_configuration_says_what_one_holds():
    message = message_of(MissingConfigException("not a valid directory: x/base"))
    assert message.startswith("not a valid directory: x/base. A folder of")


def test_options_that_leave_nothing_to_run_list_the_tags():
    message = message_of(ValueError("Pipeline contains no nodes after applying all"))
    assert message.endswith("Tags: evaluate, export, load, tabular, text, train.")
