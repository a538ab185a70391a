import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tabweave.bundle import open_bundle
from tabweave.errors import ArtifactError
from tabweave.export.int8.quantization import SMALLEST_WEIGHT, quantize
from tabweave.scoring.runtime import (
    BatchSize,
    PipelineRuntime,
    available_threads,
    length_batches,
)

INT8 = "pipeline.int8.onnx"


@pytest.fixture(scope="module")
def runtime(good_bundle):
    return PipelineRuntime(open_bundle(good_bundle), threads=1)


def columns(rows):
    notes, shops, prices = zip(*rows, strict=True)
    return {
        "note": pa.array(notes, pa.string()),
        "shop": pa.array(shops, pa.string()),
        "price": pa.array(prices, pa.float32()),
    }


ROW = st.tuples(
    st.text(st.sampled_from("aeé日x \0🙂"), max_size=30),
    st.sampled_from(["a", "b", "", "other"]),
    st.none() | st.integers(-9, 9),
)


@given(st.lists(ROW, min_size=1, max_size=20), st.integers(1, 7), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_answers_are_right_and_do_not_depend_on_the_batches(
    runtime, bundle_kit, rows, most, size
):
    found = runtime.predict(columns(rows), BatchSize(most, size))
    expected = [bundle_kit.answer(*row) for row in rows]
    assert np.abs(found - expected).max() < 1e-6
    alone = [runtime.predict(columns([row]))[0] for row in rows]
    assert np.abs(found - alone).max() < 1e-6


@given(
    st.lists(st.integers(0, 99), max_size=80), st.integers(1, 9), st.integers(1, 300)
)
def test_batches_hold_every_row_once_within_their_bounds(lengths, rows, size):
    lengths = np.array(lengths, np.int64)
    batches = list(length_batches(lengths, BatchSize(rows, size)))
    order = np.concatenate([*batches, np.empty(0, np.int64)])
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[order.astype(int)]) >= 0).all()
    for batch in batches:
        assert len(batch) <= rows
        assert lengths[batch].max() * len(batch) <= size or len(batch) == 1


def test_no_rows_give_no_answers(runtime):
    nothing = {
        name: values.slice(0, 0) for name, values in columns([("", "", 1)]).items()
    }
    assert runtime.predict(nothing).shape == (0, 2)


def test_at_least_one_thread_is_there():
    assert available_threads() >= 1


def opened(kit, tmp_path, model, *, int8=False):
    data = model if isinstance(model, str) else model.SerializeToString()
    place = {"quantized": {INT8: data}} if int8 else {"pipeline": data}
    folder = kit.write(tmp_path / "bundle", **place)
    return PipelineRuntime(open_bundle(folder), threads=1, int8=int8)


def test_a_bundle_without_a_pipeline_says_why(bundle_kit, tmp_path):
    with pytest.raises(ArtifactError, match=r"no pipeline.onnx: 3 texts differ\."):
        opened(bundle_kit, tmp_path, "3 texts differ.")


# Both pipelines of a bundle; errors name the one that was asked.
BOTH = pytest.mark.parametrize(
    ("int8", "name"), [(False, r"/pipeline\.onnx"), (True, r"/pipeline\.int8\.onnx")]
)


@BOTH
def test_an_unknown_operator_is_an_error_of_the_file(bundle_kit, tmp_path, int8, name):
    node = helper.make_node("NoSuchOperator", ["logit"], ["x"])
    model = bundle_kit.model(graph=bundle_kit.graph(nodes=[node]))
    with pytest.raises(ArtifactError, match=f"{name} cannot be loaded"):
        opened(bundle_kit, tmp_path, model, int8=int8)


@BOTH
def test_a_pipeline_of_another_format_is_an_error_of_the_file(
    bundle_kit, tmp_path, int8, name
):
    metadata = {"format": 2, "inputs": bundle_kit.inputs, "classes": ["no", "yes"]}
    model = bundle_kit.model(metadata=metadata)
    with pytest.raises(ArtifactError, match=f"{name} is not .*format is 2, not 1"):
        opened(bundle_kit, tmp_path, model, int8=int8)


def replaced_output(kit, node):
    """A pipeline whose probabilities come from another last operator."""
    graph = kit.graph()
    last = next(n for n in graph.node if "probabilities" in n.output)
    last.output[0] = "softmax"
    graph.node.append(node)
    return kit.model(graph=graph)


@BOTH
@pytest.mark.parametrize("kind", ["Neg", "Log"])
def test_what_are_no_probabilities_is_refused_with_the_row(
    bundle_kit, tmp_path, kind, int8, name
):
    node = helper.make_node(kind, ["softmax"], ["probabilities"])
    model = replaced_output(bundle_kit, node)
    runtime = opened(bundle_kit, tmp_path, model, int8=int8)
    with pytest.raises(ArtifactError, match=f"{name} gave .* row 1, which are not pro"):
        runtime.predict(columns([("a", "a", 1)]))


