"""The answers are numpy's own, for what numpy itself asks."""

import codecs

import numpy as np
import pytest

from tabweave.storage.pickled_numpy import CALLABLES, RefusedPickle

DTYPE = CALLABLES["numpy", "dtype"].answer
SCALAR = CALLABLES["numpy._core.multiarray", "scalar"].answer
ENCODE = CALLABLES["_codecs", "encode"].answer
NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_the_one_that_numpy_means(name):
    for value in (0, 1, 3.25, 100):
        one = np.array([value], name)[0]
        _, (dtype, data) = one.__reduce__()
        _, arguments, _ = dtype.__reduce__()
        found = SCALAR((DTYPE(arguments), data))
        assert found == one.item()
        assert type(found) is type(one.item())


@pytest.mark.parametrize("value", ["a", "two words", "ключ 😀", "ends with blank "])
def test_text_is_the_one_that_numpy_means(value):
    _, (dtype, data) = np.str_(value).__reduce__()
    _, arguments, _ = dtype.__reduce__()
    assert SCALAR((DTYPE(arguments), data)) == value


def test_bytes_are_those_of_the_codec():
    text = bytes(range(256)).decode("latin-1")
    assert ENCODE((text, "latin1")) == codecs.encode(text, "latin1")


@pytest.mark.parametrize(
    ("answer", "arguments"),
    [
        (DTYPE, ()),
        (DTYPE, ("O", False, True)),
        (DTYPE, ("f16", False, True)),
        (DTYPE, ("V8", False, True)),
        (DTYPE, ("M8", False, True)),
        (DTYPE, (">f8", False, True)),
        (DTYPE, ("f8", 0, 1)),
        (DTYPE, ("f8", False, True, False)),
        (DTYPE, (["f8"], False, True)),
        (SCALAR, ()),
        (SCALAR, (DTYPE(("f8",)), b"short")),
        (SCALAR, (DTYPE(("U2",)), b"12345")),
        (SCALAR, (DTYPE(("f8",)), "01234567")),
        (SCALAR, ("f8", b"01234567")),
        (ENCODE, ()),
        (ENCODE, ("a", "rot13")),
        (ENCODE, ("a", "latin-1")),
        (ENCODE, (b"a", "latin1")),
        (ENCODE, ("a" * 4_097, "latin1")),
    ],
)
def test_anything_else_is_refused(answer, arguments):
    with pytest.raises(RefusedPickle):
        answer(arguments)
