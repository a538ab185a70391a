"""What is logged while training is what a report would say, within single precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.evaluation.metrics import compute_metrics
from tabweave.statistics.classification import METRICS
from tabweave.training.measures.torch_metrics import logged


@st.composite
def answers(draw):
    """Probabilities that tie or not, of all classes, some or one."""
    classes = draw(st.integers(2, 6))
    rows = draw(st.integers(0, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = draw(st.sets(st.integers(0, classes - 1), min_size=1))
    labels = rng.choice(sorted(present), rows)
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += draw(st.sampled_from([0.0, 1.0, 4.0]))
    logits[:, 0] += draw(st.sampled_from([0.0, 9.0]))
    logits = np.round(logits, draw(st.sampled_from([0, 1, 9])))
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32), labels.astype(np.int64)


@settings(deadline=None, max_examples=50)
@given(answers(), st.data())
def test_both_give_the_same_metrics_and_the_same_reasons(drawn, data):
    probabilities, labels = drawn
    classes = probabilities.shape[1]
    options = {
        "metrics": METRICS,
        "classes": [f"class {n}" for n in range(classes)],
        "positive_index": data.draw(st.integers(0, classes - 1)),
        "stage": "val",
    }
    reported = compute_metrics(probabilities, labels, **options)
    found = compute_metrics(probabilities, labels, values_of=logged, **options)
    assert found.reasons == reported.reasons
    assert list(found.values) == list(reported.values)
    defined = {k: v for k, v in reported.values.items() if v is not None}
    assert {k: found.values[k] for k in defined} == pytest.approx(defined, abs=1e-6)


def test_both_agree_on_many_rows_of_a_rare_class():
    rng = np.random.default_rng(0)
    labels = (rng.random(200_000) < 0.02).astype(np.int64)
    positive = 1 / (1 + np.exp(-(rng.normal(size=200_000) + labels)))
    probabilities = np.stack([1 - positive, positive], axis=1).astype(np.float32)
    reported, found = (
        compute_metrics(
            probabilities,
            labels,
            metrics=METRICS,
            classes=["no", "yes"],
            positive_index=1,
            stage="val",
            **given,
        )
        for given in ({}, {"values_of": logged})
    )
    assert found.values == pytest.approx(reported.values, abs=1e-6)
