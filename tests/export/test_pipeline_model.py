import json

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest

from pipeline_fixtures import answers, make_core
from preparation_fixtures import TABLE, preparation, text_field
from tabweave.errors import ExportError
from tabweave.export.config import TABLE as TAB
from tabweave.export.graph.preprocessing import preprocessing_model
from tabweave.export.onnx_model import check_onnx_file
from tabweave.export.pipeline_model import (
    METADATA_KEY,
    build_pipeline,
    pipeline_model,
    text_names,
)
from tabweave.preparation.reference import reference_chunks, reference_features

FEATURES = (
    *("num:price", "num:age", "cat:shop:maybe", "cat:shop:no", "cat:shop:yes"),
    *("cat:plan:no", "missing:price"),
)


def raw_rows(table):
    """The rows of a table as a caller would send them."""
    return {
        name: table[name].to_numpy().astype(np.float32)
        if pa.types.is_floating(table[name].type)
        else np.array(table[name].to_pylist(), object)
        for name in table.column_names
    }


def asked(content, table, names=None):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    rows = raw_rows(table)
    feed = {one["name"]: rows[one["column"]] for one in about["inputs"]}
    assert {one.name for one in session.get_inputs()} == set(feed)
    return session.run(names or ["probabilities", "label"], feed), about


def expected_of(prepared, table):
    chunks = reference_chunks(prepared, table.select(["chat"]))
    return answers(list(chunks.values()), reference_features(prepared, table))


@pytest.mark.parametrize("opset", [20, 23])
def test_raw_rows_give_what_the_model_says_of_prepared_ones(opset, tmp_path):
    prepared = preparation(features=FEATURES)
    content, _ = pipeline_model(make_core(len(FEATURES), opset=opset), prepared)
    path = tmp_path / "pipeline.onnx"
    path.write_bytes(content)
    check_onnx_file(path)
    expected = expected_of(prepared, TABLE)
    (found, label), about = asked(content, TABLE)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert about["classes"] == ["maybe", "no", "yes"]
    assert label.tolist() == [about["classes"][n] for n in expected.argmax(axis=1)]
    for row in range(TABLE.num_rows):
        (alone, _), _ = asked(content, TABLE.slice(row, 1))
        np.testing.assert_allclose(alone[0], expected[row], rtol=0, atol=1e-6)


def test_of_equal_probabilities_the_label_is_the_first_class():
    prepared = preparation(features=("missing:price",))
    content, _ = pipeline_model(make_core(1), prepared)
    table = pa.table({"chat": [""], "price": pa.array([1.0], pa.float32())})
    ((found, label), _) = asked(content, table)
    assert len(set(found[0].tolist())) == 1
    assert label.tolist() == ["maybe"]


def test_what_was_dropped_can_be_asked_for():
    prepared = preparation(
        [text_field(max_sen_len=4, max_total_chunks=1, max_characters=15)],
        features=("missing:price",),
    )
    content, _ = pipeline_model(make_core(1), prepared)
    table = pa.table(
        {"chat": ["x x x x y y y y y y", "x"], "price": pa.array([1, 2], pa.float32())}
    )
    names = ["chat_dropped_tokens", "chat_dropped_characters"]
    (tokens, characters), about = asked(content, table, names)
    assert about["outputs"]["text"]["chat"] == {
        "dropped_tokens": names[0],
        "dropped_characters": names[1],
    }
    # 19 characters, of which 15 hold 8 letters; a chunk holds 2.
    assert tokens.tolist() == [6, 0]
    assert characters.tolist() == [4, 0]


def test_names_that_a_graph_cannot_take_are_mapped():
    chat = text_field(columns=("label", "label_index", "label_classes"))
    prepared = preparation([chat], features=("missing:price",))
    content, _ = pipeline_model(make_core(1), prepared)
    names = {one["column"]: one["name"] for one in asked_inputs(content)}
    own = {name: name for name in ("label_index", "label_classes", "price")}
    assert names == {"label": "column_label", **own}
    texts = {name: ["one"] for name in chat.columns}
    table = pa.table(texts | {"price": pa.array([1.0], pa.float32())})
    (found, _), _ = asked(content, table)
    assert found.shape == (1, 3)


def asked_inputs(content):
    (about,) = onnx.ModelProto.FromString(content).metadata_props
    assert about.key == METADATA_KEY
    return json.loads(about.value)["inputs"]


def test_parts_that_do_not_fit_are_refused():
    prepared = preparation(features=("missing:price",))
    core = onnx.ModelProto.FromString(make_core(1))
    names = [("other_ids", "other_mask")]
    other = preprocessing_model(prepared, text_names=names, table_name=TAB, opset=20)
    with pytest.raises(ExportError, match="input_ids"):
        build_pipeline(other, core)
    pairs = text_names([one.name for one in core.graph.input])
    newer = preprocessing_model(prepared, text_names=pairs, table_name=TAB, opset=23)
    with pytest.raises(ExportError, match=r"opsets \[20, 23\] differ"):
        build_pipeline(newer, core)
