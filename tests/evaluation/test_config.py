import pytest
from pydantic import ValidationError

from tabweave.evaluation.config import EvaluationConfig
from tabweave.statistics.classification import METRICS


def test_all_metrics_are_computed_by_default():
    config = EvaluationConfig()
    assert config.metrics == METRICS
    assert len(METRICS) == 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"metrics": ["auc"]},
        {"metrics": []},
        {"confidence_level": 1.0},
        {"confidence_level": 0.0},
        {"bootstrap_samples": 0},
        {"baseline_max_rows": 0},
        {"seed": -1},
        {"bootstraps": 5},
    ],
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        EvaluationConfig(**wrong)


def test_a_metric_named_twice_is_refused():
    with pytest.raises(ValidationError, match=r"\['recall'\] are named twice"):
        EvaluationConfig(metrics=("recall", "auroc", "recall"))
