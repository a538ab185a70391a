"""A smaller and faster model of 8-bit integers, and the gate that it has to pass.

Weights of matrix products are int8 with one scale per output channel. Activations become
uint8 while the model runs, with one scale per token::

    scale  = largest |x| of the token / 127
    x @ w ~= (round(x / scale) @ round(w / channel)) * scale * channel

A scale per batch, as in onnxruntime's own dynamic quantisation, lets a row's answer move
with the rows beside it, by 0.04 to 0.2 in probability. Here a token's integers depend on
that token alone. Token embeddings are int8 with a scale per token of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tabweave.errors import ExportError
from tabweave.export.config import Int8Limits
from tabweave.statistics.ranking import auroc

Floats: TypeAlias = npt.NDArray[np.floating]
Integers: TypeAlias = npt.NDArray[np.int64]
Predict: TypeAlias = Callable[[Integers], Floats]
"""Row numbers, asked about in one call -> probabilities [rows, classes]."""

PREFIX, CONTRIB, CONTRIB_VERSION = "model_int8_", "com.microsoft", 1
TOP = 127
SMALLEST_WEIGHT = 2**14
"""Values of a matrix that is worth it; smaller ones stay in fp32."""
TINIEST = np.float32(1e-30)
"""Scale of a token of zeros, times 127: not 0, since it divides."""
SHARED: dict[str, npt.NDArray[Any] | np.generic] = {
    "one": np.float32(1),
    "zero": np.uint8(TOP + 1),
    "last": np.array([-1]),
    "tiniest": TINIEST,
    "share": np.float32(1 / TOP),
    "nothing": np.float32(0),
}
ROWS_PER_CALL, ROWS_ALONE = 32, 256


# The model.


def quantize(content: bytes, prefix: str = "") -> bytes:
    """The same model with its large matrices in int8; inputs and outputs stay.

    Args:
        content: The model.
        prefix: Begins the name of every matrix that may change. The tables inside a
            pipeline must stay as they are.

    Raises:
        ExportError: The model has no matrix that is large enough.
    """
    model = ModelProto.FromString(content)
    if not sum([_quantize(graph, prefix) for graph in _graphs(model.graph)]):
        raise ExportError(
            f"int8 has nothing to do: no matrix that the model multiplies with or looks "
            f"words up in has {SMALLEST_WEIGHT:,} values or more. Leave int8 off, or take "
            "a model with larger layers."
        )
    if CONTRIB not in {one.domain for one in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(CONTRIB, CONTRIB_VERSION))
    return model.SerializeToString()


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph, and the graphs inside its nodes: a pipeline runs its model in a loop."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _quantize(graph: GraphProto, prefix: str) -> bool:
    """Changes the matrices that a graph itself holds; false if there is none."""
    made = _Int8Graph(graph, prefix)
    for node in graph.node:
        made.take(node)
    if made.changed:
        made.write(graph)
    return made.changed


class _Int8Graph:
    """Copies a graph node by node; products and look-ups in large matrices change."""

    def __init__(self, graph: GraphProto, prefix: str) -> None:
        self.weights = {
            one.name: one for one in graph.initializer if one.name.startswith(prefix)
        }
        self.nodes: list[NodeProto] = []
        self.made: dict[str, npt.NDArray[Any]] = {}
        self.scales: dict[str, str] = {}
        self.changed = False

    def take(self, node: NodeProto) -> None:
        """Copies a node, or puts its int8 form in its place."""
        ways = {
            "MatMul": (self._matmul, 1),
            "Gemm": (self._gemm, 1),
            "Gather": (self._gather, 0),
        }
        way, place = ways.get(node.op_type, (None, 0))
        weight = self._large(node.input[place]) if way and not node.domain else None
        if way is None or weight is None or not _is_plain(node):
            self.nodes.append(node)
            return
        self.changed = True
        way(node, weight)

    def _large(self, name: str) -> Floats | None:
        """A matrix of constants that is worth it."""
        found = self.weights.get(name)
        if found is None or found.data_type != TensorProto.FLOAT:
            return None
        if len(found.dims) != 2 or np.prod(found.dims) < SMALLEST_WEIGHT:
            return None
        return numpy_helper.to_array(found)

    def _op(self, kind: str, inputs: list[str], output: str, **more: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **more))
        return output

    def _constant(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        """A constant, once; names of different uses begin differently."""
        name = PREFIX + name
        self.made.setdefault(name, np.asarray(value))
        return name

    def _shared(self, name: str) -> str:
        """A constant that all products share."""
        return self._constant(f"constant_{name}", SHARED[name])

    def _matmul(self, node: NodeProto, weight: Floats) -> None:
        self._product(node, weight, "columns", str(node.output[0]))

    def _gemm(self, node: NodeProto, weight: Floats) -> None:
        output = str(node.output[0])
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        bias = str(node.input[2]) if len(node.input) > 2 else ""
        product = f"{PREFIX}sum_{output}" if bias else output
        if turned:
            self._product(node, weight.T, "rows", product)
        else:
            self._product(node, weight, "columns", product)
        if bias:
            self._op("Add", [product, bias], output)

    def _product(self, node: NodeProto, weight: Floats, way: str, output: str) -> None:
        """Activations times a matrix [in, out]; `way` says how the weight lies."""
        given, name = str(node.input[0]), f"{way}_{node.input[1]}"
        scale = _scales(weight, axis=0)
        # Each product has a matrix of its own: where onnxruntime is asked for exact sums
        # (session.x64quantprecision), it opens no file in which two products share one.
        again = f"_of_{output}" if f"{PREFIX}{name}" in self.made else ""
        inputs = [
            self._quantized(given),
            self._constant(f"{name}{again}", _rounded(weight / scale)),
            self._shared("one"),
            self._constant(f"scale_{name}", scale[0]),
            self._shared("zero"),
        ]
        product = self._op(
            "MatMulIntegerToFloat", inputs, f"{PREFIX}product_{output}", domain=CONTRIB
        )
        self._op("Mul", [product, self.scales[given]], output)

    def _quantized(self, given: str) -> str:
        """Activations as uint8 around 128; once, however many products read them."""
        name = f"{PREFIX}quantized_{given}"
        if given in self.scales:
            return name
        last = self._shared("last")
        high = self._op("ReduceMax", [given, last], f"{name}_high", keepdims=1)
        low = self._op("ReduceMin", [given, last], f"{name}_low", keepdims=1)
        below = self._op("Neg", [low], f"{name}_below")
        tiniest = self._shared("tiniest")
        largest = self._op("Max", [high, below, tiniest], f"{name}_largest")
        scale = self._op("Mul", [largest, self._shared("share")], f"{name}_plain_scale")
        # Integers have no NaN: the scale keeps that of a token, which sums to NaN.
        total = self._op("ReduceSum", [given, last], f"{name}_total", keepdims=1)
        nothing = self._op("Mul", [total, self._shared("nothing")], f"{name}_nothing")
        self.scales[given] = self._op("Add", [scale, nothing], f"{name}_scale")
        factor = self._op("Reciprocal", [scale], f"{name}_factor")
        scaled = self._op("Mul", [given, factor], f"{name}_scaled")
        inputs = [scaled, self._shared("one"), self._shared("zero")]
        return self._op("QuantizeLinear", inputs, name)

    def _gather(self, node: NodeProto, weight: Floats) -> None:
        name, rows = str(node.input[0]), str(node.input[1])
        output = str(node.output[0])
        inner, scale = f"{PREFIX}found_{output}", _scales(weight, axis=1)
        table = self._constant(f"table_{name}", _rounded(weight / scale))
        scales = self._constant(f"scale_table_{name}", scale)
        found = self._op("Gather", [table, rows], f"{inner}_integers", axis=0)
        values = self._op("Cast", [found], f"{inner}_values", to=TensorProto.FLOAT)
        factors = self._op("Gather", [scales, rows], f"{inner}_scales", axis=0)
        self._op("Mul", [values, factors], output)

    def write(self, graph: GraphProto) -> None:
        """Puts the nodes and constants into the graph; what nobody reads goes."""
        del graph.node[:]
        graph.node.extend(self.nodes)
        read = set(_reads(graph))
        kept = [one for one in graph.initializer if one.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self.made.items()
        )


def _is_plain(node: NodeProto) -> bool:
    """Whether rows are looked up, and products are neither scaled nor of turned inputs."""
    plain = {"axis": 0, "transA": 0, "alpha": 1.0, "beta": 1.0}
    return all(
        helper.get_attribute_value(one) == plain[one.name]
        for one in node.attribute
        if one.name in plain
    )


def _reads(graph: GraphProto) -> Iterator[str]:
    """Names that a graph and the graphs inside its nodes read."""
    yield from (one.name for one in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _reads(attribute.g)


def _scales(weight: Floats, axis: int) -> Floats:
    """What 1 means in every channel; 1 in a channel of zeros."""
    largest = np.abs(weight).max(axis=axis, keepdims=True)
    return np.where(largest == 0, 1, largest / TOP).astype(np.float32)


def _rounded(values: Floats) -> npt.NDArray[np.int8]:
    return np.clip(np.rint(values), -TOP, TOP).astype(np.int8)


# The gate.


@dataclass(frozen=True)
class Int8Verdict:
    """What an int8 model costs, and whether it may be written.

    Attributes:
        reasons: Why it is refused, one sentence each; empty when it is accepted.
        figures: What was measured; None where it is not defined.
    """

    reasons: tuple[str, ...]
    figures: dict[str, float | int | None]

    @property
    def accepted(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the export report."""
        return {
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            **self.figures,
        }


