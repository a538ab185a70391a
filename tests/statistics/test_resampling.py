import time
from math import erf

import numpy as np
import pytest
from sklearn import metrics as sk

from tabweave.errors import ArtifactError
from tabweave.statistics import resampling
from tabweave.statistics.classification import METRICS, Answers
from tabweave.statistics.resampling import Resampling


def interval(metric, probabilities, labels, about=1, **how):
    statistic = Answers(probabilities, labels).statistic(metric, about)
    return statistic.interval(Resampling(**how))


def difference(metric, one, other, labels, about=1, **how):
    first, second = (Answers(p, labels).statistic(metric, about) for p in (one, other))
    return first.difference(second, Resampling(**how))


def scored(rows, classes=2, signal=1.0, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += signal
    if ties:
        logits = np.round(logits)
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32), labels


def plain(metric, probabilities, labels, positive):
    """The metric of some rows by scikit-learn; NaN where they do not define it."""
    predicted = probabilities.argmax(axis=1)
    if metric == "accuracy":
        return sk.accuracy_score(labels, predicted)
    present = np.unique(labels)
    if len(present) < 2 or (positive is not None and positive not in present):
        return np.nan
    if metric in ("auroc", "average_precision"):
        score = sk.roc_auc_score if metric == "auroc" else sk.average_precision_score
        chosen = present if positive is None else [positive]
        return np.mean([score(labels == i, probabilities[:, i]) for i in chosen])
    score = {
        "f1_score": sk.f1_score,
        "precision": sk.precision_score,
        "recall": sk.recall_score,
    }[metric]
    if positive is None:
        return score(labels, predicted, average="macro", zero_division=0)
    return score(labels == positive, predicted == positive, zero_division=np.nan)


def plain_resamples(metric, probabilities, labels, positive, samples, seed):
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(labels), (samples, len(labels)))
    return np.array(
        [plain(metric, probabilities[r], labels[r], positive) for r in drawn]
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("classes", "positive"), [(2, 1), (2, 0), (4, None), (4, 2)], ids=str
)
@pytest.mark.parametrize(("rows", "samples"), [(25, 60), (5, 4)])
@pytest.mark.parametrize("ties", [False, True])
def test_intervals_are_those_of_resampling_row_by_row(
    metric, classes, positive, rows, samples, ties
):
    for seed in range(3):
        probabilities, labels = scored(rows, classes, ties=ties, seed=seed)
        labels[:3] = [0, 1, 2 % classes]
        how = {"samples": samples, "seed": seed}
        found = interval(metric, probabilities, labels, positive, **how)
        values = plain_resamples(
            metric, probabilities, labels, positive, samples, seed=seed
        )
        estimate = plain(metric, probabilities, labels, positive)
        defined = values[np.isfinite(values)]
        if not np.isfinite(estimate):
            assert found.estimate is found.low is None
            continue
        low, high = np.quantile(defined, [0.025, 0.975])
        assert found.estimate == pytest.approx(estimate, abs=1e-12)
        assert found.low == pytest.approx(min(low, estimate), abs=1e-12)
        assert found.high == pytest.approx(max(high, estimate), abs=1e-12)
        assert found.undefined == samples - len(defined)
        assert found.samples == samples
        assert found.p_value is None


def test_equal_seeds_give_equal_intervals_however_the_work_is_cut(monkeypatch):
    probabilities, labels = scored(101)
    options = {"samples": 50}
    first = interval("auroc", probabilities, labels, seed=1, **options)
    again = interval("auroc", probabilities, labels, seed=1, **options)
    other = interval("auroc", probabilities, labels, seed=2, **options)
    monkeypatch.setattr(resampling, "CELLS_PER_BATCH", 7 * 101)
    cut = interval("auroc", probabilities, labels, seed=1, **options)
    assert first == again == cut
    assert first != other


def test_intervals_hold_the_true_auroc_as_often_as_they_say():
    true = (1 + erf(1 / 2)) / 2  # scores N(0, 1) and N(1, 1): Phi(1 / sqrt(2))
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 200)
        positive = 1 / (1 + np.exp(-(rng.normal(size=200) + labels)))
        probabilities = np.stack([1 - positive, positive], axis=1)
        found = interval("auroc", probabilities, labels, samples=200, level=0.9)
        held += found.low <= true <= found.high
    # 200 trials at 0.9: three standard deviations are 0.064.
    assert 0.836 <= held / 200 <= 0.964


