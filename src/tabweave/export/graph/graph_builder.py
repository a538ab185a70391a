"""Writes ONNX graphs as expressions: the code of a graph reads like its formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Union

import numpy as np
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

PREFIX = "pre_"
"""Begins the name of every value inside: no column of a user may be called so."""

ML, CONTRIB = "ai.onnx.ml", "com.microsoft"
IR_VERSION, ML_VERSION, CONTRIB_VERSION = 10, 4, 1
INT64, BOOL, FLOAT, DOUBLE, STRING = (
    TensorProto.INT64,
    TensorProto.BOOL,
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.STRING,
)

Value = Union["Tensor", "np.ndarray[Any, Any]", Sequence[int], int]
LoopBody = Callable[..., tuple["Tensor", Sequence["Tensor"], Sequence["Tensor"]]]
RepeatBody = Callable[..., tuple["Tensor", Sequence["Tensor"]]]


class Tensor:
    """A value in a graph; arithmetic on it appends a node.

    ``/`` does not exist: whole numbers are divided by ``//`` and are never negative.
    """

    __slots__ = ("graph", "name")

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name

    def __add__(self, other: Value) -> Tensor:
        return self.graph.op("Add", self, other)

    def __sub__(self, other: Value) -> Tensor:
        return self.graph.op("Sub", self, other)

    def __rsub__(self, other: Value) -> Tensor:
        return self.graph.op("Sub", other, self)

    def __mul__(self, other: Value) -> Tensor:
        return self.graph.op("Mul", self, other)

    def __floordiv__(self, other: Value) -> Tensor:
        return self.graph.op("Div", self, other)

    def __and__(self, other: Value) -> Tensor:
        return self.graph.op("And", self, other)

    def __or__(self, other: Value) -> Tensor:
        return self.graph.op("Or", self, other)

    def __invert__(self) -> Tensor:
        return self.graph.op("Not", self)

    def __lt__(self, other: Value) -> Tensor:
        return self.graph.op("Less", self, other)

    def __le__(self, other: Value) -> Tensor:
        return self.graph.op("LessOrEqual", self, other)

    def __gt__(self, other: Value) -> Tensor:
        return self.graph.op("Greater", self, other)

    def __ge__(self, other: Value) -> Tensor:
        return self.graph.op("GreaterOrEqual", self, other)

    def __getitem__(self, index: Value) -> Tensor:
        """The entries at `index`, along the first axis."""
        return self.graph.op("Gather", self, index)

    def equals(self, other: Value) -> Tensor:
        """Where the entries are equal."""
        return self.graph.op("Equal", self, other)

    def cast(self, kind: int) -> Tensor:
        """The same entries as another type."""
        return self.graph.op("Cast", self, to=kind)

    def number(self) -> Tensor:
        """Flags as 0 and 1."""
        return self.cast(INT64)

    def reshape(self, *shape: int) -> Tensor:
        """The same entries in another shape; -1 takes what is left, 0 stays."""
        return self.graph.op("Reshape", self, list(shape))

    def column(self) -> Tensor:
        """A vector as a matrix of one column."""
        return self.graph.op("Unsqueeze", self, [1])

    def size(self) -> Tensor:
        """Number of entries, as a scalar."""
        return self.graph.op("Size", self)

    def cut(self, start: Value, stop: Value, axis: int = 0) -> Tensor:
        """Entries from start to stop (vectors of one number) along an axis."""
        return self.graph.op("Slice", self, start, stop, [axis])

    def running_sum(self, axis: int = 0, *, exclusive: bool = False) -> Tensor:
        """Sum of all entries so far, the entry itself included unless exclusive."""
        return self.graph.op("CumSum", self, axis, exclusive=int(exclusive))

    def row_sum(self) -> Tensor:
        """Sum along the second axis, as a vector."""
        return self.graph.op("ReduceSum", self, [1], keepdims=0)

    def largest(self) -> Tensor:
        """The largest entry, as a scalar; there must be one."""
        return self.graph.op("ReduceMax", self, keepdims=0)

    def where(self, chosen: Tensor, axis: int | None = None) -> Tensor:
        """Only the entries (or rows, along axis 0) that are chosen, in their order."""
        along: dict[str, Any] = {} if axis is None else {"axis": axis}
        return self.graph.op("Compress", self, chosen, **along)

    def places(self) -> Tensor:
        """Positions of the true entries of a vector."""
        return self.graph.op("NonZero", self).reshape(-1)

    def with_entries(
        self, at: Tensor, values: Value, reduction: str = "none"
    ) -> Tensor:
        """A copy of a vector with other entries at some positions."""
        return self.graph.op(
            "ScatterElements", self, at, values, axis=0, reduction=reduction
        )


class Graph:
    """Nodes and constants of one graph; equal constants are stored once.

    Args:
        prefix: Begins the name of every value inside.
    """

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._levels: list[list[NodeProto]] = [[]]
        self._names = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Tensor] = {}
        self._initializers: list[TensorProto] = []
        self._known_types: list[ValueInfoProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []

    def _new(self, kind: str) -> Tensor:
        self._names += 1
        return Tensor(self, f"{self._prefix}{kind}_{self._names}")

    def constant(self, value: Value) -> Tensor:
        """A constant; whole numbers become int64, arrays keep their type."""
        if isinstance(value, Tensor):
            return value
        array = value if isinstance(value, np.ndarray) else np.asarray(value, np.int64)
        content = repr(array.tolist()).encode() if array.dtype == object else b""
        key = (array.dtype.str, array.shape, content or array.tobytes())
        if key not in self._constants:
            constant = self._new("constant")
            self._initializers.append(numpy_helper.from_array(array, constant.name))
            self._constants[key] = constant
        return self._constants[key]

    def append(
        self, kind: str, inputs: Sequence[Value], outputs: Sequence[str], **given: Any
    ) -> NodeProto:
        """A new node whose outputs have the names given."""
        names = [self.constant(value).name for value in inputs]
        node = helper.make_node(kind, names, list(outputs), **given)
        self._levels[-1].append(node)
        return node

    def op(self, kind: str, *inputs: Value, domain: str = "", **given: Any) -> Tensor:
        """The single output of a new node."""
        output = self._new(kind)
        self.append(kind, inputs, [output.name], domain=domain, **given)
        return output

    def ops(self, kind: str, count: int, *inputs: Value, **given: Any) -> list[Tensor]:
        """The outputs of a new node that has several."""
        outputs = [self._new(kind) for _ in range(count)]
        self.append(kind, inputs, [one.name for one in outputs], **given)
        return outputs

    def take(self, nodes: Iterable[NodeProto]) -> None:
        """Takes over nodes of another graph, with their names."""
        self._levels[-1].extend(nodes)

    def lookup(
        self, keys_of: Tensor, keys: Sequence[Any], values: Sequence[int], default: int
    ) -> Tensor:
        """A hash map from text or whole numbers to whole numbers, as one node."""
        output = self._new("LabelEncoder")
        node = self.append(
            "LabelEncoder", [keys_of], [output.name], domain=ML, default_int64=default
        )
        # The library's own helper checks long lists entry by entry, which takes seconds.
        if isinstance(keys[0], str):
            texts = node.attribute.add(name="keys_strings", type=AttributeProto.STRINGS)
            texts.strings.extend(key.encode() for key in keys)
        else:
            numbers = node.attribute.add(name="keys_int64s", type=AttributeProto.INTS)
            numbers.ints.extend(keys)
        found = node.attribute.add(name="values_int64s", type=AttributeProto.INTS)
        found.ints.extend(values)
        return output

    def select(self, chosen: Tensor, yes: Value, no: Value) -> Tensor:
        """Entries of `yes` where chosen, else of `no`."""
        return self.op("Where", chosen, yes, no)

    def concat(self, *parts: Value, axis: int = 0) -> Tensor:
        """The parts one after the other."""
        if len(parts) == 1:
            return self.constant(parts[0])
        return self.op("Concat", *parts, axis=axis)

    def least(self, *values: Value) -> Tensor:
        """The smaller entries."""
        return self.op("Min", *values)

    def most(self, *values: Value) -> Tensor:
        """The larger entries."""
        return self.op("Max", *values)

    def zeros(self, size: Tensor) -> Tensor:
        """A vector of zeros, as long as the scalar `size` says."""
        return self.op("ConstantOfShape", size.reshape(1), value=_ZERO)

    def count_up(self, stop: Tensor) -> Tensor:
        """0, 1, ... below the scalar `stop`."""
        return self.op("Range", 0, stop, 1)

    def loop(
        self, trips: int, proceed: Tensor, carried: Sequence[Tensor], body: LoopBody
    ) -> list[Tensor]:
        """Runs `body` until it says stop, at most `trips` times.

        Args:
            trips: Runs at most.
            proceed: Flag, whether there is a first run.
            carried: Vectors of whole numbers that the next run receives.
            body: (number of the run, the carried vectors) -> (flag, whether to go on;
                the carried vectors for the next run; vectors that are kept of all runs).

        Returns:
            The carried vectors behind the last run, then the kept ones [runs, ...].
        """
        number, flag = self._new("run"), self._new("proceed")
        inside = [self._new("carried") for _ in carried]
        self._levels.append([])
        go_on, following, kept = body(number, *inside)
        results = [self.op("Identity", one) for one in (go_on, *following, *kept)]
        nodes = self._levels.pop()
        vectors = [
            helper.make_tensor_value_info(one.name, INT64, [None])
            for one in (*inside, *results[1:])
        ]
        graph = helper.make_graph(
            nodes,
            self._new("body").name,
            [_scalar(number, INT64), _scalar(flag, BOOL), *vectors[: len(inside)]],
            [_scalar(results[0], BOOL), *vectors[len(inside) :]],
        )
        outputs = [self._new("Loop") for _ in results[1:]]
        self.append(
            "Loop",
            [self.constant(trips), proceed, *carried],
            [one.name for one in outputs],
            body=graph,
        )
        return outputs

    def repeat(
        self,
        first: Sequence[Tensor],
        kinds: Sequence[tuple[int, Sequence[int | None]]],
        body: RepeatBody,
        weights: Iterable[TensorProto] = (),
    ) -> list[Tensor]:
        """Runs `body` once, and again until it says stop.

        Args:
            first: What the first run receives.
            kinds: Type and shape of each value that a run receives.
            body: (the values) -> (flag, whether to go on; the values for the next run).
            weights: Constants that the body alone uses; they are stored inside it.

        Returns:
            The values behind the last run.
        """
        number, flag = self._new("run"), self._new("proceed")
        inside = [self._new("carried") for _ in first]
        self._levels.append([])
        go_on, following = body(*inside)
        results = [self.op("Identity", one) for one in (go_on, *following)]
        nodes = self._levels.pop()

        def described(values: Sequence[Tensor]) -> list[ValueInfoProto]:
            return [
                helper.make_tensor_value_info(one.name, kind, shape)
                for one, (kind, shape) in zip(values, kinds, strict=True)
            ]

        graph = helper.make_graph(
            nodes,
            self._new("body").name,
            [_scalar(number, INT64), _scalar(flag, BOOL), *described(inside)],
            [_scalar(results[0], BOOL), *described(results[1:])],
            list(weights),
        )
        outputs = [self._new("Loop") for _ in first]
        always = self.constant(np.array(True))
        names = ["", always.name, *(one.name for one in first)]
        self._levels[-1].append(
            helper.make_node("Loop", names, [one.name for one in outputs], body=graph)
        )
        return outputs

    def state_type(self, tensor: Tensor, kind: int, shape: Sequence[str]) -> None:
        """Says the type of a value that shape inference cannot know.

        Without it the checker of onnx 1.23 dies of a segmentation fault on a
        LabelEncoder behind an operator that is not its own.
        """
        self._known_types.append(
            helper.make_tensor_value_info(tensor.name, kind, list(shape))
        )

    def input(self, name: str, kind: int) -> Tensor:
        """An input of the graph, one entry per row."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, ["batch"]))
        return Tensor(self, name)

    def output(
        self, tensor: Tensor, name: str, kind: int, shape: Sequence[Any]
    ) -> None:
        """Makes a value an output of the graph."""
        self.append("Identity", [tensor], [name])
        self._outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    @property
    def nodes(self) -> list[NodeProto]:
        """The nodes so far."""
        return self._levels[0]

    @property
    def constants(self) -> list[TensorProto]:
        """The constants so far."""
        return self._initializers

    def model(self, name: str, opset: int) -> ModelProto:
        """The finished graph as a model."""
        graph = helper.make_graph(
            self._levels[0],
            name,
            self._inputs,
            self._outputs,
            self._initializers,
            value_info=self._known_types,
        )
        versions = [
            helper.make_opsetid("", opset),
            helper.make_opsetid(ML, ML_VERSION),
            helper.make_opsetid(CONTRIB, CONTRIB_VERSION),
        ]
        return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=versions)


_ZERO = numpy_helper.from_array(np.zeros(1, np.int64))


def _scalar(tensor: Tensor, kind: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, kind, [])
