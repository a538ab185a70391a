"""Looks through an ONNX file without loading it: what it would make a runtime do.

A small reader of the protobuf wire format goes through the model, its graphs, the graphs
inside loops and branches, and its functions. It refuses what reaches outside the file
(tensors in other files) and operators that do not come with the runtime. It fails closed:
a field that it does not know is refused. Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tabweave.errors import ArtifactError, shorten, some_of

DOMAINS = ("", "ai.onnx.ml", "com.microsoft")
"""Operator domains whose operators are part of ai.onnx or of the onnxruntime wheel."""

# It runs the content of another file, whose path is one of its attributes.
_REFUSED_OPERATORS = {("com.microsoft", "EPContext")}
MAX_DEPTH = 24
MAX_MESSAGES = 5_000_000
MAX_NODES = 50_000
"""Operators; a transformer of 48 layers has fewer than 5,000. A runtime that optimises a
graph takes time that grows faster than their number."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTH = {_FIXED64: 8, _FIXED32: 4}

# Message -> {field: wire type, or name of the message inside}. "*" marks numbers, which
# may be packed into one field.
_N, _S, _NUMBERS = "number", "bytes", "*"
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {
        **dict.fromkeys((1, 5), _N),
        **dict.fromkeys((2, 3, 4, 6), _S),
        7: "Graph",
        8: "OperatorSet",
        14: "Property",
        25: "Function",
        26: _S,
    },
    "Graph": {
        1: "Node",
        2: _S,
        5: "Tensor",
        10: _S,
        **dict.fromkeys((11, 12, 13), _S),
        14: _S,
        15: "SparseTensor",
        16: _S,
    },
    "Node": {
        **dict.fromkeys((1, 2, 3, 4, 6, 7, 8, 9, 10), _S),
        5: "Attribute",
    },
    "Attribute": {
        **dict.fromkeys((1, 4, 9, 13, 14, 15, 21), _S),
        **dict.fromkeys((2, 3, 20), _N),
        **dict.fromkeys((7, 8), _NUMBERS),
        **dict.fromkeys((5, 10), "Tensor"),
        **dict.fromkeys((6, 11), "Graph"),
        **dict.fromkeys((22, 23), "SparseTensor"),
    },
    "Tensor": {
        **dict.fromkeys((1, 4, 5, 7, 10, 11), _NUMBERS),
        **dict.fromkeys((2, 14), _N),
        **dict.fromkeys((3, 6, 8, 9, 12, 13, 16), _S),
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor", 3: _NUMBERS},
    "Function": {
        **dict.fromkeys((1, 4, 5, 6, 8, 10, 12, 13, 14), _S),
        7: "Node",
        9: "OperatorSet",
        11: "Attribute",
    },
    "OperatorSet": {1: _S, 2: _N},
    "Property": {1: _S, 2: _S},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


@dataclass(frozen=True)
class OnnxFacts:
    """What was seen in an ONNX file.

    Attributes:
        properties: The metadata of the model.
        domains: Domain of every operator, function and operator set.
        nodes: Operators in all graphs.
    """

    properties: dict[str, str]
    domains: frozenset[str]
    nodes: int


def scan_onnx(data: bytes, name: str) -> OnnxFacts:
    """Goes through an ONNX file; returns only when nothing in it is refused.

    Args:
        data: Content of the file.
        name: What the file is called in an error.

    Raises:
        ArtifactError: It is no whole ONNX file, a tensor lies in another file, or an
            operator, function or operator set is of a domain outside `DOMAINS`.
    """
    scan = _Scan(data, name)
    scan.message("Model", 0, len(data), 0)
    if not scan.has_graph:
        raise scan.refusal("it is not an ONNX file: it holds no graph")
    return OnnxFacts(scan.properties, frozenset(scan.domains), scan.nodes)


@dataclass
class _Scan:
    data: bytes
    name: str
    properties: dict[str, str] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    nodes: int = 0
    messages: int = 0
    has_graph: bool = False

    def message(self, kind: str, at: int, end: int, depth: int) -> None:
        """Goes through one message, which fills the bytes from `at` to `end`."""
        self._count(kind, depth)
        fields, check = _FIELDS[kind], _CHECKS.get(kind)
        texts: dict[int, bytes] = {}
        while at < end:
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            what = fields.get(number)
            if what is None:
                raise self.refusal(
                    f"it is not an ONNX file: {kind} has no field {number}"
                )
            start, at, value = self._field(kind, what, wire, at, end)
            if what in _FIELDS:
                self.message(what, start, at, depth + 1)
            elif kind == "Tensor":
                self._check_place(number, value)
            elif check is not None and what == _S:
                self._note(kind, number, self.data[start:at], texts)
        if check is not None:
            check(self, texts)

    def refusal(self, what: str) -> ArtifactError:
        """The error that says what is wrong with the file."""
        return ArtifactError(
            f"{self.name} is refused: {what}. Take the file again from where it was made.",
            stages=("export",),
        )

    def _count(self, kind: str, depth: int) -> None:
        self.messages += 1
        self.nodes += kind == "Node"
        self.has_graph |= kind == "Graph"
        if self.nodes > MAX_NODES:
            raise self.refusal(f"it has more than {MAX_NODES:,} operators")
        if depth > MAX_DEPTH or self.messages > MAX_MESSAGES:
            raise self.refusal("it is nested too deeply or has too many parts")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value, shift = 0, 0
        while at < end and shift < 70:
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise self.refusal("it is not a whole ONNX file: a number has no end")

    def _field(
        self, kind: str, what: str, wire: int, at: int, end: int
    ) -> tuple[int, int, int]:
        """Start and end of a field's content, and its value where it is one number."""
        value = 0
        if wire == _BYTES and what != _N:
            length, start = self._varint(at, end)
            at = start + length
        elif wire == _VARINT and what in (_N, _NUMBERS):
            start = at
            value, at = self._varint(at, end)
        elif wire in _WIDTH and what in (_N, _NUMBERS):
            start, at = at, at + _WIDTH[wire]
        else:
            raise self.refusal(
                f"it is not an ONNX file: a field of {kind} has wire type {wire}"
            )
        if at > end:
            raise self.refusal(f"it is not a whole ONNX file: {kind} ends too early")
        return start, at, value

    def _check_place(self, number: int, value: int) -> None:
        if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value):
            raise self.refusal("a tensor lies in another file (external data)")

    def _note(
        self, kind: str, number: int, content: bytes, texts: dict[int, bytes]
    ) -> None:
        """Keeps the texts that decide; of several, a runtime may take any."""
        if number not in _DECISIVE[kind]:
            return
        if texts.setdefault(number, content) != content:
            raise self.refusal(f"a {kind} has two values for the same field")

    def _domain(self, content: bytes, what: str) -> str:
        domain = self._text(content)
        if domain not in DOMAINS:
            allowed = some_of(DOMAINS)
            raise self.refusal(
                f"{what} is of the domain {shorten(domain)}, but only operators of the "
                f"domains {allowed} are run"
            )
        self.domains.add(domain)
        return domain

    def _text(self, content: bytes) -> str:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.refusal("a name in it is not UTF-8") from error

    def check_node(self, texts: dict[int, bytes]) -> None:
        operator = self._text(texts.get(4, b""))
        domain = self._domain(texts.get(7, b""), f"the operator {shorten(operator)}")
        if (domain, operator) in _REFUSED_OPERATORS:
            raise self.refusal(f"the operator {operator} runs what another file holds")

    def check_function(self, texts: dict[int, bytes]) -> None:
        name = self._text(texts.get(1, b""))
        self._domain(texts.get(10, b""), f"the function {shorten(name)}")

    def check_operator_set(self, texts: dict[int, bytes]) -> None:
        self._domain(texts.get(1, b""), "an operator set")

    def check_property(self, texts: dict[int, bytes]) -> None:
        key, value = (self._text(texts.get(number, b"")) for number in (1, 2))
        if key in self.properties:
            raise self.refusal(f"the metadata {shorten(key)} stands twice")
        self.properties[key] = value


_DECISIVE = {
    "Node": (4, 7),
    "Function": (1, 10),
    "OperatorSet": (1,),
    "Property": (1, 2),
}
_CHECKS: dict[str, Callable[[_Scan, dict[int, bytes]], None]] = {
    "Node": _Scan.check_node,
    "Function": _Scan.check_function,
    "OperatorSet": _Scan.check_operator_set,
    "Property": _Scan.check_property,
}