def test_a_higher_level_gives_a_wider_interval():
    probabilities, labels = scored(200)
    narrow, wide = (
        interval("auroc", probabilities, labels, level=level) for level in (0.5, 0.99)
    )
    assert wide.low < narrow.low < narrow.high < wide.high


def test_resamples_without_both_classes_are_counted():
    probabilities, labels = scored(6, seed=5)
    labels[:] = 0
    labels[0] = 1
    found = interval("auroc", probabilities, labels)
    # A row is left out of a resample with probability (5 / 6)^6 = 0.335.
    assert 250 < found.undefined < 420
    assert found.low is not None


@pytest.mark.parametrize("rows", [0, 5])
def test_an_undefined_metric_has_no_interval(rows):
    probabilities = np.full((rows, 2), 0.5, np.float32)
    labels = np.zeros(rows, np.int64)
    single = interval("auroc", probabilities, labels, samples=10)
    assert (single.low, single.high, single.estimate) == (None, None, None)
    assert single.undefined == single.samples == 10
    pair = difference("auroc", probabilities, probabilities, labels, samples=10)
    assert (pair.estimate, pair.p_value) == (None, None)


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_does_not_differ_from_itself(metric):
    probabilities, labels = scored(150)
    found = difference(metric, probabilities, probabilities.copy(), labels)
    assert (found.low, found.high, found.estimate, found.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize("metric", METRICS)
def test_swapping_the_models_turns_the_sign(metric):
    strong, labels = scored(150, signal=1.5, seed=0)
    weak, _ = scored(150, signal=1.0, seed=0)
    weak = np.roll(weak, 1, axis=0)
    there, back = (
        difference(metric, *pair, labels, samples=200)
        for pair in ((strong, weak), (weak, strong))
    )
    assert there.low == pytest.approx(-back.high, abs=1e-12)
    assert there.high == pytest.approx(-back.low, abs=1e-12)
    assert there.estimate == -back.estimate
    assert there.p_value == back.p_value


def test_a_better_model_is_found_better_and_chance_is_not():
    strong, labels = scored(800, signal=3.0, seed=0)
    weak, _ = scored(800, signal=0.5, seed=0)
    better = difference("auroc", strong, weak, labels)
    assert 0 < better.low < better.estimate < better.high
    assert better.p_value == pytest.approx(2 / 1001)
    rng = np.random.default_rng(9)
    one, two = rng.random((2, 800, 2))
    equal = difference("auroc", one, two, labels)
    assert equal.low < 0 < equal.high
    assert equal.p_value > 0.05


def test_pairing_is_narrower_than_two_separate_intervals():
    model, labels = scored(400, signal=1.0)
    nearly = np.clip(model + np.float32(0.001), 0, 1)
    nearly[:20] = model[:20][:, ::-1]
    alone = interval("auroc", model, labels)
    pair = difference("auroc", model, nearly, labels)
    assert pair.high - pair.low < alone.high - alone.low


def test_models_on_other_rows_cannot_be_compared():
    probabilities, labels = scored(10)
    long, short = (
        Answers(probabilities[n:], labels[n:]).statistic("auroc", 1) for n in (0, 1)
    )
    with pytest.raises(ArtifactError, match="one answered 10 rows, the other 9"):
        long.difference(short, Resampling())


def test_a_model_is_resampled_once_for_all_its_comparisons():
    probabilities, labels = scored(50)
    statistic = Answers(probabilities, labels).statistic("auroc", 1)
    assert statistic.drawn(20, 0) is statistic.drawn(20, 0)
    assert not np.array_equal(statistic.drawn(20, 0), statistic.drawn(20, 1))


def test_a_thousand_resamples_of_a_usual_test_split_take_under_two_seconds():
    probabilities, labels = scored(2349)
    before = time.process_time()
    interval("auroc", probabilities, labels)
    assert time.process_time() - before < 2
