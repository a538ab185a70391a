from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

from tabweave.errors import ExportError
from tabweave.export.measures import timing
from tabweave.export.measures.timing import System, measure, onnx_answer

LOADING, FAST, SLOW = 0.5, 0.002, 0.008


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Time passes only while a system waits."""
    made = SimpleNamespace(now=0.0)
    made.perf_counter = lambda: made.now
    monkeypatch.setattr(timing, "time", made)
    return made


def waiting(clock, seconds, seen=None, name=""):
    """A system whose answers take so long per row, and ever longer by a hundredth."""
    calls = 0

    def answer(rows):
        nonlocal calls
        if seen is not None:
            seen.append((name, rows))
        clock.now += seconds * rows * (1 + calls / 100)
        calls += 1

    def load():
        clock.now += LOADING
        return answer

    return load


def systems(clock, seen=None):
    rows, batches = [1] * 5, [(4, 4), (2, 2), (4, 4)]
    return {
        name: System(waiting(clock, seconds, seen, name), rows, batches)
        for name, seconds in (("fast", FAST), ("slow", SLOW))
    }


def test_figures_are_those_of_the_calls(clock):
    found = measure(systems(clock), seconds=60)
    for name, seconds in (("fast", FAST), ("slow", SLOW)):
        one = found[name]
        assert one.load_seconds == pytest.approx(LOADING)
        # Two calls do not count; the next five are single rows.
        assert one.p50_ms == pytest.approx(1e3 * seconds * 1.04)
        assert one.p95_ms == pytest.approx(1e3 * seconds * 1.058)
        batches = seconds * (4 * 1.07 + 2 * 1.08 + 4 * 1.09)
        assert one.rows_per_second == pytest.approx(10 / batches)
        assert (one.single_calls, one.batch_calls) == (5, 3)


def test_systems_take_turns_after_a_call_that_does_not_count(clock):
    seen = []
    measure(systems(clock, seen), seconds=60)
    warm, timed = seen[:4], seen[4:]
    assert sorted(warm) == [("fast", 1), ("fast", 4), ("slow", 1), ("slow", 4)]
    assert [name for name, _ in timed] == ["fast", "slow"] * 8
    assert [rows for _, rows in timed[::2]] == [1] * 5 + [4, 2, 4]


@pytest.mark.parametrize(("seconds", "calls"), [(1e-9, 1), (0.2, 9), (600, 1000)])
def test_the_budget_ends_the_turns_and_every_system_has_had_one(clock, seconds, calls):
    many = {
        name: System(waiting(clock, cost), [1] * 1000, [(1, 1)] * 1000)
        for name, cost in (("fast", FAST), ("slow", SLOW))
    }
    for one in measure(many, seconds=seconds).values():
        assert calls - 1 <= one.batch_calls <= one.single_calls <= calls + 1


def test_a_system_that_is_asked_nothing_is_named(clock):
    idle = System(waiting(clock, 0), [], [(1, 1)])
    with pytest.raises(ExportError, match="'idle' cannot be timed"):
        measure({**systems(clock), "idle": idle})


def test_a_session_answers_with_the_outputs_that_are_asked_for():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"])
        for name in ("negative", "absolute")
    ]
    nodes = [
        helper.make_node("Neg", ["x"], ["negative"]),
        helper.make_node("Abs", ["x"], ["absolute"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], outputs),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    content, x = model.SerializeToString(), {"x": np.array([-1, 2], np.float32)}
    (found,) = onnx_answer(content, ["absolute"], threads=1)(x)
    assert found.tolist() == [1, 2]
    assert [y.tolist() for y in onnx_answer(content, None)(x)] == [[1, -2], [1, 2]]
