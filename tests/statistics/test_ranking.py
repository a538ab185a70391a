import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from tabweave.statistics.ranking import auroc, auroc_error, average_precision


def test_the_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(3)
    for _ in range(20):
        values, labels = rng.integers(0, 9, 60), rng.random(60) < 0.3
        found = auroc(values, labels, ~labels)
        assert found == pytest.approx(roc_auc_score(labels, values), abs=1e-12)


def test_rows_in_groups_count_as_rows():
    values, hits, misses = np.array([0.1, 0.9]), np.array([1, 3]), np.array([4, 2])
    rows = np.repeat(values, hits + misses)
    labels = np.array([1, 0, 0, 0, 0, 1, 1, 1, 0, 0])
    found = auroc(values, hits, misses)
    assert found == pytest.approx(roc_auc_score(labels, rows), abs=1e-12)


def test_the_standard_error_is_what_chance_shows():
    rng = np.random.default_rng(0)
    labels = np.arange(100) < 30
    found = [auroc(rng.random(100), labels, ~labels) for _ in range(2_000)]
    assert np.std(found) == pytest.approx(auroc_error(30, 70), rel=0.05)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=20))
def test_groups_are_their_rows_one_by_one(groups):
    values, hits, misses = np.array(groups).T
    labels = np.concatenate(
        [np.repeat([1, 0], pair) for pair in zip(hits, misses, strict=True)]
    )
    rows = np.repeat(values, hits + misses)
    found = auroc(values, hits, misses)
    if hits.sum() and misses.sum():
        assert found == pytest.approx(roc_auc_score(labels, rows), abs=1e-12)
    else:
        assert math.isnan(found)


def test_one_class_alone_is_undefined():
    assert math.isnan(auroc(np.array([1.0]), np.array([1]), np.array([0])))
    assert math.isnan(auroc(np.zeros(0), np.zeros(0), np.zeros(0)))
    assert math.isnan(auroc_error(0, 5))
    for all_or_none in (True, False):
        assert math.isnan(average_precision(np.ones(3), np.full(3, all_or_none)))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_average_precision_is_that_of_scikit_learn(rows):
    scores, positive = (np.array(column) for column in zip(*rows, strict=True))
    if 0 < positive.sum() < len(positive):
        expected = average_precision_score(positive, scores)
        assert average_precision(scores, positive) == pytest.approx(expected, abs=1e-12)
