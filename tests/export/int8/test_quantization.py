import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tabweave.errors import ExportError
from tabweave.export.config import ExportConfig
from tabweave.export.int8.quantization import (
    Int8Limits,
    int8_gate,
    mean_auroc,
    quantize,
)
from tabweave.export.onnx_model import (
    check_onnx_file,
    export_onnx,
    open_session,
    padded_inputs,
)

WIDTH, WIDE, WORDS = 64, 320, 300
DRAW = np.random.default_rng(0)
FIRST = DRAW.normal(size=(WIDTH, WIDE)).astype(np.float32)
SECOND = DRAW.normal(size=(WIDTH, WIDE)).astype(np.float32)
TABLE = DRAW.normal(size=(WORDS, WIDTH)).astype(np.float32)
SMALL = DRAW.normal(size=(WIDE, 3)).astype(np.float32)


def model(nodes, inputs, output, constants):
    """A graph of float inputs [batch, tokens, width] or int64 ids [batch, tokens]."""
    kinds = {"x": (TensorProto.FLOAT, ["batch", "tokens", WIDTH])}
    kinds |= {"ids": (TensorProto.INT64, ["batch", "tokens"])}
    graph = helper.make_graph(
        nodes,
        "core",
        [helper.make_tensor_value_info(name, *kinds[name]) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    return made.SerializeToString()


def product(weight=FIRST, name="w"):
    node = helper.make_node("MatMul", ["x", name], ["y"])
    return model([node], ["x"], "y", {name: weight})


def run(content, **inputs):
    return open_session(content).run(None, inputs)[0]


def operators(content):
    return [node.op_type for node in ModelProto.FromString(content).graph.node]


def slow_product(x, weight):
    """The formula of the module, in double precision with whole numbers."""
    channel = np.abs(weight).max(0) / np.float32(127)
    token = np.abs(x).max(-1, keepdims=True) / 127
    integers = np.rint(x / np.where(token == 0, 1, token))
    assert np.abs(integers).max() <= 127
    return (integers @ np.rint(weight / channel)) * token * channel.astype(float)


def activations(rows=3, tokens=5, seed=1):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, tokens, WIDTH)).astype(np.float32)


# Matrix products


def test_a_product_is_that_of_the_formula_and_close_to_fp32():
    x = activations()
    found = run(quantize(product()), x=x)
    # A value half way between two integers may go either way: one step of one integer.
    step = np.abs(x).max() * np.abs(FIRST).max() / 127
    assert np.abs(found - slow_product(x, FIRST)).max() <= step
    exact = x.astype(float) @ FIRST
    assert 1e-4 < np.abs(found - exact).mean() / np.abs(exact).mean() < 0.02


def test_a_token_keeps_its_answer_whatever_lies_beside_it():
    content, x = quantize(product()), activations()
    whole = run(content, x=x)
    wild = x.copy()
    wild[1:] *= 1e6
    np.testing.assert_allclose(run(content, x=wild)[0], whole[0], rtol=1e-6)
    for row in range(len(x)):
        alone = run(content, x=x[row : row + 1])
        np.testing.assert_allclose(alone[0], whole[row], rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-20, 1e-3, 1.0, 1e6, 1e20]))
def test_a_product_scales_with_its_token(seed, factor):
    """Nothing is clipped: the scale is the token's own."""
    x = activations(1, 2, seed)
    plain = run(CONTENT, x=x)
    scaled = run(CONTENT, x=(x * np.float32(factor)).astype(np.float32))
    tolerance = 0.02 * np.abs(plain).max()
    np.testing.assert_allclose(scaled / factor, plain, rtol=0, atol=tolerance)


CONTENT = quantize(product())


def test_a_token_of_zeros_gives_zeros():
    x = activations()
    x[1, 2] = 0
    found = run(CONTENT, x=x)
    assert (found[1, 2] == 0).all()
    assert np.isfinite(found).all()


def test_a_channel_of_zeros_gives_zeros():
    weight = FIRST.copy()
    weight[:, 7] = 0
    found = run(quantize(product(weight)), x=activations())
    assert (found[..., 7] == 0).all()
    assert np.isfinite(found).all()


def test_activations_are_quantised_once_for_all_products_that_read_them():
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["left"]),
        helper.make_node("MatMul", ["x", "b"], ["right"]),
        helper.make_node("MatMul", ["x", "a"], ["again"]),
        helper.make_node("Sub", ["left", "right"], ["both"]),
        helper.make_node("Add", ["both", "again"], ["y"]),
    ]
    content = quantize(model(nodes, ["x"], "y", {"a": FIRST, "b": SECOND}))
    assert operators(content).count("QuantizeLinear") == 1
    assert operators(content).count("MatMulIntegerToFloat") == 3
    # The matrix of two products stands twice, or no session of ours would open.
    assert len(content) < 0.45 * (FIRST.nbytes + SECOND.nbytes)
    x = activations()
    expected = 2 * slow_product(x, FIRST) - slow_product(x, SECOND)
    assert np.abs(run(content, x=x) - expected).max() < 1


