"""A small pipeline.onnx whose answers a test can work out by hand, and its bundle."""

import json
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tabweave.bundle import BundleParts, Sample, write_bundle
from tabweave.schema import DataSchema
from tabweave.tables.cells import CellRules

CLASSES = ("no", "yes")
SHOPS = {"a": 0.5, "b": -0.25, "": 0.125}
VOWELS = "aeiouäé日"
PRICE_WEIGHT, INT8_PRICE_WEIGHT = -0.03, -0.3
"""Of pipeline.onnx and pipeline.int8.onnx: an answer tells which of them gave it."""
SCHEMA = DataSchema(
    id="id",
    label="y",
    text=("note",),
    categorical=("shop",),
    numeric=("price", "unread"),
    group="customer",
    classes=CLASSES,
    positive_label="yes",
)
INPUTS = [
    {"name": "note", "column": "note", "kind": "text"},
    {"name": "in_shop", "column": "shop", "kind": "categorical"},
    {"name": "price", "column": "price", "kind": "numeric"},
]


def answer(note, shop, price, weight=PRICE_WEIGHT):
    """[P(no), P(yes)] of one row, without ONNX; price None or NaN is missing."""
    price = 2.0 if price is None or math.isnan(price) else price
    vowels = sum(note.count(vowel) for vowel in VOWELS)
    logit = 0.1 * vowels + SHOPS.get(shop, 0.0) + weight * price
    low = math.exp(-abs(logit))
    likely, unlikely = 1 / (1 + low), low / (1 + low)
    return [unlikely, likely] if logit > 0 else [likely, unlikely]


def answers(rows, weight=PRICE_WEIGHT):
    """Shape [rows, classes]: `answer` of each row."""
    return np.array([answer(r["note"], r["shop"], r["price"], weight) for r in rows])


