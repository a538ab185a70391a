"""Missing numbers become what train says, and nothing else changes."""

import json
import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.errors import ArtifactError, ConfigError, SchemaError
from tabweave.schema import DataSchema
from tabweave.storage.artifacts import dump_json
from tabweave.tabular.config import TabularConfig
from tabweave.tabular.imputation import Imputer, fit_imputer

SCHEMA = DataSchema(
    id="id", label="y", numeric=("n", "m"), classes=("0", "1"), positive_label="1"
)
NUMBERS = st.lists(st.none() | st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30)


def table(n, m=None):
    m = [1.0] * len(n) if m is None else m
    return pa.table({"n": pa.array(n, pa.float32()), "m": pa.array(m, pa.float32())})


def oracle(values, strategy, constant):
    observed = sorted(value for value in values if value is not None)
    if strategy == "constant":
        return constant
    if not observed:
        return 0.0
    if strategy == "mode":
        return max(observed, key=lambda value: (observed.count(value), -value))
    return {"mean": statistics.fmean, "median": statistics.median}[strategy](observed)


@pytest.mark.parametrize("strategy", ["mean", "median", "mode", "constant"])
@given(values=NUMBERS)
@settings(max_examples=40, deadline=None)
def test_the_value_is_that_of_a_slow_computation(strategy, values):
    config = TabularConfig(imputation=strategy, imputation_constant=-7.5)
    fitted = fit_imputer(table(values), SCHEMA, config).columns["n"]
    assert fitted.value == pytest.approx(oracle(values, strategy, -7.5), rel=1e-12)
    assert (fitted.missing, fitted.observed) == (
        values.count(None),
        len(values) - values.count(None),
    )


@given(values=NUMBERS)
@settings(max_examples=25, deadline=None)
def test_only_gaps_change(values):
    fitted = fit_imputer(table(values), SCHEMA, TabularConfig())
    filled = fitted.transform(table(values)).values["n"]
    assert filled.dtype == np.float32
    for value, found in zip(values, filled, strict=True):
        assert found == (
            np.float32(fitted.columns["n"].value) if value is None else value
        )


def test_nan_counts_as_missing():
    fitted = fit_imputer(table([1.0, float("nan"), 3.0]), SCHEMA, TabularConfig())
    assert (fitted.columns["n"].value, fitted.columns["n"].missing) == (2.0, 1)


def test_each_column_may_have_its_own_strategy():
    config = TabularConfig(imputation="median", imputation_by_column={"m": "mode"})
    fitted = fit_imputer(table([1, 2, 9], [5, 5, 1]), SCHEMA, config)
    assert fitted.to_map() == {"n": 2.0, "m": 5.0}
    assert [c.strategy for c in fitted.columns.values()] == ["median", "mode"]


def test_a_strategy_for_an_unknown_column_is_refused():
    config = TabularConfig(imputation_by_column={"N": "mode"})
    with pytest.raises(ConfigError, match=r"names 'N', .*Did you mean 'n'"):
        fit_imputer(table([1.0]), SCHEMA, config)


@pytest.mark.parametrize("strategy", ["mean", "median", "mode"])
def test_a_column_without_numbers_gets_0_and_says_so(strategy):
    config = TabularConfig(imputation=strategy)
    fitted = fit_imputer(table([None, None]), SCHEMA, config)
    column = fitted.columns["n"]
    assert (column.value, column.missing, column.observed) == (0.0, 2, 0)
    imputed = fitted.transform(table([None, 4.0]))
    assert imputed.values["n"].tolist() == [0.0, 4.0]
    assert imputed.indicators["n"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("mode", "expected"), [("auto", {"n"}), ("always", {"n", "m"}), ("never", set())]
)
def test_indicators_follow_the_gaps_of_train(mode, expected):
    config = TabularConfig(missing_indicators=mode)
    fitted = fit_imputer(table([1.0, None]), SCHEMA, config)
    later = fitted.transform(table([1.0, 2.0], [None, 3.0]))
    assert set(later.indicators) == expected
    if "m" in expected:
        assert later.indicators["m"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("strategy", ["mean", "median", "mode"])
def test_order_of_rows_changes_no_byte(strategy):
    rng = np.random.default_rng(2)
    values = rng.lognormal(0, 8, 2000).astype(np.float32)
    values[::7] = np.nan
    config = TabularConfig(imputation=strategy)
    written = {
        dump_json(fit_imputer(table(order, order), SCHEMA, config).to_json())
        for order in (values, rng.permutation(values), values[::-1].copy())
    }
    assert len(written) == 1


def test_json_gives_the_imputer_back():
    fitted = fit_imputer(table([0.1, None], [None, None]), SCHEMA, TabularConfig())
    assert Imputer.from_json(json.loads(dump_json(fitted.to_json()))) == fitted


@pytest.mark.parametrize(
    "value", [{}, {"columns": {"n": {"value": 1}}}, {"columns": 3}]
)
def test_a_damaged_imputer_is_refused(value):
    with pytest.raises(ArtifactError, match="imputer is damaged"):
        Imputer.from_json(value)


def test_a_table_without_the_column_is_refused():
    fitted = fit_imputer(table([1.0]), SCHEMA, TabularConfig())
    with pytest.raises(SchemaError, match="'m' not found"):
        fitted.transform(table([1.0]).drop_columns("m"))
