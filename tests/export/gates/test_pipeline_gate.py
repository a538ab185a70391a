import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import tabweave.export.graph.markup_graph as markup_graph
from pipeline_fixtures import answers, make_core
from preparation_fixtures import preparation
from tabweave.export.bundle_sample import without_rows
from tabweave.export.config import ExportConfig
from tabweave.export.gates.pipeline_gate import export_pipeline
from tabweave.preparation.reference import reference_chunks, reference_features
from tabweave.text import cleaning

CONFIG = ExportConfig(pipeline_single_rows=5)
FEATURES = ("num:price", "cat:shop:no", "missing:price")
TABLE = pa.table(
    {
        "chat": [*["hello &amp; one <b>two</b>", "", "the fox"] * 20, "x"],
        "shop": [*["de", "", "never seen"] * 20, "fr"],
        "plan": ["a"] * 61,
        "price": pa.array([*[1.5, None, 3.0] * 20, -2.0], pa.float32()),
        "age": pa.array([1.0] * 61, pa.float32()),
    }
)


def said(prepared):
    chunks = reference_chunks(prepared, TABLE.select(["chat"]))
    return answers(list(chunks.values()), reference_features(prepared, TABLE))


@pytest.fixture(scope="module")
def prepared():
    return preparation(features=FEATURES)


@pytest.fixture(scope="module")
def core():
    return make_core(len(FEATURES))


def test_a_pipeline_that_says_the_same_is_given_with_its_proof(
    core, prepared, tmp_path
):
    made = export_pipeline(core, prepared, (TABLE, said(prepared)), CONFIG, tmp_path)
    report = made.report
    assert len(made.content) == report["bytes"] > 0
    assert report["refused"] is None
    compared = report["tokens"]
    assert compared["val"]["texts"] == 61
    assert compared["fuzzed texts"]["texts"] == 2000
    assert compared["code points"]["texts"] > 140_000
    assert not any(one["mismatches"] for one in compared.values())
    assert set(report["probabilities"]) == {
        "all rows in mixed batches",
        "5 rows one by one",
    }
    assert max(report["probabilities"].values()) <= 1e-6
    # The proof of the vocabulary is remembered, that of the rows is not.
    again = export_pipeline(core, prepared, (TABLE, said(prepared)), CONFIG, tmp_path)
    assert again.content == made.content
    later = dict(again.report["tokens"])
    proven = later.pop("code points, proven earlier")
    assert proven == compared["code points"]
    assert set(later) == set(compared) - {"code points"}


@pytest.mark.parametrize("value", [0.001, np.nan])
def test_other_probabilities_refuse_it_with_the_figure(
    core, prepared, tmp_path, value, caplog
):
    expected = said(prepared)
    expected[60, 1] += value
    made = export_pipeline(core, prepared, (TABLE, expected), CONFIG, tmp_path)
    assert made.content == b""
    assert "differ from PyTorch by up to" in made.report["refused"]
    assert made.report["refused"] in caplog.text


def test_a_rule_that_the_graph_does_not_know_refuses_it_by_text_and_ids(
    core, prepared, tmp_path, monkeypatch, caplog
):
    named = {name: x for name, x in cleaning.NAMED.items() if name != "amp"}
    rules = SimpleNamespace(**(vars(cleaning) | {"NAMED": named}))
    monkeypatch.setattr(markup_graph, "cleaning", rules)
    made = export_pipeline(core, prepared, (TABLE, said(prepared)), CONFIG, tmp_path)
    assert made.content == b""
    refused = made.report["refused"]
    assert "20 of 61 texts (val) differ" in refused
    # The reason goes into the bundle, which holds no text of val.
    assert "hello &amp; one" not in refused
    assert "Text 'hello &amp; one <b>two</b>' gives [[" in caplog.text
    assert "hello &amp; one" in made.report["tokens"]["val"]["first"]["text"]
    reports = without_rows({"pipeline.onnx": made.report})
    assert "hello" not in json.dumps(reports)
    assert reports["pipeline.onnx"]["tokens"]["val"]["mismatches"] == 20


def test_a_tokenizer_of_another_kind_is_refused_by_name(core, tmp_path, prepared):
    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "h": 4}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    other = preparation(features=FEATURES, tokenizers=tokenizer.to_str())
    made = export_pipeline(core, other, (TABLE, said(prepared)), CONFIG, tmp_path)
    assert made.content == b""
    assert "text field 'chat'" in made.report["refused"]
    assert "model.onnx and tokenizer.json" in made.report["refused"]


def test_a_table_alone_needs_no_tokens(tmp_path):
    prepared = preparation([], tokenizers={}, features=FEATURES)
    table = TABLE.select(["shop", "plan", "price", "age"])
    features = reference_features(prepared, table)
    expected = answers([], features)
    made = export_pipeline(
        make_core(len(FEATURES), fields=0),
        prepared,
        (table, expected),
        CONFIG,
        tmp_path,
    )
    assert made.report["refused"] is None
    assert made.report["tokens"] == {}
