import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.configuration.overrides import format_overrides, parse_overrides
from tabweave.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        (" , ,", {}),
        ("a=1", {"a": 1}),
        ("a.b=1, a.c = x ", {"a": {"b": 1, "c": "x"}}),
        ("a=[x,y],b=2", {"a": ["x", "y"], "b": 2}),
        ("a=[[1,2],[3]],b={c: [4,5], d: 'e,f'}", {"a": [[1, 2], [3]], "b": None}),
        ("a='x,y',b=\"p,q\"", {"a": "x,y", "b": "p,q"}),
        (r'a="x\",y",b=1', {"a": 'x",y', "b": 1}),
        (r'a="x\\",b=1', {"a": "x\\", "b": 1}),
        ("a='it''s, so',b=1", {"a": "it's, so", "b": 1}),
        ("folder=/tmp/[x,b=1", {"folder": "/tmp/[x", "b": 1}),
        ("a=it's,b=1", {"a": "it's", "b": 1}),
        ("a=1e-3,b=true,c=null,d=", {"a": 0.001, "b": True, "c": None, "d": None}),
        ("a=x=y", {"a": "x=y"}),
        ("a='010',b=[\"1_0\"],c=+7,d=-0", {"a": "010", "b": ["1_0"], "c": 7, "d": 0}),
        ("a=08,b=v010,c=01.5", {"a": "08", "b": "v010", "c": 1.5}),
        ("a={x: 1},a.y=2", {"a": {"x": 1, "y": 2}}),
        ("a=${b.c}", {"a": "${b.c}"}),
    ],
)
def test_an_entry_is_a_key_and_a_value_of_yaml(text, values):
    if "d: 'e,f'" in text:
        values = {**values, "b": {"c": [4, 5], "d": "e,f"}}
    assert parse_overrides(text) == values


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a", "'a' is not a key and a value"),
        ("=1", "'=1' is not a key and a value"),
        ("a..b=1", "'a..b=1' is not a key and a value"),
        ("a=[1", "'a': '[1' is no value"),
        ("a=}{", "'a': '}{' is no value"),
        ("a=x: y: z", "is no value: line 1: mapping values"),
        ("a=1,a=2", "'a' is given twice"),
        ("a=1,a.b=2", "'a.b' is given twice, or is a group"),
        ("a.b=2,a=1", "'a' is given twice"),
        ("a=!!python/object:os.system x", "is no value: could not determine"),
        ("a=!x y", "is no value"),
        ("a=<<", "is no value"),
        ("a={[1]: 2}", "is no value"),
        ("a=${x", "is no value"),
        ("a=*x", "is no value"),
        ("a=\0", "is no value"),
        ("a=010", "'010' is no value: YAML reads 010 as 8. Write"),
        ("a=1_0", "YAML reads 1_0 as 10"),
        ("a=1_0.5", "YAML reads 1_0.5 as 10.5"),
        ("a=1:30", "YAML reads 1:30 as 90"),
        ("a=0x1F", "YAML reads 0x1F as 31"),
        ("a=-007", "YAML reads -007 as -7"),
        ("a=[x,{b: 010}]", "YAML reads 010 as 8"),
        ("a=\ud800", "is no value"),
        ("a=" + "9" * 5000, "is no value"),
        ("a=" + "[" * 9000, "nested more than"),
        ("x" * 100_000, "is not a key and a value"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_form(text, fault):
    with pytest.raises(ConfigError, match=r"Write group\.key=value") as caught:
        parse_overrides(text)
    assert fault in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_all_faults_come_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_overrides("a,b=[,c=1")
    assert str(caught.value).count("\n  - ") == 2


KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=20).filter(lambda text: "${" not in text)
    | st.text("0123456789eE+-._:xob", max_size=6)  # what YAML may take for a number
    | st.text("\\\"',[]{}: a", max_size=6)
)
LEAVES = SCALARS | st.lists(SCALARS, max_size=3)


@given(st.dictionaries(KEYS, LEAVES | st.dictionaries(KEYS, LEAVES, min_size=1)))
def test_what_is_written_is_read_again(values):
    """The command that a message prints gives the run that it speaks of."""
    found = parse_overrides(format_overrides(values))
    assert found == values
    assert str(found) == str(values)  # true is not 1, and -0.0 is not 0


def test_an_infinite_number_is_written_and_read():
    assert parse_overrides(format_overrides({"a": math.inf})) == {"a": math.inf}
