"""The feature table: its columns, its rows, and what it was allowed to learn from."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from tabweave.errors import ArtifactError, SchemaError
from tabweave.preparation.features import (
    feature_sources,
    fit_tabular,
    fit_train_scaler,
    train_features,
    transform_features,
)
from tabweave.schema import DataSchema
from tabweave.storage.artifacts import dump_json
from tabweave.tabular import (
    Imputer,
    RiskTables,
    Scaler,
    TabularConfig,
)

BINARY = DataSchema(
    id="order",
    label="fraud",
    text=("message",),
    categorical=("shop", "channel"),
    numeric=("price", "age"),
    classes=("0", "1"),
    positive_label="1",
)
THREE = BINARY.model_copy(update={"classes": ("a", "b", "c"), "positive_label": "c"})
SCHEMAS = pytest.mark.parametrize("schema", [BINARY, THREE], ids=["binary", "three"])


def table(schema, n=600, seed=0):
    rng = np.random.default_rng(seed)
    price = rng.lognormal(3, 1, n)
    price[::11] = np.nan
    return pa.table(
        {
            "fraud": rng.choice(schema.classes, n),
            "age": pa.array(rng.normal(40, 9, n), pa.float32()),
            "price": pa.array(price, pa.float32(), from_pandas=True),
            "shop": rng.integers(0, 30, n).astype(str),
            "channel": rng.choice(["", "web", "app"], n),
            "message": ["hello"] * n,
            "order": [f"o{seed}-{i}" for i in range(n)],
        }
    )


def parts(fitted):
    return fitted.imputer, fitted.risk_tables, fitted.scaler


def written(fitted):
    return [dump_json(part.to_json()) for part in parts(fitted)]


@SCHEMAS
def test_columns_have_the_names_types_and_order_of_the_contract(schema):
    train, val = table(schema), table(schema, 50, 1)
    fitted = fit_tabular(train, schema, TabularConfig())
    per_class = [""] if schema is BINARY else [":a", ":b", ":c"]
    expected = [
        "num:price",
        "num:age",
        *[f"cat:shop{c}" for c in per_class],
        *[f"cat:channel{c}" for c in per_class],
        "missing:price",
    ]
    for found, source in [
        (train_features(train, schema, *parts(fitted)), train),
        (transform_features(val, schema, *parts(fitted)), val),
    ]:
        assert found.column_names == ["id", "label", *expected]
        assert found.schema.types == [
            pa.string(),
            pa.int64(),
            *[pa.float32()] * len(expected),
        ]
        assert found["id"].to_pylist() == source["order"].to_pylist()
        assert found["label"].to_pylist() == [
            schema.classes.index(label) for label in source["fraud"].to_pylist()
        ]
        assert all(column.null_count == 0 for column in found.columns)
        assert all(np.isfinite(found[name].to_numpy()).all() for name in expected)
    assert list(feature_sources(schema, *parts(fitted)[:2])) == expected


@SCHEMAS
def test_train_comes_out_standardised_and_indicators_stay_0_and_1(schema):
    train = table(schema)
    fitted = fit_tabular(train, schema, TabularConfig())
    found = train_features(train, schema, *parts(fitted))
    for name in found.column_names[2:]:
        values = found[name].to_numpy().astype(np.float64)
        if name.startswith("missing:"):
            gaps = train["price"].is_null().to_numpy()
            np.testing.assert_array_equal(values, gaps)
        else:
            assert abs(values.mean()) < 1e-6
            assert values.std() == pytest.approx(1, abs=1e-5)


def test_train_rows_have_other_risk_values_than_later_rows_alike():
    train = table(BINARY)
    fitted = fit_tabular(train, BINARY, TabularConfig())
    own = train_features(train, BINARY, *parts(fitted))
    later = transform_features(train, BINARY, *parts(fitted))
    assert own["num:price"] == later["num:price"]
    assert own["cat:shop"] != later["cat:shop"]
    in_sample = fit_tabular(train, BINARY, TabularConfig(cross_fit=1))
    assert train_features(train, BINARY, *parts(in_sample)) == transform_features(
        train, BINARY, *parts(in_sample)
    )


def test_a_value_is_scaled_as_its_parts_say():
    train, test = table(BINARY), table(BINARY, 40, 2)
    fitted = fit_tabular(train, BINARY, TabularConfig(imputation="median"))
    found = transform_features(test, BINARY, *parts(fitted)).to_pylist()
    age, shop = (fitted.scaler.features[n] for n in ("num:age", "cat:shop"))
    risk = fitted.risk_tables.columns["shop"]
    for row, source in zip(found, test.to_pylist(), strict=True):
        value = risk.bins.get(source["shop"], risk.default)[0]
        assert row["cat:shop"] == pytest.approx(
            (value - shop.mean) / shop.std, rel=1e-6
        )
        assert row["num:age"] == pytest.approx(
            (source["age"] - age.mean) / age.std, rel=1e-6
        )
        assert row["missing:price"] == float(source["price"] is None)


@SCHEMAS
def test_labels_of_val_and_test_reach_no_feature(schema):
    train, test = table(schema), table(schema, 80, 5)
    fitted = fit_tabular(train, schema, TabularConfig())
    before = written(fitted)
    other = np.roll(test["fraud"].to_numpy(zero_copy_only=False), 1)
    flipped = test.set_column(0, "fraud", pa.array(other))
    first, second = (
        transform_features(t, schema, *parts(fitted)) for t in (test, flipped)
    )
    assert first["label"] != second["label"]
    assert first.drop_columns("label") == second.drop_columns("label")
    assert written(fitted) == before


@SCHEMAS
def test_order_of_train_rows_changes_no_byte(schema):
    train = table(schema)
    order = np.random.default_rng(4).permutation(len(train))
    fitted = fit_tabular(train, schema, TabularConfig())
    moved = fit_tabular(train.take(order), schema, TabularConfig())
    assert written(moved) == written(fitted)
    assert train_features(train.take(order), schema, *parts(moved)) == (
        train_features(train, schema, *parts(fitted)).take(order)
    )


def test_a_row_has_the_same_features_alone_and_among_others():
    train, test = table(BINARY), table(BINARY, 30, 6)
    fitted = parts(fit_tabular(train, BINARY, TabularConfig()))
    together = transform_features(test, BINARY, *fitted)
    for row in range(30):
        alone = transform_features(test.slice(row, 1), BINARY, *fitted)
        assert alone == together.slice(row, 1)


@SCHEMAS
def test_parts_read_back_from_json_give_the_same_features(schema):
    train, val = table(schema), table(schema, 50, 1)
    fitted = fit_tabular(train, schema, TabularConfig())
    imputer, risk_tables, scaler = (json.loads(text) for text in written(fitted))
    again = (
        Imputer.from_json(imputer),
        RiskTables.from_json(risk_tables),
        Scaler.from_json(scaler),
    )
    assert again == parts(fitted)
    for function, data in [(train_features, train), (transform_features, val)]:
        expected = function(data, schema, *parts(fitted))
        assert function(data, schema, *again) == expected
    assert fit_train_scaler(train, schema, *again[:2]) == fitted.scaler


def test_columns_without_information_become_zero():
    n = 60
    train = table(BINARY, n)
    train = train.set_column(1, "age", pa.array([0.1] * n, pa.float32()))
    train = train.set_column(2, "price", pa.nulls(n, pa.float32()))
    fitted = fit_tabular(train, BINARY, TabularConfig())
    found = train_features(train, BINARY, *parts(fitted))
    for name in ("num:age", "num:price"):
        assert np.abs(found[name].to_numpy()).max() < 1e-9
    assert set(found["missing:price"].to_pylist()) == {1.0}
    assert fitted.imputer.columns["price"].observed == 0


def test_a_schema_without_table_columns_gives_id_and_label():
    schema = BINARY.model_copy(update={"categorical": (), "numeric": ()})
    train = table(schema)
    fitted = fit_tabular(train, schema, TabularConfig())
    found = train_features(train, schema, *parts(fitted))
    assert found.column_names == ["id", "label"]
    assert found.num_rows == 600


def test_two_features_of_one_name_are_refused():
    schema = THREE.model_copy(
        update={"categorical": ("shop", "shop:a"), "classes": ("b", "a:b", "c")}
    )
    train = table(schema)
    train = train.append_column("shop:a", train["channel"])
    with pytest.raises(SchemaError, match="'cat:shop:a:b'"):
        fit_tabular(train, schema, TabularConfig())


def test_parts_fitted_on_other_columns_are_refused():
    train = table(BINARY)
    fitted = fit_tabular(train, BINARY, TabularConfig())
    other = BINARY.model_copy(update={"numeric": ("price",)})
    with pytest.raises(ArtifactError, match="Re-run the stage tabular"):
        transform_features(train, other, *parts(fitted))


def test_a_label_that_is_not_a_class_is_refused():
    train = table(BINARY)
    fitted = parts(fit_tabular(train, BINARY, TabularConfig()))
    wrong = table(BINARY, 2, 1).set_column(0, "fraud", pa.array(["1", "2"]))
    with pytest.raises(SchemaError, match=r"'fraud' holds \['2'\]"):
        transform_features(wrong, BINARY, *fitted)


def test_the_library_needs_no_torch_and_no_sklearn():
    code = (
        "import sys, tabweave.preparation.features;"
        "print(sorted({'torch', 'sklearn', 'pandas', 'kedro'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