def test_a_wrong_number_of_answers_is_refused(bundle_kit, tmp_path):
    node = helper.make_node("Concat", ["softmax", "softmax"], ["probabilities"], axis=0)
    runtime = opened(bundle_kit, tmp_path, replaced_output(bundle_kit, node))
    with pytest.raises(ArtifactError, match=r"shape \(2, 2\) for 1 rows and 2 classes"):
        runtime.predict(columns([("a", "a", 1)]))


def test_a_graph_that_fails_is_named(bundle_kit, tmp_path):
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [1])
    graph = bundle_kit.graph()
    last = next(n for n in graph.node if "probabilities" in n.output)
    last.output[0] = "softmax"
    graph.initializer.append(shape)
    graph.node.append(helper.make_node("Reshape", ["softmax", "shape"], ["one"]))
    graph.node.append(helper.make_node("Add", ["softmax", "one"], ["probabilities"]))
    runtime = opened(bundle_kit, tmp_path, bundle_kit.model(graph=graph))
    with pytest.raises(ArtifactError, match="failed on a batch of 1 rows"):
        runtime.predict(columns([("a", "a", 1)]))


# 8-bit integers


ASKED = [("where", "a", 3.5), ("", "b", None), ("é日 x", "unseen", -0.5)]


def test_the_pipeline_that_was_chosen_answers(int8_bundle, bundle_kit):
    bundle = open_bundle(int8_bundle)
    for int8, weight in ((False, -0.03), (True, bundle_kit.int8_weight)):
        found = PipelineRuntime(bundle, 1, int8=int8).predict(columns(ASKED))
        wanted = [bundle_kit.answer(*row, weight) for row in ASKED]
        assert np.abs(found - wanted).max() < 1e-6


@pytest.mark.parametrize(
    ("parity", "words"),
    [
        ({"int8": {"refused": "export.int8 is false."}}, r": export\.int8 is false\. "),
        ({"int8": {"refused": None}}, r"\. "),
        ({"int8": "unknown"}, r"\. "),
        ({}, r"\. "),
    ],
)
def test_a_bundle_without_int8_says_why_and_what_to_do(
    bundle_kit, tmp_path, parity, words
):
    bundle = open_bundle(bundle_kit.write(tmp_path / "b", export_report=parity))
    with pytest.raises(
        ArtifactError,
        match=rf"/b holds no pipeline\.int8\.onnx{words}Score without int8, or make it\. "
        r"Re-run the stage export with --params=export\.int8=true\.$",
    ):
        PipelineRuntime(bundle, 1, int8=True)


def test_a_bundle_without_any_pipeline_says_so_to_int8_as_well(bundle_kit, tmp_path):
    bundle = open_bundle(bundle_kit.write(tmp_path / "b", pipeline="3 texts differ."))
    with pytest.raises(ArtifactError, match=r"no pipeline.onnx: 3 texts differ\."):
        PipelineRuntime(bundle, 1, int8=True)


def test_int8_bytes_are_verified_when_they_are_used(bundle_kit, tmp_path):
    folder = bundle_kit.write_int8(tmp_path / "b")
    bundle = open_bundle(folder)
    (folder / INT8).write_bytes((folder / "pipeline.onnx").read_bytes())
    with pytest.raises(ArtifactError, match=r"pipeline\.int8\.onnx is damaged or was"):
        PipelineRuntime(bundle, 1, int8=True)


def wide_graph(kit):
    """The usual graph, whose logit passes a layer that is worth quantising."""
    width, draw = SMALLEST_WEIGHT // 2, np.random.default_rng(0)
    wide = draw.normal(size=(2, width)).astype(np.float32)
    # Of two products that are summed one is 0: nothing saturates on any processor.
    wide[0] = wide[:, 1::2] = 0
    back = np.linalg.pinv(wide).astype(np.float32)
    graph = kit.graph()
    last = next(node for node in graph.node if "probabilities" in node.output)
    last.input[0] = "narrow"
    place = list(graph.node).index(last)
    for name, value in (("wide", wide), ("back", back)):
        graph.initializer.append(numpy_helper.from_array(value, name))
    layer = [
        helper.make_node("MatMul", ["logits", "wide"], ["product"]),
        helper.make_node("Identity", ["product"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "back"], ["narrow"]),
    ]
    for offset, node in enumerate(layer):
        graph.node.insert(place + offset, node)
    return graph


def test_what_the_export_quantises_can_be_run(bundle_kit, tmp_path):
    wide = bundle_kit.model(graph=wide_graph(bundle_kit))
    small = quantize(wide.SerializeToString())
    assert b"MatMulIntegerToFloat" in small
    assert len(small) < 0.6 * wide.ByteSize()
    folder = bundle_kit.write(tmp_path / "b", quantized={INT8: small})
    runtime = PipelineRuntime(open_bundle(folder), threads=1, int8=True)
    wanted = [bundle_kit.answer(*row) for row in ASKED]
    assert np.abs(runtime.predict(columns(ASKED)) - wanted).max() < 0.02
