import json
import time
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.errors import ConfigError
from tabweave.sagemaker.hyperparameters.values import (
    DEEPEST,
    cast,
    parse_json,
    safe_cast,
)

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
).filter(lambda value: depth(value) <= DEEPEST)


def depth(value):
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


@given(PLAIN)
def test_json_is_read_as_json_loads_reads_it(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"a": 1, "a": 2}', "'a' appears twice, with 1 and with 2"),
        ('{"x": {"a": 1, "a": 1}}', "'a' appears twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("[" * 100_000 + "]" * 100_000, "8 levels"),
        ('{"a":' * 9 + "1" + "}" * 9, "8 levels"),
        ("{'a': 1}", "not JSON"),
        ("", "not JSON"),
        ('{"a": 1} x', "not JSON"),
    ],
)
def test_json_that_may_mean_two_things_is_refused(text, part):
    with pytest.raises(ConfigError, match=part):
        parse_json(text)


def test_the_depth_limit_is_exact():
    deepest = "[" * DEEPEST + "]" * DEEPEST
    assert json.loads(deepest) == parse_json(deepest)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        (" False ", False),
        ("[1, 2, 3]", [1, 2, 3]),
        ("{'key': 'value'}", {"key": "value"}),
        ('{"key": null}', {"key": None}),
        ("123", 123),
        ("3.14", 3.14),
        ("2e-5", 2e-5),
        ("'quoted'", "quoted"),
        ("None", None),
        ("bert-base-uncased", "bert-base-uncased"),
        ("val/f1_score", "val/f1_score"),
        ("[unfinished", "[unfinished"),
        (r"'\d'", r"\d"),
        ("", ""),
    ],
)
def test_a_string_becomes_what_it_spells(text, value):
    found = safe_cast(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["-" * 9000 + "1", "1+" * 5000 + "1", "(" * 9999, "9" * 100_000]
)
def test_hostile_strings_stay_text_and_cost_little(text):
    started = time.process_time()
    assert safe_cast(text) == text
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        ("32", int, 32),
        (32.0, int, 32),
        ("1e3", int, 1000),
        (2, float, 2.0),
        ("0.5", float, 0.5),
        ("TRUE", bool, True),
        ("true", str, "true"),
        ("007", str, "007"),
        ('"bert"', str, "bert"),
        ("[3, 5]", tuple[int, ...], (3, 5)),
        (["3", 5], tuple[int, ...], (3, 5)),
        ("['a', 'b']", tuple[str, ...], ("a", "b")),
        ([1, "b"], tuple[int | str, ...], (1, "b")),
        (None, int | None, None),
        ("None", tuple[int, ...] | None, None),
        ("None", str | None, "None"),
        ({"a": "1"}, dict[str, float], {"a": 1.0}),
        ("Adam", Literal["Adam", "SGD"], "Adam"),
        ({"a": [1]}, dict[str, Any], {"a": [1]}),
    ],
)
def test_values_are_cast_by_the_type_of_their_key(value, kind, result):
    found = cast(value, kind)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("value", "kind", "allowed"),
    [
        (True, int, "a whole number"),
        (1, bool, "true or false"),
        ("yes", bool, "true or false"),
        ("1", bool, "true or false"),
        (0.5, int, "a whole number"),
        ("0.5", int, "a whole number"),
        ("nan", float, "a finite number"),
        ("1e999", float, "a finite number"),
        (10**400, float, "a finite number"),
        (5, str, "text"),
        (None, int, "a whole number"),
        ("3", tuple[int, ...], "a list"),
        ([True], tuple[int | str, ...], "a whole number or text"),
        ([[1]], tuple[int, ...], "a whole number"),
        ([], dict[str, float], "an object"),
        ("${oc.env:HOME}", str, "without"),
        (["a", "${x}"], tuple[str, ...], "without"),
        ("\ud800", str, "UTF-8"),
    ],
)
def test_what_is_ambiguous_or_wrong_is_refused(value, kind, allowed):
    with pytest.raises(ConfigError, match=r"got .*, allowed: ") as caught:
        cast(value, kind)
    assert allowed in str(caught.value)


@given(st.text())
def test_text_stays_as_written_unless_it_is_quoted(text):
    if "${" not in text and text.strip()[:1] not in ("'", '"'):
        assert cast(text, str) == text
