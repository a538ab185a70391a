"""Plain values come out equal; whatever else a pickle asks for, nothing happens."""

import builtins
import codecs
import contextlib
import io
import math
import os
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tabweave.storage.restricted_pickle as restricted
from tabweave.errors import ArtifactError
from tabweave.storage.restricted_pickle import RefusedPickle, loads, read_pickle

PROTOCOLS = pytest.mark.parametrize("protocol", range(6))
IMPUTE = {"price": 12.5, "größe": -0.0, "n": 3, "huge": 1e300}
RISKS = {
    "shop": {"bins": {"a": 0.25, "": 0.5, "b\n\\é\u20ac😀": 1.0}, "default_bin": 0.1},
    "kind": {c: {"bins": {"x": 0.5}, "default_bin": 0.0} for c in ("no", "so", "yes")},
}
PLAIN = [
    IMPUTE,
    RISKS,
    {},
    {"list": [1, [2, []], {}], "none": None, "yes": True, "no": False},
    {0: 1, 255: 256, 65535: 65536, -1: 2**31, 2**40: -(2**63), 2**63: 2**64 - 1},
    {"many": {f"k{i}": i / 2001 for i in range(2001)}},
    ["text", math.inf, -math.inf, 0.1],
]


def old_numpy(data):
    """The same pickle as numpy 1 wrote it."""
    return data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


class Asks:
    """Makes a pickle that calls something, the way an attacker does."""

    def __init__(self, called, *arguments, state=None):
        self.answer = (
            (called, arguments) if state is None else (called, arguments, state)
        )

    def __reduce__(self):
        return self.answer


@PROTOCOLS
@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_what_pickle_writes_is_read_equal(value, protocol):
    data = pickle.dumps(value, protocol)
    assert loads(data) == value
    assert repr(loads(data)) == repr(value)
    assert repr(loads(pickletools.optimize(data))) == repr(value)


@PROTOCOLS
def test_tuples_come_as_lists(protocol):
    value = {"t": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))}
    found = loads(pickle.dumps(value, protocol))
    assert found == {"t": [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]}


@PROTOCOLS
def test_numpy_scalars_come_as_python_values(protocol):
    names = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64"
    value = {name: getattr(np, name)(3.25) for name in names.split()}
    value |= {"true": np.True_, "false": np.bool_(False)}
    value |= {np.str_("ключ😀"): np.str_("two words"), "nan": np.float64("nan")}
    data = pickle.dumps(value, protocol)
    for spelled in (data, *([old_numpy(data)] if protocol < 4 else [])):
        found = loads(spelled)
        assert all(type(v) in (int, float, bool, str) for v in found.values())
        assert math.isnan(found.pop("nan"))
        assert found == {k: v.item() for k, v in value.items() if k != "nan"}


@PROTOCOLS
def test_the_old_path_of_numpy_is_known_in_every_protocol(protocol):
    out = io.BytesIO()
    pickler = pickle._Pickler(out, protocol)

    def save_global(self, obj, name=None):
        if getattr(obj, "__module__", "").startswith("numpy._core"):
            module, name = "numpy.core.multiarray", obj.__name__
            if protocol >= 4:
                self.save(module)
                self.save(name)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(f"c{module}\n{name}\n".encode())
            self.memoize(obj)
        else:
            pickle._Pickler.save_global(self, obj, name)

    pickler.save_global = save_global.__get__(pickler)
    pickler.dispatch = {**pickle._Pickler.dispatch}
    pickler.dispatch[type(np.float64(0).__reduce__()[0])] = save_global
    pickler.dump({"a": np.float64(0.1), "b": np.float32(0.5)})
    assert b"numpy.core.multiarray" in out.getvalue()
    assert loads(out.getvalue()) == {"a": 0.1, "b": 0.5}


@PROTOCOLS
def test_a_file_of_pandas_is_read(tmp_path, protocol):
    series = pd.Series([0.25, 0.5], index=["a", "b"])
    value = {"shop": {"bins": series.to_dict(), "default_bin": series.mean()}}
    pd.to_pickle(value, tmp_path / "risk_table_map.pkl", protocol=protocol)
    assert read_pickle(tmp_path / "risk_table_map.pkl") == value


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


def depth(value):
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, parts), default=0)
    return 0


