"""Reads the pickles of other tools as plain values, without ever running code.

A pickle is a program for a small stack machine, and `pickle.load` lets that program call
any function. This module does not use `pickle`: it is a machine of its own that knows
only what dictionaries of numbers need. Of all callables it knows three, each answered
by a few lines below: numpy's scalar, numpy's dtype and the latin-1 spelling of bytes.
Nothing is imported and no attribute is set, whatever the file asks for.

JSON is the format of record; pickles are read only where a user names one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

from tabweave.errors import shorten
from tabweave.storage.pickled_numpy import (
    CALLABLES,
    MAX_BYTES_OF_A_VALUE,
    Dtype,
    NamedCallable,
    RefusedPickle,
)

Scalar: TypeAlias = bool | int | float | str | None
Plain: TypeAlias = Scalar | list["Plain"] | dict[Scalar, "Plain"]

MAX_BYTES = 64 * 2**20
# Of the result: a map of classes has tables in columns in classes, four levels.
MAX_DEPTH = 8
MAX_CONTAINERS = 200_000
# Values that the program may refer to again; pickle numbers every text and every tuple.
MAX_MEMO = 4_000_000
# Values between two operations; pickle itself adds to a dictionary 1,000 at a time.
MAX_WAITING = 100_000
MAX_LINE = 4_096

_SCALARS = (type(None), bool, int, float, str)


def read_pickle(path: Path) -> Plain:
    """The plain value in a pickle file: dictionaries, lists, text and numbers.

    numpy scalars come as Python numbers and text, tuples as lists.

    Raises:
        RefusedPickle: The file asks for anything else, is damaged, or is larger than
            `MAX_BYTES`.
    """
    size = Path(path).stat().st_size
    if size > MAX_BYTES:
        raise RefusedPickle(
            f"{path} has {size:,} bytes; pickles are read up to {MAX_BYTES:,}. Write the "
            "same values as JSON."
        )
    try:
        return loads(Path(path).read_bytes())
    except RefusedPickle as error:
        raise RefusedPickle(
            f"{path} is not read: {error}. Only dictionaries and lists of text and "
            "numbers are taken from a pickle, because a pickle can run code. Write the "
            "same values as JSON, or as a pickle of plain dictionaries."
        ) from error


def loads(data: bytes) -> Plain:
    """The plain value in the bytes of a pickle of protocol 0 to 5.

    Example:
        >>> import pickle
        >>> loads(pickle.dumps({"price": 1.5}))
        {'price': 1.5}

    Raises:
        RefusedPickle: The bytes ask for anything but plain values, or are not whole.
    """
    if len(data) > MAX_BYTES:
        raise RefusedPickle(f"it has {len(data):,} bytes, more than {MAX_BYTES:,}")
    machine = _Machine(data)
    value = machine.run()
    # Every value of an honest file has at least one byte of its own.
    return _Copy(budget=len(data)).of(value, depth=0)


class _Copy:
    """Copies a value by exact types; shared parts count each time they are used."""

    def __init__(self, budget: int) -> None:
        self.budget = budget

    def of(self, value: object, depth: int) -> Plain:
        self.budget -= 1
        if self.budget < 0:
            raise RefusedPickle("it repeats its parts to more values than it has bytes")
        if isinstance(value, _SCALARS):
            return value
        if depth == MAX_DEPTH:
            raise RefusedPickle(f"it nests deeper than {MAX_DEPTH} levels")
        if type(value) is dict:
            return {key: self.of(item, depth + 1) for key, item in value.items()}
        if type(value) in (list, tuple):
            return [self.of(item, depth + 1) for item in value]  # type: ignore[attr-defined]
        raise RefusedPickle(f"it holds {_kind(value)}, which is no plain value")


def _kind(value: object) -> str:
    named = {NamedCallable: "a function", Dtype: "a numpy type", bytes: "raw bytes"}
    return named.get(type(value), type(value).__name__)


class _Machine:
    """Runs a pickle's program on a stack of plain values."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[object] = []
        # Stacks that wait for the values after a mark.
        self.below: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.containers = 0

    def run(self) -> object:
        """The one value that the program leaves."""
        data, step = self.data, _OPERATIONS
        try:
            while (code := data[self.at]) != _STOP:
                self.at += 1
                step[code](self)
        except KeyError:
            self.refuse(f"operation {bytes([data[self.at - 1]])!r}")
        except (IndexError, struct.error):
            self.refuse("the file ends early, or takes what it never put")
        except RefusedPickle as error:
            self.refuse(str(error))
        except ValueError as error:
            self.refuse(f"a value that cannot be read ({error})")
        if self.below or len(self.stack) != 1 or self.at + 1 != len(data):
            self.refuse("it does not end with one whole value")
        return self.stack[0]

    def refuse(self, reason: str) -> NoReturn:
        """Stops; the position says where to look with `python -m pickletools`."""
        raise RefusedPickle(f"{reason} (near byte {self.at})") from None

    def take(self, size: int) -> bytes:
        """The next bytes; a length is never believed before they are there."""
        found = self.data[self.at : self.at + size]
        if size < 0 or len(found) != size:
            raise IndexError
        self.at += size
        return found

    def number(self, layout: str) -> int:
        """The next whole number, in a layout of `struct`."""
        value = struct.unpack_from(layout, self.data, self.at)[0]
        self.at += struct.calcsize(layout)
        return int(value)

    def line(self) -> str:
        """The text up to the end of the line, which protocol 0 is written in."""
        end = self.data.index(b"\n", self.at, self.at + MAX_LINE)
        found = self.data[self.at : end]
        self.at = end + 1
        return found.decode("ascii")

    def push(self, value: object) -> None:
        """Puts a value on the stack."""
        if len(self.stack) >= MAX_WAITING:
            raise RefusedPickle(
                f"more than {MAX_WAITING:,} values wait for their place"
            )
        self.stack.append(value)

    def push_new(self, value: object) -> None:
        """Puts a list or dictionary on the stack, and counts it."""
        self.containers += 1
        if self.containers > MAX_CONTAINERS:
            raise RefusedPickle(f"more than {MAX_CONTAINERS:,} lists and dictionaries")
        self.push(value)

    def mark(self) -> None:
        """Begins a group of values."""
        if len(self.below) == 10 * MAX_DEPTH:
            raise RefusedPickle("groups of values that never end")
        self.below.append(self.stack)
        self.stack = []

    def group(self) -> list[object]:
        """The values since the last mark."""
        found, self.stack = self.stack, self.below.pop()
        return found

    def last(self, count: int) -> tuple[object, ...]:
        """The last values, taken off the stack."""
        return tuple(reversed([self.stack.pop() for _ in range(count)]))