def test_small_matrices_and_weights_with_other_readers_stay():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "small"], ["few"]),
        helper.make_node("ReduceSum", ["w"], ["total"], keepdims=0),
        helper.make_node("Add", ["few", "total"], ["y"]),
    ]
    content = quantize(model(nodes, ["x"], "y", {"w": FIRST, "small": SMALL}))
    kept = {one.name for one in ModelProto.FromString(content).graph.initializer}
    assert {"w", "small"} <= kept
    assert operators(content).count("MatMul") == 1
    x = activations()
    expected = slow_product(x, FIRST) @ SMALL + FIRST.sum()
    assert np.abs(run(content, x=x) - expected).max() < 1


def test_a_weight_that_a_graph_inside_a_node_reads_stays():
    scalar = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branches = {
        f"{branch}_branch": helper.make_graph(
            [helper.make_node("ReduceSum", ["w"], ["inner"], keepdims=0)],
            branch,
            [],
            [scalar],
        )
        for branch in ("then", "else")
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("If", ["yes"], ["total"], **branches),
        helper.make_node("Add", ["product", "total"], ["y"]),
    ]
    constants = {"w": FIRST, "yes": np.array(True)}
    content = quantize(model(nodes, ["x"], "y", constants))
    x = activations()
    expected = slow_product(x, FIRST) + FIRST.sum()
    assert np.abs(run(content, x=x) - expected).max() < 1


# Look-ups


def looked_up(axis=0, table=TABLE):
    node = helper.make_node("Gather", ["words", "ids"], ["y"], axis=axis)
    return model([node], ["ids"], "y", {"words": table})


def test_embeddings_are_within_half_a_step_of_their_own_token():
    table = TABLE * np.geomspace(1e-4, 1e4, WORDS, dtype=np.float32)[:, None]
    content = quantize(looked_up(table=table))
    ids = np.arange(WORDS).reshape(2, -1)
    steps = np.abs(table).max(1, keepdims=True) / 127
    error = np.abs(run(content, ids=ids) - table[ids])
    assert (error <= 0.501 * steps[ids]).all()
    assert error.max() > 0
    assert len(content) < 0.3 * table.nbytes


def test_a_look_up_along_another_axis_stays():
    content = looked_up(axis=1)
    with pytest.raises(ExportError, match="int8 has nothing to do"):
        quantize(content)


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_other_types_stay(kind):
    node = helper.make_node("Gather", ["words", "ids"], ["found"])
    cast = helper.make_node("Cast", ["found"], ["y"], to=TensorProto.FLOAT)
    content = model([node, cast], ["ids"], "y", {"words": TABLE.astype(kind)})
    with pytest.raises(ExportError, match="Leave int8 off"):
        quantize(content)


def test_a_product_may_read_a_product_and_a_look_up():
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["found"]),
        helper.make_node("MatMul", ["found", "first"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["y"]),
    ]
    constants = {"table": TABLE, "first": FIRST, "second": SECOND.T.copy()}
    content = quantize(model(nodes, ["ids"], "y", constants))
    assert operators(content).count("MatMulIntegerToFloat") == 2
    ids = np.arange(6).reshape(2, 3)
    found = run(content, ids=ids)
    exact = TABLE[ids] @ FIRST @ SECOND.T
    assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
def test_a_gemm_is_a_product_and_a_sum(turned, biased):
    bias = DRAW.normal(size=WIDE).astype(np.float32)
    inputs = ["row", "w", "b"] if biased else ["row", "w"]
    weight = FIRST.T.copy() if turned else FIRST
    nodes = [
        helper.make_node("ReduceMean", ["x", "axis"], ["row"], keepdims=0),
        helper.make_node("Gemm", inputs, ["y"], transB=turned),
    ]
    constants = {"w": weight, "b": bias, "axis": np.array([1])}
    content = quantize(model(nodes, ["x"], "y", constants))
    assert "Gemm" not in operators(content)
    x = DRAW.normal(size=(5, 3, WIDTH)).astype(np.float32)
    row = x.mean(1)
    expected = slow_product(row, FIRST) + (bias if biased else 0)
    np.testing.assert_allclose(run(content, x=x), expected, rtol=0, atol=1e-3)


