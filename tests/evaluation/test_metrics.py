import numpy as np
import pytest
from sklearn import metrics as sk

from tabweave.errors import ArtifactError
from tabweave.evaluation.metrics import compute_metrics
from tabweave.statistics.classification import METRICS

BINARY = ("no", "yes")


def random_case(seed, classes):
    """Random rows; often with ties, rare classes or classes that never occur."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(2, 400))
    occurring = rng.choice(classes, rng.integers(2, classes + 1), replace=False)
    shares = rng.dirichlet(np.full(len(occurring), rng.choice([0.3, 5.0])))
    labels = rng.choice(occurring, rows, p=shares)
    labels[:2] = occurring[:2]
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += rng.choice([0.0, 1.0, 4.0])
    if seed % 3 == 0:
        logits = np.round(logits)
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32), labels


def computed(probabilities, labels, classes=BINARY, positive=1, metrics=METRICS):
    return compute_metrics(
        probabilities,
        np.asarray(labels),
        metrics=metrics,
        classes=classes,
        positive_index=positive,
        stage="test",
    )


def assert_values(result, expected):
    for name, value in expected.items():
        assert result.values[f"test/{name}"] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("seed", range(60))
def test_binary_metrics_are_those_of_scikit_learn(seed, positive):
    probabilities, labels = random_case(seed, 2)
    predicted = probabilities.argmax(axis=1)
    expected = {
        "auroc": sk.roc_auc_score(labels == positive, probabilities[:, positive]),
        "average_precision": sk.average_precision_score(
            labels == positive, probabilities[:, positive]
        ),
        "f1_score": sk.f1_score(labels, predicted, pos_label=positive),
        "recall": sk.recall_score(labels, predicted, pos_label=positive),
        "accuracy": sk.accuracy_score(labels, predicted),
    }
    for index, label in enumerate(BINARY):
        expected[f"average_precision/{label}"] = sk.average_precision_score(
            labels == index, probabilities[:, index]
        )
    result = computed(probabilities, labels, positive=positive)
    assert_values(result, expected)
    if (predicted == positive).any():
        precision = sk.precision_score(labels, predicted, pos_label=positive)
        assert_values(result, {"precision": precision})
        assert result.reasons == {}
    else:
        assert result.values["test/precision"] is None
        assert set(result.reasons) == {"test/precision"}


@pytest.mark.parametrize("seed", range(60))
def test_multiclass_metrics_are_those_of_scikit_learn(seed):
    classes = tuple("abcdefg"[: 3 + seed % 5])
    probabilities, labels = random_case(seed, len(classes))
    predicted = probabilities.argmax(axis=1)
    macro = {"average": "macro", "zero_division": 0}
    present = np.unique(labels)
    one_vs_rest = [(labels == index, probabilities[:, index]) for index in present]
    precisions = [sk.average_precision_score(*pair) for pair in one_vs_rest]
    expected = {
        "auroc": np.mean([sk.roc_auc_score(*pair) for pair in one_vs_rest]),
        "average_precision": np.mean(precisions),
        "f1_score": sk.f1_score(labels, predicted, **macro),
        "precision": sk.precision_score(labels, predicted, **macro),
        "recall": sk.recall_score(labels, predicted, **macro),
        "accuracy": sk.accuracy_score(labels, predicted),
    }
    for index, value in zip(present, precisions, strict=True):
        expected[f"average_precision/{classes[index]}"] = value
    result = computed(probabilities, labels, classes)
    assert_values(result, expected)
    absent = [label for index, label in enumerate(classes) if index not in present]
    assert set(result.reasons) == {f"test/average_precision/{a}" for a in absent}
    for label in absent:
        name = f"test/average_precision/{label}"
        assert result.values[name] is None
        assert result.reasons[name] == f"no row has the label {label!r}"


def test_many_rows_keep_twelve_digits():
    rng = np.random.default_rng(0)
    labels = (rng.random(200_000) < 0.02).astype(np.int64)
    positive = 1 / (1 + np.exp(-(rng.normal(size=200_000) + labels)))
    probabilities = np.stack([1 - positive, positive], axis=1).astype(np.float32)
    assert_values(
        computed(probabilities, labels, metrics=("auroc", "average_precision")),
        {
            "auroc": sk.roc_auc_score(labels, probabilities[:, 1]),
            "average_precision": sk.average_precision_score(
                labels, probabilities[:, 1]
            ),
        },
    )


@pytest.mark.parametrize("classes", [BINARY, ("a", "b", "c")])
@pytest.mark.parametrize("only", [0, 1])
def test_one_class_defines_an_accuracy_and_nothing_else(classes, only):
    probabilities, _ = random_case(1, len(classes))
    labels = np.full(len(probabilities), only)
    result = computed(probabilities, labels, classes)
    defined = {name for name, value in result.values.items() if value is not None}
    assert defined == {"test/accuracy"}
    why = f"every row has the label {classes[only]!r}"
    assert result.reasons["test/auroc"] == why
    assert result.reasons[f"test/average_precision/{classes[only]}"] == why
    other = f"test/average_precision/{classes[1 - only]}"
    assert result.reasons[other] == f"no row has the label {classes[1 - only]!r}"
    assert set(result.reasons) == set(result.values) - defined


def test_without_rows_nothing_is_defined():
    result = computed(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))
    assert set(result.values.values()) == {None}
    assert set(result.reasons.values()) == {"there are no rows"}


def test_a_tie_goes_to_the_first_class():
    probabilities = np.full((4, 2), 0.5, np.float32)
    result = computed(probabilities, [0, 1, 0, 1])
    assert result.values["test/recall"] == 0.0
    assert result.values["test/f1_score"] == 0.0
    assert result.values["test/precision"] is None
    assert result.values["test/auroc"] == 0.5
    assert computed(probabilities, [0, 1, 0, 1], positive=0).values["test/recall"] == 1


def test_only_what_was_asked_for_is_given_and_every_class_always():
    probabilities, labels = random_case(2, 2)
    result = computed(probabilities, labels, metrics=("recall",))
    assert list(result.values) == [
        "test/recall",
        "test/average_precision/no",
        "test/average_precision/yes",
    ]


def test_a_frozen_array_is_left_alone():
    probabilities, labels = random_case(3, 2)
    before = probabilities.copy()
    probabilities.setflags(write=False)
    labels.setflags(write=False)
    computed(probabilities, labels)
    assert np.array_equal(probabilities, before)


def test_unusable_numbers_are_refused():
    probabilities, labels = random_case(4, 2)
    with pytest.raises(ArtifactError, match="shape"):
        computed(probabilities, labels, ("a", "b", "c"))
    broken = probabilities.copy()
    broken[1, 0] = np.nan
    with pytest.raises(ArtifactError, match=r"1 rows have .* the first is row 2"):
        computed(broken, labels)
    with pytest.raises(ArtifactError, match=r"Labels have shape .* float64"):
        computed(probabilities, labels + 0.5)
    with pytest.raises(ArtifactError, match="Row 1 has label number"):
        computed(probabilities, labels + 2)
