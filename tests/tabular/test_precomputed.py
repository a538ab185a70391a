"""What an upstream step has computed is used as it is, or refused with every reason."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import ArtifactError, SchemaError
from tabweave.preparation.features import (
    fit_tabular,
    fit_train_scaler,
    train_features,
    transform_features,
)
from tabweave.schema import DataSchema
from tabweave.storage.artifacts import dump_json
from tabweave.tabular import (
    Imputer,
    PrecomputedFile,
    RiskTables,
    TabularConfig,
    count_categories,
    cross_fitted,
    fit_imputer,
    fit_risk_tables,
    precomputed_imputer,
    precomputed_risk_tables,
    select_columns,
)

BINARY = DataSchema(
    id="id",
    label="y",
    text=("t",),
    categorical=("shop", "kind"),
    numeric=("price", "age"),
    classes=("0", "1"),
    positive_label="1",
)
THREE = BINARY.model_copy(update={"classes": ("a", "b", "c"), "positive_label": "c"})
SCHEMAS = pytest.mark.parametrize("schema", [BINARY, THREE], ids=["binary", "three"])
PATH = Path("given") / "file.json"


def file(value):
    return PrecomputedFile(PATH, value)


def table(schema, n=600, seed=0):
    """Shops have rates of their own; kinds say nothing."""
    rng = np.random.default_rng(seed)
    shop = rng.integers(0, 8, n)
    sure = np.where(shop < 2, 0.8, 0.1) > rng.random(n)
    labels = np.where(sure, schema.classes[-1], rng.choice(schema.classes[:-1], n))
    price = rng.lognormal(3, 1, n)
    price[::9] = np.nan
    return pa.table(
        {
            "id": [f"{seed}-{i}" for i in range(n)],
            "y": labels.tolist(),
            "shop": shop.astype(str).tolist(),
            "kind": rng.choice(["", "x", "y"], n).tolist(),
            "price": pa.array(price, pa.float32(), from_pandas=True),
            "age": pa.array(rng.normal(40, 9, n), pa.float32()),
        }
    )


def fitted_map(train, schema, **options):
    counts = count_categories(train.to_batches(), schema)
    return fit_risk_tables(counts, schema, TabularConfig(**options).risk).to_map()


def copy(value):
    return json.loads(json.dumps(value))


def refusal(call, *arguments):
    with pytest.raises(ArtifactError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert str(PATH) in message
    return message


# --- what fits is used -----------------------------------------------------------------


@SCHEMAS
def test_tables_of_an_inline_fit_give_val_the_same_bits(schema):
    """With cross_fit 1 an inline fit treats train as pre-computed tables must."""
    train, val = table(schema), table(schema, 200, 1)
    inline = fit_tabular(train, schema, TabularConfig(cross_fit=1))
    imputer = precomputed_imputer(file(copy(inline.imputer.to_map())), train, schema)
    risks = precomputed_risk_tables(
        file(copy(inline.risk_tables.to_map())), train, schema
    )
    scaler = fit_train_scaler(train, schema, imputer, risks)
    assert scaler == inline.scaler
    parts = inline.imputer, inline.risk_tables, inline.scaler
    for make, rows in [(transform_features, val), (train_features, train)]:
        found = make(rows, schema, imputer, risks, scaler)
        assert found.equals(make(rows, schema, *parts))


@SCHEMAS
def test_risk_values_of_val_do_not_depend_on_who_fitted(schema):
    """Cross-fitting changes train rows alone, so here too the values are equal."""
    train, val = table(schema), table(schema, 200, 1)
    counts = count_categories(train.to_batches(), schema)
    inline = fit_risk_tables(counts, schema, TabularConfig().risk)
    given = precomputed_risk_tables(file(copy(inline.to_map())), train, schema)
    assert given.to_map() == inline.to_map()
    for name, values in given.transform(val).items():
        assert (values == inline.transform(val)[name]).all()


@SCHEMAS
def test_train_rows_get_what_all_rows_get(schema):
    train = table(schema)
    risks = precomputed_risk_tables(file(fitted_map(train, schema)), train, schema)
    assert risks.settings is None
    assert risks.group is None
    assert risks.smoothing_rows is None
    for name, values in cross_fitted(train, schema, risks).items():
        assert (values == risks.transform(train)[name]).all()
    with pytest.raises(SchemaError, match="Only rows that risk tables were fitted on"):
        cross_fitted(train.slice(1), schema, risks)


@SCHEMAS
def test_they_survive_json(schema):
    train = table(schema)
    risks = precomputed_risk_tables(file(fitted_map(train, schema)), train, schema)
    assert RiskTables.from_json(json.loads(dump_json(risks.to_json()))) == risks
    imputer = precomputed_imputer(file({"price": 1.5, "age": 2}), train, schema)
    assert Imputer.from_json(json.loads(dump_json(imputer.to_json()))) == imputer


@pytest.mark.parametrize("indicators", ["auto", "always", "never"])
def test_an_imputer_takes_values_from_the_file_and_gaps_from_train(indicators):
    train = table(BINARY)
    given = precomputed_imputer(
        file({"price": 7, "age": -1.5, "more": 3.0}), train, BINARY, indicators
    )
    inline = fit_imputer(train, BINARY, TabularConfig(missing_indicators=indicators))
    assert given.to_map() == {"price": 7.0, "age": -1.5}
    assert {c.strategy for c in given.columns.values()} == {"precomputed"}
    for name, column in given.columns.items():
        other = inline.columns[name]
        assert (column.missing, column.observed) == (other.missing, other.observed)
        assert column.missing_indicator == other.missing_indicator
    filled = given.transform(train).values["price"]
    gaps = train["price"].is_null().to_numpy()
    assert (filled[gaps] == 7).all()


def test_categories_beyond_train_and_extra_columns_are_welcome():
    train, val = table(BINARY), table(BINARY, 50, 1)
    value = fitted_map(train, BINARY)
    value["shop"]["bins"]["new"] = 0.75
    value["other"] = "anything"
    risks = precomputed_risk_tables(file(value), train, BINARY)
    new = val.set_column(2, "shop", [["new"] * 50])
    assert (risks.transform(new)["shop"] == 0.75).all()
    assert set(risks.columns) == {"shop", "kind"}


# --- what does not fit is refused, all of it at once -----------------------------------


def test_all_faults_of_an_impute_dict_are_named_at_once():
    wide = BINARY.model_copy(update={"numeric": ("price", "age", "a", "b", "c", "d")})
    value = {
        "prise": 1.0,
        "age": "41",
        "a": True,
        "b": 1e39,
        "c": float("nan"),
        "d": None,
    }
    message = refusal(precomputed_imputer, file(value), table(BINARY), wide)
    for part in (
        "column 'price' is not in it. Did you mean 'prise'? It has 'prise', 'age'",
        "column 'age': must be a number, but is '41'",
        "column 'a': must be a number, but is True",
        "column 'b': 1e+39 is not finite as float32",
        "column 'c': nan is not finite",
        "column 'd': must be a number, but is None",
    ):
        assert part in message


@pytest.mark.parametrize("value", [[], "price", None, 3, float("inf")])
def test_a_file_that_is_no_map_is_refused(value):
    for read in (precomputed_imputer, precomputed_risk_tables):
        message = refusal(read, file(value), table(BINARY), BINARY)
        assert "must map columns to values" in message


def good():
    return {"bins": {"x": 0.3, "y": 0.3, "": 0.3}, "default_bin": 0.3}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (0.5, 'must be {"bins": {category: rate}, "default_bin": rate}, but is 0.5'),
        ({"bins": {"x": 0.3}}, "but is {'bins': {'x': 0.3}}"),
        (good() | {"mode": "x"}, "must be"),
        ({"x": 0.3, "y": 0.3}, "but is {'x': 0.3, 'y': 0.3}"),
        (good() | {"bins": [0.3]}, "bins must map categories to rates"),
        ({"0": good(), "1": good()}, "two classes, which take one: that of '1'"),
        (good() | {"default_bin": None}, "'default_bin: None'"),
        (good() | {"default_bin": 1.01}, "not finite numbers from 0 to 1"),
        (good() | {"bins": {"x": -0.1, "y": 2}}, "2 rates are not .*'x: -0.1', 'y: 2'"),
        (good() | {"bins": {"x": float("nan")}}, "'x: nan'"),
        (good() | {"bins": {"x": float("inf")}}, "'x: inf'"),
        (good() | {"bins": {"x": "0.3"}}, "'x: 0.3'"),
        (good() | {"bins": {"x": True}}, "'x: True'"),
        (good() | {"bins": {}}, "Train has 'x', 'y'; bins has nothing"),
        (good() | {"bins": {"X": 0.3, "Y": 0.3}}, "has 'x', 'y'; bins has 'X', 'Y'"),
        (good() | {"bins": {1: 0.3, "x": 0.3}}, "1 keys of bins are int, such as 1"),
        (
            good() | {"bins": {None: 0.3, "x": 0.3}},
            "NoneType, .* in train 'x', 'y'. .* a missing category as ''",
        ),
    ],
)
def test_a_table_of_a_wrong_shape_is_refused(wrong, said):
    train = table(BINARY)
    value = fitted_map(train, BINARY) | {"kind": wrong}
    with pytest.raises(ArtifactError, match=f"column 'kind': .*{said}"):
        precomputed_risk_tables(file(value), train, BINARY)


def test_categories_that_are_numbers_upstream_never_match():
    """1 became 1.0 on the way: both sides are shown."""
    train = table(BINARY)
    value = fitted_map(train, BINARY)
    bins = value["shop"]["bins"]
    value["shop"]["bins"] = {f"{key}.0": rate for key, rate in bins.items()}
    message = refusal(precomputed_risk_tables, file(value), train, BINARY)
    assert "no category of train is among the keys of bins" in message
    assert "Train has '0', '1', '2'" in message
    assert "bins has '0.0', '1.0'" in message


def test_all_columns_are_named_at_once():
    value = {"shap": good(), "kind": 3}
    message = refusal(precomputed_risk_tables, file(value), table(BINARY), BINARY)
    assert "column 'shop' is not in it. Did you mean 'shap'?" in message
    assert "column 'kind': its table must be" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t["a"], "must have one table for each class .* but has 'bins'"),
        (
            lambda t: {"a": t["a"], "b": t["b"]},
            "'a', 'b', 'c', but has 'a', 'b': it may",
        ),
        (lambda t: t | {"d": t["a"]}, "may be of another label"),
        (lambda t: {k.upper(): v for k, v in t.items()}, "but has 'A', 'B', 'C'"),
        (lambda t: 0.5, "but has 0.5"),
        (lambda t: t | {"b": 1}, "its table of class 'b' must be"),
        (
            lambda t: t | {"b": {"bins": {"x": 0.3}, "default_bin": 0.3}},
            "classes 'a' and 'b' have different categories: '', 'y' is in one",
        ),
    ],
)
def test_more_classes_need_a_table_each(change, said):
    train = table(THREE)
    value = fitted_map(train, THREE)
    value["kind"] = change(value["kind"])
    with pytest.raises(ArtifactError, match=said):
        precomputed_risk_tables(file(value), train, THREE)


# --- tables of another label -----------------------------------------------------------


def test_a_table_of_another_rate_is_refused_and_both_figures_are_named():
    train = table(BINARY)
    other = train.set_column(1, "y", [["1", *["0"] * 11] * 50])
    message = refusal(
        precomputed_risk_tables, file(fitted_map(other, BINARY)), train, BINARY
    )
    share = sum(label == "1" for label in train["y"].to_pylist()) / 600
    assert "its rates have the mean 0.08" in message
    assert f"the share of 'y' = '1' in train is {share:.4f}" in message
    assert "table of another label" in message


def test_the_table_of_the_other_class_is_refused():
    train = table(BINARY)
    flipped = BINARY.model_copy(update={"positive_label": "0"})
    value = fitted_map(train, flipped)
    message = refusal(precomputed_risk_tables, file(value), train, BINARY)
    assert "column 'shop': its rates have the mean" in message
    assert "the wrong way round for 'y' = '1'" in message


def test_of_a_balanced_label_the_order_tells():
    """The mean of both classes is 0.5, so only the order shows the swap."""
    rows = [("a", "1")] * 80 + [("a", "0")] * 20 + [("b", "1")] * 20 + [("b", "0")] * 80
    train = pa.table(
        {
            "id": [str(i) for i in range(200)],
            "y": [label for _, label in rows],
            "shop": [shop for shop, _ in rows],
        }
    )
    schema = BINARY.model_copy(update={"categorical": ("shop",), "numeric": ()})
    right = {"shop": {"bins": {"a": 0.8, "b": 0.2}, "default_bin": 0.5}}
    wrong = {"shop": {"bins": {"a": 0.2, "b": 0.8}, "default_bin": 0.5}}
    precomputed_risk_tables(file(right), train, schema)
    message = refusal(precomputed_risk_tables, file(wrong), train, schema)
    assert "AUROC 0.200" in message
    assert "mean" not in message


def test_classes_in_another_order_are_refused():
    train = table(THREE)
    value = fitted_map(train, THREE)
    for column in value.values():
        column["a"], column["c"] = column["c"], column["a"]
    message = refusal(precomputed_risk_tables, file(value), train, THREE)
    assert "'y' = 'a'" in message
    assert "'y' = 'c'" in message


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.booleans()), min_size=8, max_size=200
    ),
    st.sampled_from([0.0, 0.01, 0.3, 5.0, 100.0]),
    st.sampled_from([0, 2, 30]),
)
@settings(deadline=None, max_examples=150, derandomize=True)
def test_no_table_of_the_rows_themselves_is_refused(rows, smooth_factor, threshold):
    """However strong smoothing and threshold are, and however the rows lie."""
    train = pa.table(
        {
            "id": [str(i) for i in range(len(rows))],
            "y": ["1" if positive else "0" for _, positive in rows],
            "shop": [shop for shop, _ in rows],
        }
    )
    schema = BINARY.model_copy(update={"categorical": ("shop",), "numeric": ()})
    value = fitted_map(
        train, schema, smooth_factor=smooth_factor, count_threshold=threshold
    )
    assert precomputed_risk_tables(file(value), train, schema).to_map() == value


@pytest.mark.parametrize("seed", range(1, 6))
@SCHEMAS
def test_a_table_of_other_rows_of_the_same_kind_fits(schema, seed):
    value = fitted_map(table(schema, 400, seed), schema)
    precomputed_risk_tables(file(value), table(schema), schema)


# --- selected columns ------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [list, lambda names: {"selected_features": names}])
def test_a_selection_keeps_the_order_of_the_schema(wrap):
    found = select_columns(BINARY, file(wrap(["age", "shop", "price"])))
    assert found == BINARY.model_copy(update={"categorical": ("shop",)})
    assert select_columns(BINARY, None) is BINARY
    assert select_columns(BINARY, file(wrap(["age"]))).categorical == ()


@pytest.mark.parametrize(
    "value", [[], {}, None, "age", 3, {"selected_features": []}, {"features": ["age"]}]
)
def test_a_selection_of_a_wrong_shape_is_refused(value):
    assert "must be a list of column names" in refusal(
        select_columns, BINARY, file(value)
    )


def test_all_faults_of_a_selection_are_named_at_once():
    names = ["shopp", "t", "id", "y", 3, ["age"], "age", "age"]
    message = refusal(select_columns, BINARY, file(names))
    assert "column 'shopp' is neither under data.categorical" in message
    assert "Did you mean 'shop'? Known: 'shop', 'kind', 'price', 'age'." in message
    for name in ("t", "id", "y"):
        assert f"'{name}' is the id, the label or a text" in message
    assert "column 3 is neither" in message
    assert "column ['age'] is neither" in message
    assert message.count("'age' is named more than once") == 1


def test_only_selected_columns_become_features():
    train = table(BINARY)
    schema = select_columns(BINARY, file(["shop", "age"]))
    fitted = fit_tabular(train, schema, TabularConfig())
    found = train_features(
        train, schema, fitted.imputer, fitted.risk_tables, fitted.scaler
    )
    assert found.column_names == ["id", "label", "num:age", "cat:shop"]
    whole = fit_tabular(train, BINARY, TabularConfig())
    parts = whole.imputer, whole.risk_tables, whole.scaler
    every = train_features(train, BINARY, *parts)
    assert found.equals(every.select(found.column_names))