def int8_gate(
    fp32: Floats, predict: Predict, labels: Integers, limits: Int8Limits
) -> Int8Verdict:
    """Judges an int8 model on rows of val.

    Args:
        fp32: Probabilities of the fp32 model [rows, classes], one row at least.
        predict: Asks the int8 model about rows of the same table, by number.
        labels: Number of the true class of every row.
        limits: What is allowed.

    Raises:
        ExportError: There is no row.
    """
    if not len(labels):
        raise ExportError("val has no row that an int8 model could be judged by.")
    rows = np.arange(len(labels))
    parts = np.split(rows, range(ROWS_PER_CALL, len(rows), ROWS_PER_CALL))
    int8 = np.concatenate([predict(part) for part in parts])
    few = np.unique(np.linspace(0, len(rows) - 1, ROWS_ALONE).astype(np.int64))
    alone = np.concatenate([predict(few[n : n + 1]) for n in range(len(few))])
    return _judge(_figures(fp32, int8, alone, few, labels), limits)


def _figures(
    fp32: Floats, int8: Floats, alone: Floats, few: Integers, labels: Integers
) -> dict[str, float | int | None]:
    drift = np.abs(int8 - fp32)
    flips = int8.argmax(axis=1) != fp32.argmax(axis=1)
    before, after = (mean_auroc(found, labels) for found in (fp32, int8))
    return {
        "rows": len(labels),
        "classes_without_rows": fp32.shape[1] - len(np.unique(labels)),
        "auroc_fp32": _known(before),
        "auroc_int8": _known(after),
        "auroc_drop": _known(before - after),
        "flipped_rows": int(flips.sum()),
        "flips": float(flips.mean()),
        "largest_difference": _known(drift.max()),
        "mean_difference": _known(drift.mean()),
        "rows_alone": len(few),
        "alone_shift": _known(np.abs(alone - int8[few]).max()),
    }


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def mean_auroc(probabilities: Floats, labels: Integers) -> float:
    """Mean AUROC of the classes that occur, each against the rest; NaN without two."""
    found = []
    for number, scores in enumerate(probabilities.T):
        hits = labels == number
        if hits.any() and np.isfinite(scores).all():
            found.append(auroc(scores, hits, ~hits))
    return float(np.mean(found)) if found else float("nan")


def _judge(figures: dict[str, float | int | None], limits: Int8Limits) -> Int8Verdict:
    said = {
        "auroc_drop": "AUROC falls by {:.4f}",
        "flips": "{:.2%} of the rows get another class",
        "alone_shift": "a row alone differs from the row in a batch by {:.4f}",
    }
    reasons = []
    rows = figures["rows"] or 0
    if rows < limits.min_rows:
        reasons.append(
            f"val has {rows} rows, too few for a comparison; export.int8_limits.min_rows "
            f"is {limits.min_rows}"
        )
    for name, text in said.items():
        found, allowed = figures[name], getattr(limits, name)
        if found is None:
            reasons.append(
                f"{name} cannot be measured on {rows} rows of val: they have "
                "one class only, or a probability is not a number"
            )
        elif found > allowed:
            reasons.append(f"{text.format(found)}; allowed is {allowed:g} ({name})")
    return Int8Verdict(tuple(reasons), figures)
