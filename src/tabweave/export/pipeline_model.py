"""pipeline.onnx: the raw record in, probabilities and a label out, in one graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    compose,
    helper,
    numpy_helper,
)

from tabweave.errors import ExportError
from tabweave.export.config import LABEL, OUTPUT, TABLE
from tabweave.export.graph.graph_builder import Graph
from tabweave.export.graph.groups_graph import in_groups
from tabweave.export.graph.preprocessing import (
    DROPPED_CHARACTERS,
    DROPPED_TOKENS,
    preprocessing_inputs,
    preprocessing_model,
)
from tabweave.preparation.reference import Preparation
from tabweave.scoring.contract import METADATA_KEY, PIPELINE_FORMAT

CORE = "model_"
"""Begins the name of every value of the model inside a pipeline."""
LARGEST = 2**31 - 1
"""Bytes that a protobuf message may have."""


def text_names(inputs: Sequence[str]) -> list[tuple[str, str]]:
    """Names of ids and mask of every text field, from the inputs of a model."""
    texts = [name for name in inputs if name != TABLE]
    return list(zip(texts[::2], texts[1::2], strict=True))


def opset_of(model: ModelProto) -> int:
    """Version of the standard operators."""
    (version,) = (one.version for one in model.opset_import if not one.domain)
    return int(version)


def build_pipeline(preprocessing: ModelProto, core: ModelProto) -> ModelProto:
    """Puts a preprocessing model and a model together; the label follows.

    Args:
        preprocessing: In the opset of the core, as
            `tabweave.export.graph.preprocessing.preprocessing_model` gives it.
        core: The model; it is changed.

    Raises:
        ExportError: The two do not fit together.
    """
    core = compose.add_prefix(core, CORE)
    _check_fit(preprocessing, core)
    merged = ModelProto()
    merged.CopyFrom(core)
    graph, before = merged.graph, preprocessing.graph
    graph.name = "pipeline"
    nodes, constants = _core_nodes(core.graph)
    del graph.node[:], graph.input[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend([*before.node, *nodes])
    graph.initializer.extend(constants)
    graph.input.extend(before.input)
    graph.initializer.extend(before.initializer)
    graph.value_info.extend(before.value_info)
    merged.ir_version = max(preprocessing.ir_version, core.ir_version)
    versions = {one.domain: one.version for one in preprocessing.opset_import}
    versions |= {one.domain: one.version for one in core.opset_import}
    del merged.opset_import[:]
    merged.opset_import.extend(helper.make_opsetid(*one) for one in versions.items())
    _rename_outputs(merged, before.output)
    return merged


def _check_fit(preprocessing: ModelProto, core: ModelProto) -> None:
    given = {f"{CORE}{one.name}" for one in preprocessing.graph.output}
    wanted = [one.name for one in core.graph.input]
    missing = [name.removeprefix(CORE) for name in wanted if name not in given]
    versions = {opset_of(preprocessing), opset_of(core)}
    if missing or len(versions) > 1:
        raise ExportError(
            f"The model wants {missing}, which the preprocessing does not give, or their "
            f"opsets {sorted(versions)} differ.",
            stages=("export",),
        )


def _core_nodes(core: GraphProto) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes and constants from what the preprocessing gives to the model's output.

    A model that reads a text runs over groups of rows.
    """
    names = [(one.name.removeprefix(CORE), one.name) for one in core.input]
    texts = text_names([name for name, _ in names])
    if not texts:
        handed = [helper.make_node("Identity", [a], [b]) for a, b in names]
        last = helper.make_node("Identity", [f"{CORE}{OUTPUT}"], [OUTPUT])
        return [*handed, *core.node, last], list(core.initializer)
    graph = Graph(f"{CORE}group_")
    graph.append("Identity", [in_groups(graph, core, names, texts)], [OUTPUT])
    return graph.nodes, graph.constants


def _rename_outputs(merged: ModelProto, given: Sequence[Any]) -> None:
    """The outputs: probabilities, label, and what the preprocessing has dropped."""
    graph = merged.graph
    (probabilities,) = graph.output
    classes = probabilities.type.tensor_type.shape.dim[1].dim_value
    del graph.output[:]
    shape = ["batch", classes]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    graph.output.extend(
        one for one in given if one.name.endswith((DROPPED_TOKENS, DROPPED_CHARACTERS))
    )


def add_label(pipeline: ModelProto, classes: Sequence[str]) -> None:
    """Adds the output ``label``: the most probable class, of equal ones the first."""
    graph = pipeline.graph
    names = np.array([label.encode() for label in classes], dtype=object)
    graph.initializer.append(numpy_helper.from_array(names, f"{CORE}label_classes"))
    graph.node.extend(
        [
            helper.make_node(
                "ArgMax", [OUTPUT], [f"{CORE}label_index"], axis=1, keepdims=0
            ),
            helper.make_node(
                "Gather", [f"{CORE}label_classes", f"{CORE}label_index"], [LABEL]
            ),
        ]
    )
    label = helper.make_tensor_value_info(LABEL, TensorProto.STRING, ["batch"])
    graph.output.insert(1, label)


def describe(
    pipeline: ModelProto, preparation: Preparation, names: dict[str, str]
) -> None:
    """Writes into the file which column goes where and what comes out."""
    counts = {
        one.name: {
            DROPPED_TOKENS: f"{one.name}_{DROPPED_TOKENS}",
            DROPPED_CHARACTERS: f"{one.name}_{DROPPED_CHARACTERS}",
        }
        for one in preparation.fields
    }
    about = {
        "format": PIPELINE_FORMAT,
        "inputs": [
            {"name": names[column], "column": column, "kind": kind}
            for column, kind in preparation.columns()
        ],
        "outputs": {"probabilities": OUTPUT, "label": LABEL, "text": counts},
        "classes": list(preparation.schema.classes),
        "schema": preparation.schema.model_dump(mode="json"),
    }
    helper.set_model_props(pipeline, {METADATA_KEY: json.dumps(about, sort_keys=True)})


def pipeline_model(core: bytes, preparation: Preparation) -> tuple[bytes, bytes]:
    """pipeline.onnx and the preprocessing model inside it.

    Args:
        core: model.onnx, whose inputs are token ids, masks and features.
        preparation: The fitted parts that make these inputs from a raw record.

    Raises:
        ExportError: A tokenizer cannot be put into a graph, the parts do not fit
            together, or the file would be larger than 2 GiB.
    """
    model = ModelProto.FromString(core)
    pairs = text_names([one.name for one in model.graph.input])
    preprocessing = preprocessing_model(
        preparation, text_names=pairs, table_name=TABLE, opset=opset_of(model)
    )
    merged = build_pipeline(preprocessing, model)
    add_label(merged, preparation.schema.classes)
    names = preprocessing_inputs(preparation, pairs, TABLE)
    describe(merged, preparation, names)
    if merged.ByteSize() > LARGEST:
        raise ExportError(
            f"pipeline.onnx would have {merged.ByteSize():,} bytes; one file holds at most "
            f"{LARGEST:,}. Use model.onnx and tokenizer.json."
        )
    return merged.SerializeToString(), preprocessing.SerializeToString()