@contextmanager
def as_someone_else():
    """Root may read everything, so a test of permissions is nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except PermissionError:
        pytest.skip("needs the right to become another user")
    try:
        yield
    finally:
        os.seteuid(0)


def make_graph(*, nodes=(), inputs=INPUTS, weight=PRICE_WEIGHT):
    """The graph as onnx objects; further nodes change nothing of its answers."""
    from onnx import TensorProto, helper, numpy_helper

    string, single = TensorProto.STRING, TensorProto.FLOAT
    values = {
        "blank": np.array([" "], object),
        "price_of_missing": np.array(2.0, np.float32),
        "price_weight": np.array(weight, np.float32),
        "axis": np.array([1], np.int64),
    }

    def node(kind, given, out, domain="", **attributes):
        return helper.make_node(kind, given, [out], domain=domain, **attributes)

    def lookup(given, out, keys, numbers):
        return node(
            "LabelEncoder",
            [given],
            out,
            "ai.onnx.ml",
            keys_strings=list(keys),
            values_floats=list(numbers),
            default_float=0.0,
        )

    every = [
        node("StringConcat", ["note", "blank"], "padded"),
        node(
            "Tokenizer",
            ["padded"],
            "characters",
            "com.microsoft",
            mark=0,
            pad_value="",
            separators=[""],
            mincharnum=1,
        ),
        lookup("characters", "weights", VOWELS, [0.1] * len(VOWELS)),
        node("ReduceSum", ["weights", "axis"], "of_text", keepdims=0),
        lookup("in_shop", "of_shop", SHOPS, SHOPS.values()),
        node("IsNaN", ["price"], "gap"),
        node("Where", ["gap", "price_of_missing", "price"], "filled"),
        node("Mul", ["filled", "price_weight"], "of_price"),
        node("Sum", ["of_text", "of_shop", "of_price"], "logit"),
        node("Sub", ["logit", "logit"], "zero"),
        node("Unsqueeze", ["logit", "axis"], "yes"),
        node("Unsqueeze", ["zero", "axis"], "no"),
        node("Concat", ["no", "yes"], "logits", axis=1),
        node("Softmax", ["logits"], "probabilities", axis=1),
        node("ArgMax", ["probabilities"], "most", axis=1, keepdims=0),
        node(
            "LabelEncoder",
            ["most"],
            "label",
            "ai.onnx.ml",
            keys_int64s=[0, 1],
            values_strings=list(CLASSES),
        ),
        *nodes,
    ]
    kinds = {"text": string, "categorical": string, "numeric": single}
    given = [
        helper.make_tensor_value_info(one["name"], kinds[one["kind"]], ["batch"])
        for one in inputs
    ]
    out = [
        helper.make_tensor_value_info("probabilities", single, ["batch", 2]),
        helper.make_tensor_value_info("label", string, ["batch"]),
    ]
    weights = [numpy_helper.from_array(v, name) for name, v in values.items()]
    info = helper.make_tensor_value_info("characters", string, ["batch", "chars"])
    return helper.make_graph(every, "pipeline", given, out, weights, value_info=[info])


def make_model(*, graph=None, metadata=None, inputs=INPUTS, functions=(), domains=()):
    """The graph as a model, with the metadata of the contract."""
    from onnx import helper

    versions = {"": 20, "ai.onnx.ml": 4, "com.microsoft": 1} | dict.fromkeys(domains, 1)
    model = helper.make_model(
        graph or make_graph(inputs=inputs),
        opset_imports=[helper.make_opsetid(*pair) for pair in versions.items()],
        ir_version=10,
        functions=list(functions),
    )
    contract = {
        "format": 1,
        "inputs": inputs,
        "outputs": {"probabilities": "probabilities", "label": "label"},
        "classes": list(CLASSES),
        "schema": SCHEMA.model_dump(mode="json"),
    }
    helper.set_model_props(model, {"tabweave": json.dumps(metadata or contract)})
    return model


@dataclass(frozen=True)
class BundleKit:
    """What the tests of bundles and of scoring build with."""

    parts: BundleParts

    def write(self, folder, **changes):
        """Writes a bundle, some of its parts replaced; gives the folder."""
        write_bundle(Path(folder), replace(self.parts, **changes))
        return Path(folder)

    def write_int8(self, folder, *, shift=0.0, **changes):
        """The same with pipeline.int8.onnx, whose sample answers are off by `shift`."""
        model = make_model(graph=make_graph(weight=INT8_PRICE_WEIGHT))
        asked = answers(SAMPLE_ROWS, INT8_PRICE_WEIGHT) + np.array([shift, -shift])
        parts = {
            "quantized": {"pipeline.int8.onnx": model.SerializeToString()},
            "sample": Sample.of(SAMPLE_ROWS, CLASSES, answers(SAMPLE_ROWS), asked),
        }
        return self.write(folder, **{**parts, **changes})

    model = staticmethod(make_model)
    graph = staticmethod(make_graph)
    answer = staticmethod(answer)
    answers = staticmethod(answers)
    int8_weight = INT8_PRICE_WEIGHT
    schema = SCHEMA
    inputs = INPUTS


SAMPLE_ROWS = [
    {"id": "1", "note": "where is it", "shop": "a", "price": 3.5},
    {"id": "2", "note": "", "shop": "", "price": None},
    {"id": "3", "note": "日本 ä", "shop": "unseen", "price": 0.1},
]


@pytest.fixture(scope="session")
def bundle_kit():
    """Parts of a good bundle, and the makers of its pipeline.onnx."""
    model = make_model().SerializeToString()
    asked = answers(SAMPLE_ROWS)
    return BundleKit(
        BundleParts(
            model=model,
            pipeline=model,
            tokenizers={"note": '{"model": {"vocab": {"a": 0}}}'},
            imputer={"columns": {}},
            risk_tables={"columns": {}},
            scaler={"features": {}},
            impute_dict={"price": 2.0},
            risk_table_map={},
            schema=SCHEMA,
            rules=CellRules(null_values=("", "NA")),
            metrics={"test/auroc": 0.75},
            export_report={"mismatches": 0},
            sample=Sample.of(SAMPLE_ROWS, CLASSES, asked),
            card="# A model\n",
        )
    )


@pytest.fixture(scope="session")
def good_bundle(bundle_kit, tmp_path_factory):
    """A good bundle; do not change it."""
    return bundle_kit.write(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="session")
def int8_bundle(bundle_kit, tmp_path_factory):
    """A good bundle that holds pipeline.int8.onnx, too; do not change it."""
    return bundle_kit.write_int8(tmp_path_factory.mktemp("bundle") / "int8")