@given(values.filter(lambda value: depth(value) <= 8), st.integers(0, 5))
@settings(deadline=None, max_examples=150, derandomize=True)
def test_any_plain_value_is_read_equal(value, protocol):
    assert repr(loads(pickle.dumps(value, protocol))) == repr(value)


def attacks(marker):
    """Name -> an object whose pickle, read by pickle itself, makes `marker`."""
    command = f"open({str(marker)!r}, 'w').close()"
    shell = f"touch {marker}"
    return {
        "os.system": Asks(os.system, shell),
        "eval": Asks(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Asks(builtins.exec, command),
        "open": Asks(open, str(marker), "w"),
        "subprocess": Asks(subprocess.check_call, ["touch", str(marker)]),
        "in a key": {Asks(open, str(marker), "w"): 1},
        "deep inside": {"a": {"bins": {"x": [Asks(exec, command)]}}},
        "codecs.open": Asks(codecs.open, str(marker), "w"),
        "np.load": Asks(np.savetxt, str(marker), [1.0]),
        "list items": {"bins": Asks(list, Asks(map, exec, [command]))},
    }


@PROTOCOLS
@pytest.mark.parametrize("name", attacks("x"))
def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path, name, protocol):
    data = pickle.dumps(attacks(tmp_path / "fired")[name], protocol)
    before = set(sys.modules)
    with pytest.raises(RefusedPickle, match=r"asks for|near byte"):
        loads(data)
    assert set(sys.modules) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", ["os.system", "eval", "exec", "open", "subprocess"])
def test_the_same_pickles_do_fire_when_pickle_reads_them(tmp_path, name):
    """The control: without it, the test above could pass with broken attacks."""
    with_effect = pickle.loads(pickle.dumps(attacks(tmp_path / "fired")[name]))
    if hasattr(with_effect, "close"):
        with_effect.close()
    assert (tmp_path / "fired").exists()


@PROTOCOLS
@pytest.mark.parametrize(
    "asked",
    [
        Asks(np.dtype, "O"),
        Asks(np.dtype, "f8", False, True, state=(3, ">", None, None, None, -1, -1, 0)),
        Asks(np.dtype, [("a", "f8")]),
        np.dtype("f8"),
        np.float64,
        np.zeros(3),
        np.longdouble(1),
        np.datetime64("2020-01-01"),
        Asks(codecs.encode, "x" * 10_000, "latin1"),
        Asks(codecs.encode, "abc", "rot13"),
        b"raw bytes",
        bytearray(b"raw"),
        {1, 2},
        frozenset({1}),
        1 + 2j,
        {("a", "b"): 1},
        pd.Series([1.0]),
        RefusedPickle("x"),
        2**70,
        -(2**63) - 1,
        print,
        ValueError("x"),
        time.struct_time(range(9)),
    ],
    ids=lambda asked: type(asked).__name__,
)
def test_other_objects_are_refused(asked, protocol):
    with pytest.raises(RefusedPickle):
        loads(pickle.dumps(asked, protocol))


def test_its_own_parts_cannot_be_written_to():
    """BUILD sets attributes in pickle; here it may only confirm a layout."""
    state = dict(vars(restricted))
    for module, name in [
        ("numpy", "dtype"),
        ("_codecs", "encode"),
        ("numpy.core.multiarray", "scalar"),
        ("tabweave.storage.restricted_pickle", "MAX_BYTES"),
        ("tabweave.storage.restricted_pickle", "loads"),
    ]:
        for build in (b"}(Vanswer\nI1\nub.", b"(N}(V__defaults__\n)utb."):
            with pytest.raises(RefusedPickle):
                loads(f"c{module}\n{name}\n".encode() + build)
    assert dict(vars(restricted)) == state


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


