"""Keeps a layer norm after a residual sum as two operators, which onnxruntime runs faster.

Unless told otherwise, onnxruntime (measured: 1.32, CPU) makes one operator of a sum and
the layer norm that follows. That one took 129 ms for a batch in which the two take 22 ms:
13 of 100 parts of the time of a small BERT. It looks for ``Add``; ``Sum`` of two values
is the same number, and is left alone.
"""

from __future__ import annotations

from onnx import ModelProto


def keep_norms_apart(core: bytes) -> bytes:
    """The same model, with every sum that a layer norm reads written as ``Sum``."""
    model = ModelProto.FromString(core)
    graph = model.graph
    normed = {n.input[0] for n in graph.node if n.op_type == "LayerNormalization"}
    for node in graph.node:
        if node.op_type == "Add" and not node.domain and node.output[0] in normed:
            node.op_type = "Sum"
    return model.SerializeToString()
