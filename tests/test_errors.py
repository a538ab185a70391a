import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.errors import (
    ArtifactError,
    ConfigError,
    ExportError,
    MissingDataError,
    Problems,
    SchemaError,
    TabweaveError,
    TrainingError,
    WriteError,
    did_you_mean,
    own_error,
    shorten,
    some_of,
)

KINDS = (SchemaError, MissingDataError, ConfigError, TrainingError, ExportError)
KINDS += (ArtifactError, WriteError)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_tabweave_error_and_shows_its_message_as_written(kind):
    message = "two lines\n  with 'quotes' and a \\ backslash"
    assert issubclass(kind, TabweaveError)
    assert issubclass(kind, ValueError)
    assert str(kind(message)) == message


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_another_process_arrives_whole(kind):
    arrived = pickle.loads(pickle.dumps(kind("what, where\nand what to do")))
    assert type(arrived) is kind
    assert str(arrived) == "what, where\nand what to do"


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        (SchemaError, KeyError),
        (MissingDataError, FileNotFoundError),
        (TrainingError, RuntimeError),
        (ExportError, RuntimeError),
        (ArtifactError, RuntimeError),
        (WriteError, ArtifactError),
        (WriteError, OSError),
    ],
)
def test_code_that_expects_the_standard_error_catches_ours(kind, standard):
    with pytest.raises(standard):
        raise kind("x")


def test_problems_are_raised_as_one_error_with_every_line():
    problems = Problems("Two things are wrong")
    problems.raise_as(SchemaError)
    assert not problems
    problems.add("the first")
    problems.add("the second")
    with pytest.raises(SchemaError) as caught:
        problems.raise_as(SchemaError)
    assert str(caught.value) == "Two things are wrong:\n  - the first\n  - the second"


@pytest.mark.parametrize("count", [1, 30, 31, 1000])
def test_problems_beyond_the_limit_are_counted(count):
    problems = Problems("Wrong")
    for number in range(count):
        problems.add(f"number {number}")
    lines = str(problems).splitlines()
    assert lines[1:31] == [f"  - number {n}" for n in range(min(count, 30))]
    assert lines[31:] == ([f"  - and {count - 30} more"] if count > 30 else [])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dialouge", " Did you mean 'Dialogue'?"),
        ("DIALOGUE ", " Did you mean 'Dialogue'?"),
        ("price", " Did you mean ' Price'?"),
        ("zzzz", ""),
        ("", ""),
    ],
)
def test_a_misspelt_name_gets_the_nearest_known_one(name, hint):
    assert did_you_mean(name, ["Dialogue", " Price"]) == hint


def test_no_known_name_gives_no_hint():
    assert did_you_mean("anything", []) == ""


@given(st.one_of(st.text(), st.binary(), st.integers()), st.integers(2, 100))
def test_a_shortened_value_keeps_its_start_and_the_limit(value, limit):
    short = shorten(value, limit)
    assert len(short) <= limit
    if len(repr(value)) <= limit:
        assert short == repr(value)
    else:
        assert repr(value).startswith(short.removesuffix("…"))
        assert short.endswith("…")


@given(st.lists(st.text(max_size=200), max_size=30), st.integers(1, 12))
def test_some_values_are_short_and_the_rest_is_counted(values, limit):
    text = some_of(values, limit)
    assert text.startswith(", ".join(shorten(v) for v in values[:limit]))
    more = len(values) - limit
    assert text.endswith(f" and {more} more") is (more > 0)
    assert len(text) <= limit * 82 + 20


def test_our_own_error_is_found_behind_another():
    ours = ConfigError("x")
    try:
        try:
            raise ours
        except ConfigError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        wrapped = error
    assert own_error(ours) is ours
    assert own_error(wrapped) is ours
    assert own_error(RuntimeError("not ours")) is None
    assert own_error(SchemaError("s")) is not None


def test_an_error_while_one_of_ours_was_handled_is_not_ours():
    try:
        try:
            raise ConfigError("handled")
        except ConfigError:
            {}["a bug"]
    except KeyError as error:
        bug = error
    assert own_error(bug) is None


def test_an_error_that_hides_its_context_is_not_ours():
    def handle():
        try:
            raise ConfigError("handled")
        except ConfigError:
            raise OSError("disk") from None

    with pytest.raises(OSError, match="disk") as caught:
        handle()
    assert own_error(caught.value) is None


def test_values_that_python_cannot_write_are_named_by_kind():
    deep = []
    for _ in range(5_000):
        deep = [deep]
    assert shorten(deep, 200).startswith(
        "<list that cannot be shown: maximum recursion"
    )
    assert shorten(10**5_000, 200).startswith("<int that cannot be shown: Exceeds")
