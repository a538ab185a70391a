import resource
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from tabweave.bundle import open_bundle
from tabweave.cli.score import MAX_DATA
from tabweave.errors import ArtifactError
from tabweave.scoring import limits
from tabweave.scoring.runtime import PipelineRuntime

ROW = {
    "note": pa.array(["a"]),
    "shop": pa.array(["a"]),
    "price": pa.array([1.0], pa.float32()),
}


def constant(name, values, kind=np.int64):
    return numpy_helper.from_array(np.array(values, kind), name)


def node(kind, given, out, **attributes):
    return helper.make_node(kind, given, [out], **attributes)


def endless(limit):
    """A loop of 2**62 turns, or one that goes on while a condition holds."""
    value = helper.make_tensor_value_info
    single, truth = TensorProto.FLOAT, TensorProto.BOOL
    body = helper.make_graph(
        [node("Identity", ["go"], "go_on"), node("Identity", ["x"], "next")],
        "body",
        [
            value("turn", TensorProto.INT64, []),
            value("go", truth, []),
            value("x", single, None),
        ],
        [value("go_on", truth, []), value("next", single, None)],
    )
    given = ["turns" if limit else "", "true", "one"]
    return [node("Loop", given, "big", body=body)]


# What makes a tensor `big` -> the constants for it. None is larger than 100 bytes.
BOMBS = {
    "ConstantOfShape": [node("ConstantOfShape", ["huge"], "big")],
    "Expand": [node("Expand", ["one", "huge"], "big")],
    "Range": [node("Range", ["nil", "end", "step"], "big")],
    "Loop": endless(limit=True),
    "Loop without a limit": endless(limit=False),
}
CONSTANTS = [
    constant("huge", [2_000_000_000]),
    constant("one", [1], np.float32),
    constant("nil", 0, np.float32),
    constant("end", 2e9, np.float32),
    constant("step", 1, np.float32),
    constant("turns", 2**62),
    constant("true", True, bool),
    constant("half", ["ab" * 20_000], object),
    constant("times", [200_000]),
]


def hostile(kit, folder, nodes):
    """A bundle, hashes and all, whose pipeline computes `big` for every batch."""
    graph = kit.graph()
    last = next(one for one in graph.node if "probabilities" in one.output)
    last.output[0] = "answer"
    graph.initializer.extend(CONSTANTS)
    graph.node.extend(nodes)
    graph.node.append(node("ReduceMin", ["big"], "least", keepdims=0))
    graph.node.append(node("Mul", ["least", "nil"], "nothing"))
    graph.node.append(node("Add", ["answer", "nothing"], "probabilities"))
    model = kit.model(graph=graph).SerializeToString()
    return kit.write(folder, pipeline=model)


@pytest.mark.parametrize("kind", BOMBS)
def test_a_graph_without_measure_is_ended_and_named(
    bundle_kit, tmp_path, monkeypatch, kind
):
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.5)
    runtime = PipelineRuntime(
        open_bundle(hostile(bundle_kit, tmp_path / "b", BOMBS[kind])), threads=1
    )
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    why = (
        "it was not done after 0.5 s" if "Loop" in kind else "it needs more than the 6"
    )
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=rf"b/pipeline\.onnx failed .* {why}"):
        runtime.predict(ROW)
    assert time.monotonic() - started < 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most
    assert grown < 2**20  # KiB


def test_what_is_measured_is_answered_after_it(bundle_kit, tmp_path, monkeypatch):
    """A batch that was ended leaves nothing behind."""
    bombs = open_bundle(hostile(bundle_kit, tmp_path / "b", BOMBS["Loop"]))
    good = PipelineRuntime(open_bundle(bundle_kit.write(tmp_path / "good")), threads=1)
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.2)
    with pytest.raises(ArtifactError):
        PipelineRuntime(bombs, threads=1).predict(ROW)
    asked = bundle_kit.answer("a", "a", 1.0)
    assert np.abs(good.predict(ROW)[0] - asked).max() < 1e-6
    names = [one.name for one in threading.enumerate() if "Timer" in one.name]
    assert names == []


def test_a_command_bounds_texts_as_well(bundle_kit, tmp_path):
    """Repeated texts are no numbers: only the limit of the process sees them."""
    nodes = [
        node("Expand", ["half", "times"], "texts"),
        node("Equal", ["texts", "half"], "same"),
        node("Cast", ["same"], "big", to=TensorProto.FLOAT),
    ]
    folder = hostile(bundle_kit, tmp_path / "b", nodes)
    source = tmp_path / "in.csv"
    source.write_text("id,note,shop,price\n1,a,a,1\n", encoding="utf-8")
    code = (
        "import sys; from tabweave.cli import score as limits;"
        "limits.MAX_DATA = 700 * 2**20; from tabweave.cli.score import main;"
        "main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(source), str(tmp_path / "o.csv")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "it needs more memory than this process may take" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lower_limit_of_the_user_stays():
    code = (
        "import resource as r; from tabweave.cli import score as l;"
        "l.bound_this_process(); print(r.getrlimit(r.RLIMIT_DATA)[0]);"
        "r.setrlimit(r.RLIMIT_DATA, (2**31, 2**40)); l.bound_this_process();"
        "print(r.getrlimit(r.RLIMIT_DATA))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert 0 < int(first) <= MAX_DATA
    assert second == str((2**31, 2**40))
