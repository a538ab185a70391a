import pytest
from pydantic import ValidationError

from tabweave.splitting.config import SplitConfig, duration_microseconds

HOUR = 3_600_000_000
TIME = {"method": "time", "time_column": "at"}


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("7d", 168),
        ("12h", 12),
        ("1d12h", 36),
        ("30min", 0.5),
        ("2w", 336),
        ("1800s", 0.5),
        ("P7D", 168),
        ("PT12H", 12),
        ("P1DT12H", 36),
        ("PT30M", 0.5),
        ("P2W", 336),
    ],
)
def test_durations_mean_what_they_say(text, hours):
    assert duration_microseconds(text) == hours * HOUR


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "P1DT", "3m", "P3M", "1y", "P1Y", "12h1d", "-7d", "7 d", "7"],
)
def test_what_is_no_duration_is_none(text):
    assert duration_microseconds(text) is None


def test_the_fractions_are_those_of_the_digits():
    train, val, test = SplitConfig(val_fraction=0.1, test_fraction=0.2).fractions
    assert (train * 10, val * 10, test * 10) == (7, 1, 2)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave nothing for train"),
        ({"method": "time"}, "'time' needs time_column"),
        ({"method": "group"}, "'group' needs group_column"),
        ({"time_column": "at"}, "set method to 'time'"),
        ({"group_column": "who"}, "set method to 'group'"),
        ({"embargo": "7d"}, "an embargo needs method 'time'"),
        ({**TIME, "keep_duplicates_together": True}, "contradicts method 'time'"),
        ({**TIME, "embargo": "P3M"}, "not a length above zero"),
        ({**TIME, "embargo": "0d"}, "not a length above zero"),
        ({**TIME, "embargo": 0}, "not a length above zero"),
        ({**TIME, "embargo": float("inf")}, "finite number"),
        ({**TIME, "embargo": float("nan")}, "finite number"),
        ({**TIME, "embargo": -1.5}, "not a length above zero"),
        ({**TIME, "embargo": True}, "valid"),
        ({"val_fraction": 0}, "greater than 0"),
        ({"duplicate_threshold": 0.3}, "greater than or equal to 0.5"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"source": ""}, "at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings, part):
    with pytest.raises(ValidationError, match=part):
        SplitConfig(**settings)


@pytest.mark.parametrize(
    ("embargo", "length"), [(None, None), ("1h", HOUR), (3, 3), (0.5, 0.5)]
)
def test_the_embargo_is_a_length_or_nothing(embargo, length):
    assert SplitConfig(**TIME, embargo=embargo).embargo_length == length