def _whole(text: str) -> bool | int:
    """A whole number as protocol 0 writes it; 00 and 01 are truth values."""
    if text in ("00", "01"):
        return text == "01"
    return _in_64_bits(int(text.removesuffix("L")))


def _in_64_bits(value: int) -> int:
    """The number itself; larger ones could all be given one hash, and slow a table."""
    if not -(2**63) <= value < 2**64:
        raise RefusedPickle("a whole number of more than 64 bits")
    return value


def _long(machine: _Machine) -> None:
    digits = machine.take(machine.number("<B"))
    machine.push(_in_64_bits(int.from_bytes(digits, "little", signed=True)))


def _line_text(machine: _Machine) -> None:
    end = machine.data.index(b"\n", machine.at)
    text = machine.data[machine.at : end].decode("raw-unicode-escape")
    machine.at = end + 1
    text.encode("utf-8")  # refuses halves of characters, as the other forms do
    machine.push(text)


def _text(layout: str) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.take(m.number(layout)).decode("utf-8"))


def _bytes(layout: str) -> Callable[[_Machine], None]:
    def read(machine: _Machine) -> None:
        size = machine.number(layout)
        if size > MAX_BYTES_OF_A_VALUE:
            raise RefusedPickle(f"{size:,} raw bytes")
        machine.push(machine.take(size))

    return read


def _integer(layout: str) -> Callable[[_Machine], None]:
    return lambda m: m.push(m.number(layout))


def _float(machine: _Machine) -> None:
    machine.push(struct.unpack(">d", machine.take(8))[0])


