import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pipeline_fixtures import answers, make_core
from preparation_fixtures import preparation, text_field
from tabweave.export.graph.groups_graph import ROWS
from tabweave.export.int8.quantization import SMALLEST_WEIGHT, quantize
from tabweave.export.onnx_model import open_session
from tabweave.export.pipeline_model import pipeline_model
from tabweave.preparation.reference import reference_chunks, reference_features

FEATURES = ("missing:price",)
FIELDS = (
    text_field(
        "chat", ("chat",), max_sen_len=512, max_total_chunks=4, max_characters=40_000
    ),
    text_field("more", ("more",), max_sen_len=64, max_total_chunks=2),
)

# A process of its own: what it held at most, before and after one call.
ASKED = """
import json, re, sys
import numpy as np, onnxruntime
def most():
    text = open("/proc/self/status", encoding="ascii").read()
    return int(re.search(r"VmHWM:\\s+(\\d+)", text)[1]) / 1024
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
feeds = json.load(open(sys.argv[2], encoding="utf-8"))
def asked(feed):
    kinds = {"price": np.float32}
    feed = {name: np.array(v, kinds.get(name, object)) for name, v in feed.items()}
    return session.run(["probabilities"], feed)[0]
asked(feeds[0])
before = most()
found = asked(feeds[1])
print(json.dumps([most() - before, found.tolist()]))
"""


@pytest.fixture(scope="module")
def prepared():
    return preparation(FIELDS, features=FEATURES)


@pytest.fixture(scope="module")
def content(prepared):
    return pipeline_model(make_core(1, fields=2), prepared)[0]


def rows_of(texts):
    return {
        "chat": texts,
        "more": [text[: 7 * number % 90] for number, text in enumerate(texts)],
        "price": [float("nan") if n % 3 else 1.0 for n in range(len(texts))],
    }


def ask(content, rows):
    session = open_session(content)
    kinds = {"price": np.float32}
    feed = {n: np.array(values, kinds.get(n, object)) for n, values in rows.items()}
    return session.run(["probabilities", "label"], feed)


def expected(prepared, rows):
    count = len(rows["chat"])
    table = pa.table(
        rows | {n: ["a"] * count for n in ("shop", "plan")} | {"age": [1.0] * count}
    )
    table = table.set_column(2, "price", pa.array(rows["price"], pa.float32()))
    table = table.set_column(5, "age", pa.array([1.0] * count, pa.float32()))
    chunks = reference_chunks(prepared, {n: rows[n] for n in ("chat", "more")})
    return answers(list(chunks.values()), reference_features(prepared, table))


@pytest.mark.parametrize("count", [1, 2, ROWS, ROWS + 1, 100])
def test_rows_of_any_lengths_get_their_own_answers_in_their_order(
    prepared, content, count
):
    draw = np.random.default_rng(count)
    lengths = draw.choice([0, 1, 5, 60, 700, 2500], count)
    texts = ["hello walking x " * int(length) for length in lengths]
    rows = rows_of(texts)
    found, label = ask(content, rows)
    np.testing.assert_allclose(found, expected(prepared, rows), rtol=0, atol=1e-6)
    classes = np.array(prepared.schema.classes, object)
    assert label.tolist() == classes[found.argmax(axis=1)].tolist()


def core_with_squares(width):
    """A core that, like attention, holds width x width numbers for each chunk."""
    model = ModelProto.FromString(make_core(1, fields=2))
    graph = model.graph
    single = TensorProto.FLOAT
    draw = np.random.default_rng(0).normal(size=(1, width)).astype(np.float32)
    graph.initializer.extend(
        [
            numpy_helper.from_array(draw / 1000, "spread"),
            numpy_helper.from_array(np.array([3], np.int64), "third"),
        ]
    )
    added = [
        helper.make_node("Cast", ["kept0"], ["singles"], to=single),
        helper.make_node("Unsqueeze", ["singles", "third"], ["deep"]),
        helper.make_node("MatMul", ["deep", "spread"], ["wide"]),
        helper.make_node("Transpose", ["wide"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["wide", "turned"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "third"], ["flat"], keepdims=0),
        helper.make_node("ReduceSum", ["flat", "both"], ["of_squares"], keepdims=0),
        helper.make_node("Mul", ["of_squares", "zero"], ["nothing"]),
        helper.make_node("Add", ["number", "nothing"], ["counted"]),
    ]
    place = next(n for n, node in enumerate(graph.node) if "text" in node.output)
    graph.node[place].input[0] = "counted"
    for offset, node in enumerate(added):
        graph.node.insert(place + offset, node)
    return model.SerializeToString()


def grown_by(folder, content, asked):
    """MiB that one call takes in a process of its own, and its probabilities."""
    (folder / "p.onnx").write_bytes(content)
    feeds = folder / "feeds.json"
    feeds.write_text(json.dumps([rows_of(["hello"]), asked]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", ASKED, str(folder / "p.onnx"), str(feeds)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_direct_call_is_that_of_its_longest_row(prepared, tmp_path):
    content, _ = pipeline_model(core_with_squares(64), prepared)
    long, short = "hello one " * 1000, "hello"
    one, many = rows_of([long]), rows_of([long] * 16 + [short] * 112)
    huge = rows_of(["a b " * 250_000] + [short] * 31)
    grown = {}
    for name, asked in {"one": one, "many": many, "huge cell": huge}.items():
        grown[name], found = grown_by(tmp_path, content, asked)
        if name == "many":
            wanted = expected(prepared, asked)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    # 128 rows padded to the longest would hold 128 x 4 x 512 x 512 floats: 512 MiB.
    assert grown["many"] < grown["one"] + 100, grown
    # 32 rows as wide as a million characters would be 32 x 32 MiB of strings.
    assert grown["huge cell"] < 150, grown


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("rows", [256, 1024])
def test_memory_of_a_long_cell_among_many_rows_is_what_the_docs_say(
    prepared, content, tmp_path, rows
):
    asked = rows_of(["a b " * 2**18] + ["hello"] * (rows - 1))
    grown, _ = grown_by(tmp_path, content, asked)
    # A place for each row and each block of the longest text: 0.8 bytes a character.
    assert grown < 100 + 0.8 * rows, grown


def test_a_model_in_groups_is_quantised_inside_its_loop(prepared):
    content, _ = pipeline_model(make_core_wide(), prepared)
    small = quantize(content, "model_")
    # Three bytes of four go, but each of the many columns of one matrix has a scale.
    assert len(small) < len(content) - SMALLEST_WEIGHT
    assert b"MatMulIntegerToFloat" in small
    rows = rows_of(["hello " * (n * 40) for n in range(40)])
    found, _ = ask(small, rows)
    np.testing.assert_allclose(found, expected(prepared, rows), rtol=0, atol=0.02)


def make_core_wide():
    """The usual core whose table passes a matrix that is worth quantising."""
    model = ModelProto.FromString(make_core(1, fields=2))
    graph = model.graph
    wide = np.zeros((1, SMALLEST_WEIGHT), np.float32)
    wide[0, 0] = 1
    for name, value in (("wide", wide), ("back", wide.T.copy())):
        graph.initializer.append(numpy_helper.from_array(value, name))
    place = next(
        n for n, node in enumerate(graph.node) if "table_column" in node.output
    )
    graph.node[place].output[0] = "narrow"
    graph.node.insert(
        place + 1, helper.make_node("MatMul", ["narrow", "wide"], ["far"])
    )
    graph.node.insert(
        place + 2, helper.make_node("MatMul", ["far", "back"], ["table_column"])
    )
    return model.SerializeToString()
