"""A core model whose answers follow from tokens and features by hand."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

INPUTS = ("input_ids", "attention_mask")
CLASSES = 3


def make_core(features, *, fields=1, opset=20):
    """Softmax of [sum of ids / 1000, sum of features, 0], as bytes."""
    int64, single = TensorProto.INT64, TensorProto.FLOAT
    inputs, nodes, sums = [], [], []
    for number in range(fields):
        ids, mask = (f"{'' if not number else f'f{number}_'}{name}" for name in INPUTS)
        axes = ["batch", f"chunks{number}", f"seq{number}"]
        inputs += [helper.make_tensor_value_info(n, int64, axes) for n in (ids, mask)]
        nodes.append(helper.make_node("Mul", [ids, mask], [f"kept{number}"]))
        nodes.append(
            helper.make_node(
                "ReduceSum", [f"kept{number}", "both"], [f"sum{number}"], keepdims=0
            )
        )
        sums.append(f"sum{number}")
    inputs.append(helper.make_tensor_value_info("tab", single, ["batch", features]))
    nodes += [
        helper.make_node("ReduceSum", ["tab", "last"], ["table_column"], keepdims=1),
        helper.make_node("Mul", ["table_column", "zero"], ["zeros"]),
    ]
    if fields:
        nodes += [
            helper.make_node("Add" if fields > 1 else "Identity", sums, ["total"]),
            helper.make_node("Cast", ["total"], ["number"], to=single),
            helper.make_node("Div", ["number", "thousand"], ["text"]),
            helper.make_node("Unsqueeze", ["text", "last"], ["text_column"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["zeros"], ["text_column"]))
    nodes += [
        helper.make_node(
            "Concat", ["text_column", "table_column", "zeros"], ["logits"], axis=1
        ),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    values = {
        "both": np.array([1, 2], np.int64),
        "last": np.array([1], np.int64),
        "thousand": np.array(1000, np.float32),
        "zero": np.array(0, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "core",
        inputs,
        [helper.make_tensor_value_info("probabilities", single, ["batch", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(
        graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)]
    )
    return model.SerializeToString()


def answers(chunks_of_fields, features):
    """What `make_core` answers, without ONNX."""
    sums = [
        sum(sum(map(sum, chunks[row])) for chunks in chunks_of_fields)
        for row in range(len(features))
    ]
    text = np.array(sums, np.float32) / np.float32(1000)
    table = features.sum(axis=1, dtype=np.float32)
    logits = np.stack([text, table, np.zeros_like(text)], axis=1).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