NESTED = b"]" + b"(]" * 40 + b"e" * 40 + b"."
HOSTILE = {
    "empty": b"",
    "only a stop": b".",
    "no stop": b"}",
    "garbage": b"\x00\xff\x00",
    "after the end": pickle.dumps({}) + b"x",
    "two values": b"}}.",
    "an open group": b"}(.",
    "protocol 6": b"\x80\x06}.",
    "a huge text": b"X\xff\xff\xff\x7fabc.",
    "a huge text of 8 bytes": b"\x8d" + b"\xff" * 8 + b"a.",
    "huge bytes": b"B\xff\xff\xff\x7fabc.",
    "bytes of 8 bytes": b"\x8e" + struct.pack("<Q", 1 << 62) + b"a.",
    "a huge frame": b"\x80\x04\x95" + b"\xff" * 8 + b"}.",
    "a huge long": b"\x8b\xff\xff\xff\x7f1.",
    "a long line": b"I" + b"9" * 100_000 + b"\n.",
    "a line without end": b"V" + b"a" * 1000,
    "half a character": b"V\\ud800\n.",
    "half a character, binary": text(b"\xed\xa0\x80") + b".",
    "not UTF-8": text(b"\xff\xfe") + b".",
    "deep lists": NESTED,
    "deep tuples": b")" + b"\x85" * 1_000 + b".",
    "a list in itself": b"]q\x00h\x00a.",
    "a dictionary in itself": b"}q\x00V1\nh\x00s.",
    "groups without end": b"(" * 100_000,
    "values without end": b"N" * 300_000,
    "dictionaries without end": b"]("
    + b"}" * 90_000
    + b"e("
    + b"}" * 90_000
    + b"e(" * 5
    + b"}" * 90_000
    + b"e.",
    "an unknown place": b"h\x07.",
    "a far place": b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.",
    "nothing to put": b"p0\n.",
    "a key twice": b"}(V1\nI1\nV1\nI2\nu.",
    "1 and True": b"}(I1\nNI01\nNu.",
    "an odd item": b"}(V1\nu.",
    "items of a list": b"](V1\nV1\nu.",
    "elements of a dictionary": b"}Na.",
    "an instance": b"(ios\nsystem\n.",
    "an object": b"(cos\nsystem\no.",
    "a new object": b"cos\nsystem\n)\x81.",
    "a new object with keywords": b"cos\nsystem\n)}\x92.",
    "a persistent object": b"Pos\n.",
    "a persistent object, binary": b"NQ.",
    "extensions": b"\x82\x01.",
    "a buffer": b"\x97.",
    "a set": b"\x8f.",
    "a popped value": b"NN0.",
    "a doubled value": b"N2.",
    "text of Python 2": b"S'a'\n.",
    "a call of text": b"V1\n)R.",
    "a name that is a list": b"](]h\x00e]\x93.",
    "a type without name": b"cnumpy\ndtype\n)R.",
    "a scalar of nothing": b"cnumpy.core.multiarray\nscalar\n)R.",
    "a codec of nothing": b"c_codecs\nencode\n)R.",
    "numpy's own loader": b"cnumpy\nload\n(V/dev/zero\ntR.",
    "numpy text of huge width": b"cnumpy\ndtype\n(VU99999999\ntR.",
    "a dotted name": b"cnumpy\ndtype.__class__\n.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_greedy_files_are_refused_at_once(name):
    start = time.process_time()
    with pytest.raises(RefusedPickle):
        loads(HOSTILE[name])
    assert time.process_time() - start < 2


@PROTOCOLS
def test_shared_parts_cannot_grow_beyond_the_file(protocol):
    """Seven lists of 300 references each would be 10^17 values."""
    value = [None] * 300
    for _ in range(6):
        value = [value] * 300
    start = time.process_time()
    with pytest.raises(RefusedPickle, match="more values than it has bytes"):
        loads(pickle.dumps(value, protocol))
    assert time.process_time() - start < 2


@PROTOCOLS
def test_nesting_is_read_up_to_eight_levels(protocol):
    value = 1
    for _ in range(8):
        value = [value]
    assert loads(pickle.dumps(value, protocol)) == value
    with pytest.raises(RefusedPickle, match="nests deeper than 8 levels"):
        loads(pickle.dumps([value], protocol))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"(" + b"N" * 100_001 + b"l.", "more than 100,000 values wait"),
        (b"(" * 100 + b"l" * 100 + b".", "groups of values that never end"),
        (pickle.dumps(np.float64(1), 2).replace(b"<", b">"), "foreign byte order"),
        (pickle.dumps(np.float64(1), 2).replace(b"latin1", b"utf-16"), "a codec other"),
        (pickle.dumps(np.float64(1), 2).replace(b"f8", b"f4"), "8 bytes for a .* f4"),
        (
            pickle.dumps(np.str_("ab"), 2).replace(b"U2", b"U3"),
            "8 bytes for a numpy value U3",
        ),
    ],
)
def test_each_limit_has_its_own_words(data, said):
    with pytest.raises(RefusedPickle, match=said):
        loads(data)