def test_a_gemm_may_leave_its_sum_out_and_names_do_not_meet():
    nodes = [
        helper.make_node("ReduceMean", ["x", "axis"], ["y_sum"], keepdims=0),
        helper.make_node("Gemm", ["y_sum", "w", ""], ["wide"]),
        helper.make_node("Gemm", ["y_sum", "w", "b"], ["y"]),
    ]
    bias = np.ones(WIDE, np.float32)
    constants = {"w": FIRST, "b": bias, "axis": np.array([1])}
    x = activations()
    found = run(quantize(model(nodes, ["x"], "y", constants)), x=x)
    wanted = slow_product(x.mean(1), FIRST) + bias
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("option", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}])
def test_a_gemm_with_more_to_do_stays(option):
    nodes = [
        helper.make_node("ReduceMean", ["x", "axis"], ["row"], keepdims=0),
        helper.make_node("Gemm", ["row", "w"], ["z"], **option),
    ]
    graph = model(nodes, ["x"], "z", {"w": FIRST, "axis": np.array([1])})
    with pytest.raises(ExportError, match="nothing to do"):
        quantize(graph)


def test_a_weight_may_be_looked_up_and_multiplied_with():
    nodes = [
        helper.make_node("Gather", ["w", "ids"], ["found"]),
        helper.make_node("Transpose", ["turn"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["found", "turned"], ["narrow"]),
        helper.make_node("MatMul", ["narrow", "w"], ["y"]),
    ]
    constants = {"w": TABLE, "turn": TABLE}
    content = quantize(model(nodes, ["ids"], "y", constants))
    ids = np.arange(6).reshape(2, 3)
    exact = TABLE[ids] @ TABLE.T @ TABLE
    assert np.abs(run(content, ids=ids) - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["one", "zero", "last", "share", "tiniest", "nothing"])
def test_a_weight_may_have_any_name(name):
    x = DRAW.normal(size=(2, 3, WIDTH)).astype(np.float32)
    found = run(quantize(product(name=name)), x=x)
    np.testing.assert_allclose(found, slow_product(x, FIRST), rtol=0, atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_does_not_become_one(value):
    x = DRAW.normal(size=(2, 3, WIDTH)).astype(np.float32)
    x[1, 2, 7] = value
    found = run(quantize(product()), x=x)
    assert not np.isfinite(found[1, 2]).any()
    assert np.isfinite(found[0]).all()
    assert np.isfinite(found[1, :2]).all()


def test_only_matrices_of_a_prefix_change():
    nodes = [
        helper.make_node("Gather", ["pre_table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "model_w"], ["y"]),
    ]
    constants = {"pre_table": TABLE, "model_w": FIRST}
    content = quantize(model(nodes, ["ids"], "y", constants), "model_")
    kept = {one.name: one for one in ModelProto.FromString(content).graph.initializer}
    np.testing.assert_array_equal(numpy_helper.to_array(kept["pre_table"]), TABLE)
    assert "model_w" not in kept
    assert operators(content).count("Gather") == 1
    with pytest.raises(ExportError, match="nothing to do"):
        quantize(model(nodes[:1], ["ids"], "x", {"pre_table": TABLE}), "model_")


# A whole model


def test_a_model_becomes_small_and_stays_close(tiny, tmp_path):
    name = "multimodal_bert"
    size = {"hidden_size": 128, "num_layers": 1, "intermediate_size": 256}
    model = tiny.model(name, scratch=size | {"num_heads": 2})
    export_onnx(model, ExportConfig(), tmp_path / "model.onnx")
    core = (tmp_path / "model.onnx").read_bytes()
    int8 = quantize(core)
    assert quantize(core) == int8, "equal bytes"
    (tmp_path / "int8.onnx").write_bytes(int8)
    check_onnx_file(tmp_path / "int8.onnx")
    assert len(int8) < 0.5 * len(core)
    inputs = padded_inputs(tiny.rows(name).batch(np.arange(32)), model.spec)
    sessions = [open_session(content) for content in (core, int8)]
    names = [[node.name for node in s.get_inputs()] for s in sessions]
    assert names[0] == names[1]
    feed = {n: x.numpy() for n, x in zip(names[0], inputs, strict=True)}
    fp32, found = (session.run(None, feed)[0] for session in sessions)
    assert 0 < np.abs(found - fp32).max() < 0.3
    assert np.abs(found - fp32).mean() < 0.05
    for row in range(4):
        alone = {n: x[row : row + 1] for n, x in feed.items()}
        one = sessions[1].run(None, alone)[0][0]
        np.testing.assert_allclose(one, found[row], rtol=0, atol=1e-5)


# The gate

LABELS = np.arange(400) % 2
GOOD = np.clip(0.35 + 0.3 * LABELS + np.linspace(-0.2, 0.2, 400), 0, 1)
LIMITS = Int8Limits()


def two(scores):
    return np.stack([1 - scores, scores], axis=1)


def judged(scores, *, alone=0.0, labels=LABELS, limits=LIMITS):
    """The verdict on an int8 model of such scores; a row alone moves by `alone`."""

    def predict(rows):
        return two(scores[rows] + (alone if len(rows) == 1 else 0.0))

    return int8_gate(two(GOOD), predict, labels, limits)


def test_an_equal_model_is_accepted_with_its_figures():
    found = judged(GOOD)
    assert found.accepted
    assert found.to_json() == {
        "accepted": True,
        "reasons": [],
        "rows": 400,
        "classes_without_rows": 0,
        "auroc_fp32": pytest.approx(mean_auroc(two(GOOD), LABELS)),
        "auroc_int8": pytest.approx(mean_auroc(two(GOOD), LABELS)),
        "auroc_drop": 0.0,
        "flipped_rows": 0,
        "flips": 0.0,
        "largest_difference": 0.0,
        "mean_difference": 0.0,
        "rows_alone": 256,
        "alone_shift": 0.0,
    }


def test_a_loss_of_auroc_refuses():
    worse = GOOD.copy()
    worse[LABELS == 1] -= 0.06
    found = judged(worse, limits=Int8Limits(flips=1))
    lost = mean_auroc(two(GOOD), LABELS) - mean_auroc(two(worse), LABELS)
    assert found.figures["auroc_drop"] == pytest.approx(lost)
    assert lost > 0.002
    (reason,) = found.reasons
    assert reason == f"AUROC falls by {lost:.4f}; allowed is 0.002 (auroc_drop)"
    assert judged(worse, limits=Int8Limits(flips=1, auroc_drop=lost + 1e-9)).accepted


def test_a_gain_of_auroc_is_no_loss():
    better = np.clip(GOOD + 0.1 * (LABELS - 0.5), 0, 1)
    assert judged(better, limits=Int8Limits(flips=1)).accepted


@pytest.mark.parametrize(("count", "accepted"), [(4, True), (5, False)])
def test_more_than_one_flip_in_a_hundred_refuses(count, accepted):
    nearest = np.argsort(np.abs(GOOD - 0.5))[:count]
    other = GOOD.copy()
    other[nearest] = 1 - GOOD[nearest]
    found = judged(other, limits=Int8Limits(auroc_drop=1))
    assert found.figures["flipped_rows"] == count
    assert found.accepted == accepted
    assert accepted or "1.25% of the rows get another class" in found.reasons[0]


@pytest.mark.parametrize(("shift", "accepted"), [(0.019, True), (0.021, False)])
def test_a_row_that_moves_with_its_neighbours_refuses(shift, accepted):
    found = judged(GOOD, alone=shift)
    assert found.figures["alone_shift"] == pytest.approx(shift)
    assert found.accepted == accepted
    assert accepted or "(alone_shift)" in found.reasons[0]


@pytest.mark.parametrize(("rows", "accepted"), [(199, False), (200, True)])
def test_too_few_rows_are_no_judgement(rows, accepted):
    found = int8_gate(
        two(GOOD)[:rows], lambda index: two(GOOD[index]), LABELS[:rows], LIMITS
    )
    assert found.accepted == accepted
    assert accepted or "val has 199 rows, too few" in found.reasons[0]
    assert accepted or "min_rows is 200" in found.reasons[0]


def test_no_row_is_an_error():
    with pytest.raises(ExportError, match="val has no row"):
        int8_gate(two(GOOD)[:0], lambda index: two(GOOD[index]), LABELS[:0], LIMITS)


def test_what_cannot_be_measured_refuses():
    found = judged(GOOD, labels=np.ones(400, np.int64))
    assert "one class only" in found.reasons[0]
    assert found.figures["auroc_drop"] is None
    broken = GOOD.copy()
    broken[3] = np.nan
    found = judged(broken)
    assert not found.accepted
    assert found.figures["largest_difference"] is None


def test_several_reasons_are_all_said():
    assert len(judged(1 - GOOD, alone=0.1).reasons) == 3


def test_few_rows_are_all_asked_alone():
    asked = []

    def predict(rows):
        asked.append(rows.tolist())
        return two(GOOD[:40][rows])

    found = int8_gate(two(GOOD[:40]), predict, LABELS[:40], LIMITS)
    assert asked[:2] == [list(range(32)), list(range(32, 40))]
    assert asked[2:] == [[row] for row in range(40)]
    assert found.figures["rows_alone"] == 40


def test_auroc_is_scikit_learns():
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(4)
    labels = draw.integers(0, 3, 200)
    scores = draw.dirichlet([1, 1, 1], 200).round(2)
    expected = [roc_auc_score(labels == n, scores[:, n]) for n in range(3)]
    assert mean_auroc(scores, labels) == pytest.approx(np.mean(expected))
    assert mean_auroc(two(GOOD), LABELS) == pytest.approx(roc_auc_score(LABELS, GOOD))
