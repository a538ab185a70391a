"""The parameter group refuses what cannot be meant."""

import pytest
from pydantic import ValidationError

from tabweave.schema import DataSchema
from tabweave.tabular.config import RiskSettings, TabularConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"imputation": "zero"},
        {"imputation_by_column": {"price": "most_frequent"}},
        {"imputation_constant": float("nan")},
        {"imputation_constant": 1e39},
        {"missing_indicators": "yes"},
        {"smooth_factor": -0.1},
        {"smooth_factor": float("inf")},
        {"count_threshold": -1},
        {"cross_fit": 0},
        {"seed": -1},
        {"seed": 2**63},
        {"smoothing": 1},
    ],
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        TabularConfig(**wrong)


def test_a_group_without_folds_is_refused_and_names_both_keys():
    with pytest.raises(ValidationError, match=r"group 'seller' .* cross_fit 1"):
        TabularConfig(group="seller", cross_fit=1)


def test_the_risk_part_carries_every_setting_of_risk_tables():
    config = TabularConfig(
        smooth_factor=0.5, count_threshold=2, cross_fit=3, group="g", seed=9
    )
    assert config.risk == RiskSettings(
        smooth_factor=0.5, count_threshold=2, cross_fit=3, group="g", seed=9
    )
    assert type(config.risk) is RiskSettings


def test_two_configurations_do_not_share_their_mapping():
    assert TabularConfig().imputation_by_column is not (
        TabularConfig().imputation_by_column
    )


def test_what_pre_computed_values_leave_without_effect_is_refused():
    with pytest.raises(ValidationError, match=r"imputation_by_column has no effect"):
        TabularConfig(precomputed_imputation=True, imputation_by_column={"a": "mean"})
    with pytest.raises(ValidationError, match=r"group 'seller' has no effect"):
        TabularConfig(precomputed_risk_tables=True, group="seller")
    TabularConfig(precomputed_risk_tables=True, imputation_by_column={"a": "mean"})
    TabularConfig(precomputed_imputation=True, group="seller")


def test_nothing_is_pre_computed_unless_asked_for():
    config = TabularConfig()
    assert not config.precomputed_imputation
    assert not config.precomputed_risk_tables
    assert not config.selected_features


def test_the_group_of_the_data_keeps_folds_together_unless_another_is_named():
    schema = DataSchema(
        id="i", label="y", group="customer", classes=("0", "1"), positive_label="1"
    )
    assert TabularConfig().risk_of(schema).group == "customer"
    assert TabularConfig(group="shop").risk_of(schema).group == "shop"
    assert TabularConfig(cross_fit=1).risk_of(schema).group is None