def test_a_list_as_long_as_the_stack_allows_is_read():
    assert loads(b"(" + b"N" * 100_000 + b"l.") == [None] * 100_000
    long = list(range(150_000))
    assert loads(pickle.dumps(long)) == long


def test_a_shared_table_is_read_where_it_stays_small():
    one = {"bins": {"a": 0.5, "b": 0.25}, "default_bin": 0.1}
    value = {"first": one, "second": one}
    assert loads(pickle.dumps(value)) == value


def test_every_cut_of_a_real_file_is_refused():
    for protocol in range(6):
        data = pickle.dumps(RISKS | {"n": np.float64(1.5)}, protocol)
        for end in range(len(data)):
            with pytest.raises(RefusedPickle):
                loads(data[:end])


def mutated(data, rng):
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed))
        kind = rng.randrange(4)
        if kind == 0:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            del changed[place : place + rng.randint(1, 8)]
        elif kind == 2:
            changed[place:place] = rng.randbytes(rng.randint(1, 8))
        else:
            other = rng.randrange(len(changed) + 1)
            changed[place:place] = changed[other : other + rng.randint(1, 30)]
        if not changed:
            return b""
    return bytes(changed)


def test_four_seconds_of_mutated_pickles_raise_nothing_else(tmp_path, monkeypatch):
    """Seeds hold plain tables, numpy scalars and attacks, whose effect would be seen."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(7)
    good = [RISKS, IMPUTE, {"a": np.float64(0.5), np.str_("b"): np.int32(1)}]
    bad = list(attacks(tmp_path / "fired").values())
    seeds = [pickle.dumps(v, p) for v in good + bad for p in range(6)]
    end, read, refused, slowest = time.process_time() + 4, 0, 0, 0.0
    while (start := time.process_time()) < end:
        try:
            value = loads(mutated(rng.choice(seeds), rng))
            assert depth(value) <= 8
            read += 1
        except RefusedPickle:
            refused += 1
        slowest = max(slowest, time.process_time() - start)
    assert list(tmp_path.iterdir()) == []
    assert read > 100
    assert refused > 1_000
    assert slowest < 0.5


@given(st.binary(max_size=60))
@settings(
    deadline=None,
    max_examples=400,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_bytes_are_a_value_or_refused(data):
    with contextlib.suppress(RefusedPickle):
        assert depth(loads(data)) <= 8


def test_the_message_names_the_file_what_it_asks_for_and_the_way_out(tmp_path):
    path = tmp_path / "impute_dict.pkl"
    path.write_bytes(pickle.dumps({"price": Asks(os.system, "true")}))
    with pytest.raises(ArtifactError, match=r"impute_dict\.pkl is not read") as caught:
        read_pickle(path)
    assert "asks for 'posix.system' (near byte" in str(caught.value)
    assert "Write the same values as JSON" in str(caught.value)


def test_a_file_above_the_cap_is_not_even_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(restricted, "MAX_BYTES", 10)
    path = tmp_path / "impute_dict.pkl"
    path.write_bytes(pickle.dumps(IMPUTE))
    with pytest.raises(RefusedPickle, match="pickles are read up to 10"):
        read_pickle(path)
    with pytest.raises(RefusedPickle, match="more than 10"):
        loads(path.read_bytes())


def test_the_module_cannot_call_pickle():
    """The machine is its own; the source does not even import the module."""
    with open(restricted.__file__, encoding="utf-8") as file:
        source = file.read()
    for name in ("pickle", "importlib", "pickletools"):
        assert f"\nimport {name}" not in source
    assert "__import__" not in source
    assert "getattr(" not in source


def test_a_table_of_100_000_categories_takes_seconds_at_most():
    bins = {f"category {i}": np.float64(i / 1e5) for i in range(100_000)}
    data = pickle.dumps({"c": {"bins": bins, "default_bin": 0.5}}, 5)
    start = time.process_time()
    assert loads(data)["c"]["bins"]["category 77"] == 77 / 1e5
    assert time.process_time() - start < 8
