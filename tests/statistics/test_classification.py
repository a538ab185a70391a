import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tabweave.errors import ArtifactError
from tabweave.statistics.classification import METRICS, Answers, predicted_classes


@st.composite
def answers(draw):
    """Coarse probabilities, so that scores tie; classes may be absent."""
    classes = draw(st.integers(2, 5))
    row = st.lists(st.integers(1, 4), min_size=classes, max_size=classes)
    rows = draw(st.lists(row, min_size=1, max_size=30))
    labels = draw(
        st.lists(st.integers(0, classes - 1), min_size=len(rows), max_size=len(rows))
    )
    weights = np.array(rows, np.float64)
    return weights / weights.sum(axis=1, keepdims=True), np.array(labels)


@settings(deadline=None, max_examples=50)
@given(answers())
def test_the_metrics_of_one_class_are_those_of_scikit_learn(drawn):
    probabilities, labels = drawn
    found = Answers(probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    assert found.value("accuracy", 0) == sk.accuracy_score(labels, predicted)
    for index in np.unique(labels) if len(np.unique(labels)) > 1 else []:
        scores, positive = probabilities[:, index], labels == index
        options = {"average": None, "labels": [index], "zero_division": np.nan}
        expected = {
            "auroc": sk.roc_auc_score(positive, scores),
            "average_precision": sk.average_precision_score(positive, scores),
            "f1_score": sk.f1_score(labels, predicted, **options)[0],
            "precision": sk.precision_score(labels, predicted, **options)[0],
            "recall": sk.recall_score(labels, predicted, **options)[0],
        }
        values = {name: found.value(name, int(index)) for name in expected}
        assert values == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("about", [0, None])
def test_one_class_and_no_row_define_no_more_than_an_accuracy(metric, about):
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8]])
    alone = Answers(probabilities, np.zeros(2, np.int64)).value(metric, about)
    assert np.isnan(alone) if metric != "accuracy" else alone == 0.5
    none = Answers(probabilities[:0], np.zeros(0, np.int64))
    assert np.isnan(none.value(metric, about))


def test_of_equal_probabilities_the_first_class_is_predicted():
    assert predicted_classes(np.array([[0.4, 0.4, 0.2]])).tolist() == [0]


def test_unusable_answers_are_refused():
    with pytest.raises(ArtifactError, match="the first is row 2"):
        Answers(np.array([[0.5, 0.5], [np.nan, 1]]), np.array([0, 1]))
    with pytest.raises(ArtifactError, match="Row 1 has label number 2"):
        Answers(np.array([[0.5, 0.5]]), np.array([2]))
