"""The callables that a pickle of numbers names, answered without calling them.

Three suffice: numpy's scalar, numpy's dtype, and the codec that spells bytes in
protocols 0 to 2.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tabweave.errors import ArtifactError, shorten

# numpy text has four bytes per character.
MAX_BYTES_OF_A_VALUE = 4_096

# numpy's names of number types -> their layouts in `struct`.
_NUMBERS = {
    **{"i1": "<b", "i2": "<h", "i4": "<i", "i8": "<q", "b1": "<?"},
    **{"u1": "<B", "u2": "<H", "u4": "<I", "u8": "<Q"},
    **{"f2": "<e", "f4": "<f", "f8": "<d"},
}
_TEXT = re.compile(r"U[1-9]\d{0,3}")


class RefusedPickle(ArtifactError):
    """A pickle asks for more than plain values, or is not whole."""


@dataclass(frozen=True)
class NamedCallable:
    """The name of a callable that the machine answers itself."""

    answer: Callable[[tuple[object, ...]], object]


@dataclass(frozen=True)
class Dtype:
    """The name of a numpy type, such as ``f8`` or ``U12``."""

    name: str


def _dtype(arguments: tuple[object, ...]) -> object:
    name, *flags = arguments or (None,)
    if (
        type(name) is not str
        or len(flags) > 2
        or any(type(f) is not bool for f in flags)
    ):
        raise RefusedPickle("a numpy type that is not spelled as numpy does")
    if not (name in _NUMBERS or _TEXT.fullmatch(name)):
        raise RefusedPickle(
            f"numpy type {shorten(name)}: only numbers and text are read"
        )
    return Dtype(name)


def _scalar(arguments: tuple[object, ...]) -> object:
    kind, data = arguments if len(arguments) == 2 else (None, None)
    if type(kind) is not Dtype or type(data) is not bytes:
        raise RefusedPickle("a numpy value without a type or without its bytes")
    layout = _NUMBERS.get(kind.name)
    size = struct.calcsize(layout) if layout else 4 * int(kind.name[1:])
    if len(data) != size:
        raise RefusedPickle(f"{len(data)} bytes for a numpy value {kind.name}")
    if layout:
        return struct.unpack(layout, data)[0]
    return data.decode("utf-32-le").rstrip("\0")


def _latin_1(arguments: tuple[object, ...]) -> object:
    text, codec = arguments if len(arguments) == 2 else (None, None)
    # How protocols 0 to 2 spell bytes.
    if type(text) is not str or codec != "latin1" or len(text) > MAX_BYTES_OF_A_VALUE:
        raise RefusedPickle("a codec other than the latin-1 spelling of a few bytes")
    return text.encode("latin-1")


CALLABLES = {
    ("numpy", "dtype"): NamedCallable(_dtype),
    ("numpy._core.multiarray", "scalar"): NamedCallable(_scalar),
    ("numpy.core.multiarray", "scalar"): NamedCallable(_scalar),
    ("_codecs", "encode"): NamedCallable(_latin_1),
}
