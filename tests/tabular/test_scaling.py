"""Features come out with mean 0 and spread 1 over the rows that were fitted."""

import json

import numpy as np
import pytest

from tabweave.errors import ArtifactError
from tabweave.storage.artifacts import dump_json
from tabweave.tabular.scaling import Scaler, fit_scaler

RNG = np.random.default_rng(0)


def test_mean_and_population_spread_are_those_of_the_values():
    values = RNG.normal(1000, 3, 5000).astype(np.float32)
    scaling = fit_scaler({"num:x": values}).features["num:x"]
    assert scaling.mean == pytest.approx(values.astype(np.float64).mean(), rel=1e-12)
    assert scaling.std == pytest.approx(values.astype(np.float64).std(), rel=1e-12)


def test_the_rows_fitted_on_come_out_standardised():
    values = {"num:x": RNG.exponential(1e6, 4000), "cat:y": RNG.random(4000) / 1e6}
    for scaled in fit_scaler(values).transform(values).values():
        assert scaled.dtype == np.float32
        assert abs(scaled.astype(np.float64).mean()) < 1e-6
        assert scaled.astype(np.float64).std() == pytest.approx(1, abs=1e-6)


def test_large_values_with_a_small_spread_keep_their_digits():
    values = np.float32(2**24 - 1 - np.arange(10))
    scaled = fit_scaler({"x": values}).transform({"x": values})["x"]
    expected = (4.5 - np.arange(10)) / np.arange(10).std()
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e30, 1e-30])
def test_a_feature_that_does_not_vary_has_spread_1(constant):
    values = np.full(7, constant, np.float32)
    scaler = fit_scaler({"x": values})
    assert scaler.features["x"].std == 1.0
    assert np.abs(
        scaler.transform({"x": values})["x"] / max(1, abs(constant))
    ).max() < (1e-15)


def test_rounding_noise_is_not_blown_up_to_a_feature():
    values = 0.3 + np.array([0, 1, -1, 2]) * np.spacing(0.3)
    assert fit_scaler({"x": values}).features["x"].std == 1.0


def test_a_tiny_but_real_spread_is_kept():
    values = np.array([1e-20, 2e-20, 3e-20])
    assert fit_scaler({"x": values}).features["x"].std < 1e-19


def test_order_and_repetition_of_rows_change_no_bit():
    values = RNG.lognormal(0, 5, 3000)
    fitted = fit_scaler({"x": values})
    assert fit_scaler({"x": RNG.permutation(values)}) == fitted
    assert fit_scaler({"x": np.tile(values, 2)}) == fitted


def test_json_gives_the_scaler_back():
    fitted = fit_scaler({"num:x": RNG.normal(size=50), "cat:y": np.ones(50)})
    assert Scaler.from_json(json.loads(dump_json(fitted.to_json()))) == fitted


@pytest.mark.parametrize(
    "value", [{}, {"features": {"x": {"mean": 0}}}, {"features": 1}]
)
def test_a_damaged_scaler_is_refused(value):
    with pytest.raises(ArtifactError, match="scaler is damaged"):
        Scaler.from_json(value)


def test_a_feature_that_was_not_fitted_is_refused():
    with pytest.raises(ArtifactError, match=r"without the features \['num:new'\]"):
        fit_scaler({}).transform({"num:new": np.ones(2)})
