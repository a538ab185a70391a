import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.errors import ArtifactError
from tabweave.storage import strict_json
from tabweave.storage.strict_json import MAX_DEPTH, parse_json

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
).filter(lambda value: "Infinity" not in json.dumps(value))


@given(PLAIN)
def test_plain_values_come_out_as_they_went_in(value):
    assert parse_json(json.dumps(value).encode(), "x.json") == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), "x") == value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff{}", "not UTF-8 at byte 0"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b'{"a": 1, "b": {"k": 1, "k": 2}}', "key 'k' stands twice"),
        (b'{"a": 1, "\\u0061": 2}', "key 'a' stands twice"),
        (b"[NaN]", "NaN, which is not JSON"),
        (b"[-Infinity]", "-Infinity, which is not JSON"),
        (b"[1e999]", "'1e999' is not finite"),
        (b"[" + b"9" * 5000 + b"]", "not JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper"),
        (b'["\\"", ' + b"[" * 40 + b"]" * 40 + b"]", "nested deeper"),
        (b"\x80\x04cos\nsystem\n.", "not UTF-8"),
    ],
)
def test_what_has_no_one_meaning_is_refused_by_name(data, words):
    with pytest.raises(ArtifactError, match=r"x\.json is refused") as caught:
        parse_json(data, "x.json")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


def test_brackets_in_text_are_not_levels():
    value = ["[" * 500 + '"' + "{" * 500]
    assert parse_json(json.dumps(value).encode(), "x") == value


def test_the_deepest_allowed_value_is_read():
    value = "1"
    data = b"[" * MAX_DEPTH + value.encode() + b"]" * MAX_DEPTH
    assert parse_json(data, "x") is not None
    with pytest.raises(ArtifactError, match="nested deeper"):
        parse_json(b"[" + data + b"]", "x")


def test_the_number_of_lists_is_bounded(monkeypatch):
    monkeypatch.setattr(strict_json, "MAX_CONTAINERS", 100)
    with pytest.raises(ArtifactError, match="over 100 lists and objects"):
        parse_json(b"[" + b"[]," * 200 + b"[]]", "x")


@pytest.mark.parametrize(
    "hostile",
    [
        lambda n: b'{"a":[' + b"[]," * 40 + b'"' + b'\\"' * n,
        lambda n: b"{" + b",".join(b'"%d":0' % (k % (n - 1)) for k in range(n)) + b"}",
    ],
    ids=["an open string of quotes", "a key that stands twice among many"],
)
def test_hostile_text_takes_no_more_than_its_length(hostile):
    # Quadratic work would take minutes here.
    with pytest.raises(ArtifactError):
        parse_json(hostile(200_000), "x.json")
