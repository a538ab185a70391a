import json

import numpy as np
import pyarrow as pa
import pytest

from preparation_fixtures import TABLE, preparation, text_field
from tabweave.errors import ArtifactError, ExportError
from tabweave.preparation.features import (
    feature_sources,
    transform_features,
)
from tabweave.preparation.reference import (
    Preparation,
    Source,
    input_names,
    reference_chunks,
    reference_features,
    reference_tokens,
)
from tabweave.storage.artifacts import dump_json
from tabweave.tables.files import TableFile, write_parquet
from tabweave.text import tokenize_table

ALL = ("cat:plan:yes", "num:age", "missing:price", "cat:shop:no", "num:price")


def test_columns_are_those_that_the_model_reads():
    assert preparation(features=ALL).columns() == [
        ("chat", "text"),
        ("shop", "categorical"),
        ("plan", "categorical"),
        ("price", "numeric"),
        ("age", "numeric"),
    ]
    assert preparation().columns() == [("chat", "text")]
    assert preparation((), features=["missing:price", "cat:plan:no"]).columns() == [
        ("plan", "categorical"),
        ("price", "numeric"),
    ]


def test_a_column_of_two_fields_is_read_once():
    fields = text_field("x", ("s", "t")), text_field("y", ("t", "u"))
    assert [name for name, _ in preparation(fields).columns()] == ["s", "t", "u"]


def test_features_know_where_they_come_from():
    assert preparation(features=ALL).sources() == {
        "cat:plan:yes": Source("plan", "risk", 2),
        "num:age": Source("age", "number"),
        "missing:price": Source("price", "missing"),
        "cat:shop:no": Source("shop", "risk", 1),
        "num:price": Source("price", "number"),
    }


def test_an_unknown_feature_is_refused():
    with pytest.raises(ExportError, match=r"reads the features \['num:size'\], but"):
        preparation(features=["num:size"]).sources()
    with pytest.raises(ExportError, match="missing:age"):
        preparation(features=["missing:age"]).columns()  # train had no gap there


@pytest.mark.parametrize(
    "bad", ["", "a b", "1st", "pre_x", "model_x", "label", "größe", "a-b", "x\n"]
)
def test_names_that_cannot_be_kept_are_replaced(bad):
    names = input_names(["ok", bad, "column_a_b", "column_"], ["label"])
    assert list(names) == ["ok", bad, "column_a_b", "column_"]
    assert names["ok"] == "ok"
    assert names["column_a_b"] == "column_a_b"
    assert names[bad].startswith("column_")
    assert names[bad].isascii()
    assert names[bad].isidentifier()
    assert len(set(names.values())) == 4


def test_replaced_names_differ_from_each_other():
    names = input_names(["a b", "a-b", "a.b", "column_a_b"])
    assert len(set(names.values())) == 4


def test_the_reference_is_the_text_stage(tmp_path):
    fields = (
        text_field("x", ("s", "t"), max_sen_len=5, max_characters=20),
        text_field("y", ("t",), steps=("tokenizer",), max_total_chunks=1),
    )
    texts = {
        "s": ["hello <b>", None, "[bom]one[eom][bom]two three[eom]", ""],
        "t": ["walking", "", None, "the fox & x" * 9],
    }
    table = pa.table({n: pa.array(v, pa.string()) for n, v in texts.items()})
    write_parquet(tmp_path / "t.parquet", table)
    prepared = preparation(fields)
    stage = tokenize_table(
        TableFile(tmp_path / "t.parquet"), fields, prepared.tokenizers
    ).table
    assert reference_tokens(prepared, table).equals(stage)
    found = reference_chunks(prepared, texts)
    assert found == {name: stage.column(name).to_pylist() for name in "xy"}
    assert found["x"][1] == []


def test_reference_features_are_those_of_the_tabular_stage_in_the_models_order():
    prepared = preparation(features=ALL)
    parts = prepared.schema, prepared.imputer, prepared.risk_tables
    stage = transform_features(TABLE, *parts, prepared.scaler)
    assert set(ALL) <= set(feature_sources(*parts))
    found = reference_features(prepared, TABLE.drop_columns(["id", "y"]))
    assert found.dtype == np.float32
    assert found.tolist() == [
        list(row.values()) for row in stage.select(list(ALL)).to_pylist()
    ]


def test_without_features_there_are_none():
    assert reference_features(preparation(), TABLE).shape == (len(TABLE), 0)


def test_a_preparation_reads_back_from_json_and_a_damaged_one_is_refused():
    prepared = preparation(features=ALL)
    value = json.loads(dump_json(prepared.to_json()))
    assert Preparation.from_json(value) == prepared
    assert Preparation.from_json(value).sources() == prepared.sources()
    for key in value:
        broken = {name: kept for name, kept in value.items() if name != key}
        for damage in (broken, {**value, key: 3}):
            with pytest.raises(ArtifactError, match="damaged"):
                Preparation.from_json(damage)
