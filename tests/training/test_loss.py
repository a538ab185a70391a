import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from tabweave.errors import TrainingError
from tabweave.training.config import TrainingConfig
from tabweave.training.loss import class_weights, training_loss


def test_no_weights_by_default():
    assert class_weights(TrainingConfig(), np.array([1, 99])) is None


def test_balanced_weights_give_every_class_the_same_say():
    counts = np.array([10, 30, 60])
    weights = class_weights(TrainingConfig(class_weights="balanced"), counts)
    torch.testing.assert_close(weights, torch.tensor([100 / 30, 100 / 90, 100 / 180]))
    np.testing.assert_allclose(weights.numpy() * counts, 100 / 3, rtol=1e-6)


def test_balancing_an_absent_class_is_refused():
    config = TrainingConfig(class_weights="balanced")
    with pytest.raises(TrainingError, match=r"every class in train.*\[3, 0\]"):
        class_weights(config, np.array([3, 0]))


def test_weights_are_taken_as_given_or_refused():
    config = TrainingConfig(class_weights=(1, 10))
    assert class_weights(config, np.array([3, 0])).tolist() == [1, 10]
    with pytest.raises(
        TrainingError, match=r"must match num_classes: .* 2 entries, .* 3 classes"
    ):
        class_weights(config, np.array([3, 0, 1]))


LOGITS = torch.tensor(
    [[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-3.0, 4.0, 0.0], [1.0, 1, 1]]
)
LABELS = torch.tensor([0, 2, 0, 1])
WEIGHTS = torch.tensor([1.0, 5.0, 0.5])


def focal(gamma):
    return TrainingConfig(loss="focal", focal_gamma=gamma)


def by_the_book(logits, labels, weights, gamma):
    """Row by row, in numpy."""
    odds = np.exp(logits.double().numpy())
    p = (odds / odds.sum(1, keepdims=True))[np.arange(len(labels)), labels.numpy()]
    each = np.ones(3) if weights is None else weights.double().numpy()
    each = each[labels.numpy()]
    return float((each * (1 - p) ** gamma * -np.log(p)).sum() / each.sum())


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_the_focal_loss_is_its_formula(weights, gamma):
    found = training_loss(LOGITS, LABELS, weights, focal(gamma))
    wanted = by_the_book(LOGITS, LABELS, weights, gamma)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_torch_s_and_the_focal_loss_at_0(weights):
    found = training_loss(LOGITS, LABELS, weights, TrainingConfig())
    assert found == functional.cross_entropy(LOGITS, LABELS, weight=weights)
    assert float(found) == pytest.approx(
        float(training_loss(LOGITS, LABELS, weights, focal(0.0))), rel=1e-6
    )


@given(st.floats(0, 5), st.floats(-200, 200))
def test_the_focal_loss_has_a_gradient_however_sure_the_model_is(gamma, score):
    logits = torch.tensor([[score, 0.0]], requires_grad=True)
    loss = training_loss(logits, torch.tensor([0]), None, focal(gamma))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert loss >= 0


def test_the_focal_loss_looks_at_what_is_still_wrong():
    """Of the whole loss, the row that is right has a smaller share."""
    rows = torch.tensor([[3.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    shares = []
    for config in (TrainingConfig(), focal(2.0)):
        rows.grad = None
        training_loss(rows, torch.tensor([0, 0]), None, config).backward()
        right, wrong = rows.grad.abs().sum(1).tolist()
        shares.append(right / (right + wrong))
    assert shares[1] < shares[0] / 5