def _put(index: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    def remember(machine: _Machine) -> None:
        if len(machine.memo) >= MAX_MEMO:
            raise RefusedPickle(f"more than {MAX_MEMO:,} numbered values")
        machine.memo[index(machine)] = machine.stack[-1]

    return remember


def _get(index: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    def recall(machine: _Machine) -> None:
        place = index(machine)
        if place not in machine.memo:
            raise RefusedPickle(f"it refers to value {place}, which it never put down")
        machine.push(machine.memo[place])

    return recall


def _set_items(target: object, items: list[object]) -> None:
    if type(target) is not dict or len(items) % 2:
        raise RefusedPickle("items for something that is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, _SCALARS):
            raise RefusedPickle(f"a key that is {_kind(key)}")
        if key in target:
            raise RefusedPickle(f"the key {shorten(key)} twice in one dictionary")
        target[key] = value


def _dict(machine: _Machine) -> None:
    made: dict[object, object] = {}
    _set_items(made, machine.group())
    machine.push_new(made)


def _item(machine: _Machine) -> None:
    items = list(machine.last(2))
    _set_items(machine.stack[-1], items)


def _items(machine: _Machine) -> None:
    items = machine.group()
    _set_items(machine.stack[-1], items)


def _extend(machine: _Machine, items: list[object]) -> None:
    target = machine.stack[-1]
    if type(target) is not list:
        raise RefusedPickle("elements for something that is no list")
    target.extend(items)


def _named(machine: _Machine, module: object, name: object) -> None:
    if not (isinstance(module, str) and isinstance(name, str)):
        raise RefusedPickle("it asks for something whose name is no text")
    if (module, name) not in CALLABLES:
        raise RefusedPickle(f"it asks for {shorten(f'{module}.{name}')}")
    machine.push(CALLABLES[module, name])


def _call(machine: _Machine) -> None:
    called, arguments = machine.last(2)
    if type(called) is not NamedCallable or type(arguments) is not tuple:
        raise RefusedPickle("a call of something that is no function")
    machine.push(called.answer(arguments))


def _build(machine: _Machine) -> None:
    """Accepts the layout of a numpy type where it says what the name says anyway."""
    (state,), kind = machine.last(1), machine.stack[-1]
    if type(kind) is not Dtype or type(state) is not tuple or len(state) < 5:
        raise RefusedPickle("it sets the state of an object")
    if state[1] not in ("<", "|") or state[2:5] != (None, None, None):
        raise RefusedPickle("a numpy type of foreign byte order, or of several parts")


def _byte(machine: _Machine) -> int:
    return machine.number("<B")


def _four_bytes(machine: _Machine) -> int:
    return machine.number("<I")


def _line_number(machine: _Machine) -> int:
    return _whole(machine.line())


def _protocol(machine: _Machine) -> None:
    if machine.number("<B") > 5:
        raise RefusedPickle("a protocol above 5")


def _frame(machine: _Machine) -> None:
    if machine.number("<Q") > len(machine.data) - machine.at:
        raise IndexError


_STOP = ord(".")
# The operations that `pickle` writes for plain values. All others are unknown here:
# among them every one that makes an instance, asks for a persistent object or an
# extension, or carries an 8-byte length.
_OPERATIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _protocol,
    0x95: _frame,
    ord("("): _Machine.mark,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): lambda m: m.push(_whole(m.line())),
    ord("L"): lambda m: m.push(_whole(m.line())),
    ord("J"): _integer("<i"),
    ord("K"): _integer("<B"),
    ord("M"): _integer("<H"),
    0x8A: _long,
    ord("F"): lambda m: m.push(float(m.line())),
    ord("G"): _float,
    ord("V"): _line_text,
    ord("X"): _text("<I"),
    0x8C: _text("<B"),
    ord("B"): _bytes("<I"),
    ord("C"): _bytes("<B"),
    ord("}"): lambda m: m.push_new({}),
    ord("d"): _dict,
    ord("s"): _item,
    ord("u"): _items,
    ord("]"): lambda m: m.push_new([]),
    ord("l"): lambda m: m.push_new(m.group()),
    ord("a"): lambda m: _extend(m, list(m.last(1))),
    ord("e"): lambda m: _extend(m, m.group()),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.group())),
    0x85: lambda m: m.push(m.last(1)),
    0x86: lambda m: m.push(m.last(2)),
    0x87: lambda m: m.push(m.last(3)),
    ord("p"): _put(_line_number),
    ord("q"): _put(_byte),
    ord("r"): _put(_four_bytes),
    0x94: _put(lambda m: len(m.memo)),
    ord("g"): _get(_line_number),
    ord("h"): _get(_byte),
    ord("j"): _get(_four_bytes),
    ord("c"): lambda m: _named(m, m.line(), m.line()),
    0x93: lambda m: _named(m, *m.last(2)),
    ord("R"): _call,
    ord("b"): _build,
}
