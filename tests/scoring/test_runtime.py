import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tabweave.bundle import open_bundle
from tabweave.errors import ArtifactError
from tabweave.scoring.runtime import (
    BatchSize,
    PipelineRuntime,
    available_threads,
    length_batches,
)


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


def opened(kit, tmp_path, model):
    data = model if isinstance(model, str) else model.SerializeToString()
    folder = kit.write(tmp_path / "bundle", pipeline=data)
    return PipelineRuntime(open_bundle(folder), threads=1)


def test_a_bundle_without_a_pipeline_says_why(bundle_kit, tmp_path):
    with pytest.raises(ArtifactError, match=r"no pipeline.onnx: 3 texts differ\."):
        opened(bundle_kit, tmp_path, "3 texts differ.")


def test_an_unknown_operator_is_an_error_of_the_file(bundle_kit, tmp_path):
    node = helper.make_node("NoSuchOperator", ["logit"], ["x"])
    graph = bundle_kit.graph(nodes=[node])
    with pytest.raises(ArtifactError, match=r"pipeline\.onnx cannot be loaded"):
        opened(bundle_kit, tmp_path, bundle_kit.model(graph=graph))


def replaced_output(kit, node):
    """A pipeline whose probabilities come from another last operator."""
    graph = kit.graph()
    last = next(n for n in graph.node if "probabilities" in n.output)
    last.output[0] = "softmax"
    graph.node.append(node)
    return kit.model(graph=graph)


@pytest.mark.parametrize("kind", ["Neg", "Log"])
def test_what_are_no_probabilities_is_refused_with_the_row(bundle_kit, tmp_path, kind):
    node = helper.make_node(kind, ["softmax"], ["probabilities"])
    runtime = opened(bundle_kit, tmp_path, replaced_output(bundle_kit, node))
    with pytest.raises(ArtifactError, match="for row 1, which are not probabilities"):
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
