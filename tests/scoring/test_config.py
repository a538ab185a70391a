import pytest
from pydantic import ValidationError

from tabweave.scoring import ScoreConfig


def test_the_defaults_name_no_file():
    config = ScoreConfig()
    assert (config.bundle, config.input, config.output, config.rejects) == (None,) * 4


def test_the_pipeline_is_a_property_of_the_result():
    assert ScoreConfig().int8 is False
    assert ScoreConfig(int8=True).recorded() != ScoreConfig().recorded()


def test_whether_files_may_be_replaced_is_no_property_of_the_result():
    assert ScoreConfig(overwrite=True).recorded() == ScoreConfig().recorded()


@pytest.mark.parametrize(
    "values",
    [
        {"threads": 0},
        {"threads": 1025},
        {"batch_rows": 0},
        {"window_bytes": -1},
        {"output": ""},
        {"int8": "some"},
        {"x": 1},
    ],
)
def test_impossible_values_are_refused(values):
    with pytest.raises(ValidationError):
        ScoreConfig(**values)
