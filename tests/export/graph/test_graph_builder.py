import numpy as np
import pytest

from preparation_fixtures import run_graph
from tabweave.export.graph.graph_builder import FLOAT, INT64, STRING, Graph


def ran(build, values, kind=INT64, result=INT64):
    graph = Graph()
    graph.output(build(graph, graph.input("x", kind)), "y", result, ["n"])
    return run_graph(graph, x=values)["y"].tolist()


def test_arithmetic_is_that_of_numpy():
    x = np.array([0, 1, 2, 3, 9])
    found = ran(lambda g, x: (x + 1) * 2 - x // 2 + (10 - x), x)
    assert found == ((x + 1) * 2 - x // 2 + (10 - x)).tolist()


def test_comparisons_are_those_of_numpy():
    x = np.array([0, 1, 2, 3, 9])
    found = ran(
        lambda g, x: (((x > 1) & (x <= 3)) | ~(x >= 1) | x.equals(9)).number(), x
    )
    assert found == [1, 0, 1, 1, 1]
    assert ran(lambda g, x: (x < 2).number(), x) == [1, 1, 0, 0, 0]


def test_selection_and_scattering():
    x = np.array([5, 0, 7, 0])
    assert ran(lambda g, x: x.where(x > 0), x) == [5, 7]
    assert ran(lambda g, x: (x > 0).places(), x) == [0, 2]
    assert ran(lambda g, x: x.with_entries([1, 3], [8, 9]), x) == [5, 8, 7, 9]
    assert ran(lambda g, x: x.with_entries([0, 0], [1, 2], "add"), x) == [8, 0, 7, 0]
    assert ran(lambda g, x: g.constant(np.arange(9) * 2)[x], x) == [10, 0, 14, 0]
    assert ran(lambda g, x: x.running_sum(), x) == [5, 5, 12, 12]
    assert ran(lambda g, x: x.running_sum(exclusive=True), x) == [0, 5, 5, 12]
    assert ran(lambda g, x: g.concat(x.cut([1], [3]), [4]), x) == [0, 7, 4]
    assert ran(lambda g, x: g.select(x > 0, g.least(x, 6), -1), x) == [5, -1, 6, -1]


def test_lookup_of_texts_and_numbers():
    found = ran(
        lambda g, x: g.lookup(x, ["a", "é\0", ""], [1, 2, 3], 9),
        ["é\0", "", "b"],
        STRING,
    )
    assert found == [2, 3, 9]
    assert ran(lambda g, x: g.lookup(x, [2**40], [4], 0), np.array([2**40, 1])) == [
        4,
        0,
    ]


def test_a_loop_hands_on_vectors_that_change_their_length_and_keeps_others():
    graph = Graph()
    x = graph.input("x", INT64)

    def halve(number, at, total):
        at = (at // 2).where(at > 1)
        return at.size() > 0, [at, total + number + 1], [total]

    rest, total, kept = graph.loop(9, x.size() > 0, [x, graph.constant([0])], halve)
    graph.output(rest, "rest", INT64, ["r"])
    graph.output(total, "total", INT64, [1])
    graph.output(kept, "kept", INT64, ["runs", 1])
    found = run_graph(graph, x=np.array([8, 1, 3]))
    assert found["rest"].tolist() == []
    assert found["total"].tolist() == [1 + 2 + 3 + 4]
    assert found["kept"].tolist() == [[0], [1], [3], [6]]


def test_a_loop_ends_after_its_trips():
    graph = Graph()
    x = graph.input("x", INT64)
    (out,) = graph.loop(3, x.size() > 0, [x], lambda n, x: (x.size() > 0, [x + 1], []))
    graph.output(out, "y", INT64, ["n"])
    assert run_graph(graph, x=np.array([0]))["y"].tolist() == [3]


def test_equal_constants_are_stored_once_and_types_are_kept_apart():
    graph = Graph()
    x = graph.input("x", FLOAT)
    one = graph.constant(np.float32(1.5).reshape(1))
    assert graph.constant(np.float32(1.5).reshape(1)) is one
    assert graph.constant([3]) is graph.constant(np.array([3]))
    assert graph.constant(3) is not graph.constant([3])
    assert graph.constant(np.array([1.5])) is not one
    graph.output(x + one, "y", FLOAT, ["n"])
    assert len(graph.model("g", 20).graph.initializer) == 4


@pytest.mark.parametrize("opset", [20, 23])
def test_the_model_says_its_versions(opset):
    graph = Graph()
    graph.output(graph.input("x", INT64) + 1, "y", INT64, ["n"])
    model = graph.model("g", opset)
    assert {one.domain: one.version for one in model.opset_import} == {
        "": opset,
        "ai.onnx.ml": 4,
        "com.microsoft": 1,
    }
    inner = [name for node in model.graph.node for name in node.output]
    assert all(name.startswith("pre_") for name in inner if name != "y")
