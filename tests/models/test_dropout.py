import pytest
import torch
from torch import nn

from tabweave.models.dropout import (
    FastDropout,
    drawing_from,
    dropout_mask,
    with_fast_dropout,
)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mask_has_the_share_of_zeros_and_mean_one(p, dtype):
    torch.manual_seed(0)
    mask = dropout_mask(torch.empty(1001, 401, dtype=dtype), p)
    assert (mask.shape, mask.dtype) == ((1001, 401), dtype)
    kept = (mask != 0).float()
    deviation = (p * (1 - p) / kept.numel()) ** 0.5
    assert abs(kept.mean().item() - (1 - p)) < 5 * deviation + 2**-17
    assert len(mask.unique()) == 2
    assert mask.max().item() == pytest.approx(1 / (1 - p), rel=1e-2)
    # Neighbours are independent: 16 bits of one word do not decide together.
    together = (kept[:, 1:] * kept[:, :-1]).mean().item()
    assert together == pytest.approx((1 - p) ** 2, abs=0.005)


def test_the_mask_follows_torchs_generator():
    like = torch.empty(50)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, second = dropout_mask(like, 0.5), dropout_mask(like, 0.5)
    assert not torch.equal(first, second)
    torch.random.set_rng_state(state)
    assert torch.equal(dropout_mask(like, 0.5), first)


def test_the_mask_follows_a_given_generator_and_leaves_the_other():
    like, state = torch.empty(50), torch.random.get_rng_state()
    found = []
    for _ in range(2):
        with drawing_from(torch.Generator().manual_seed(5)):
            found.append(dropout_mask(like, 0.5))
    assert torch.equal(*found)
    assert torch.equal(torch.random.get_rng_state(), state)
    dropout_mask(like, 0.5)
    assert not torch.equal(torch.random.get_rng_state(), state)


def test_the_gradient_goes_through_what_was_kept():
    inputs = torch.ones(200, requires_grad=True)
    out = FastDropout(0.3).train()(inputs)
    out.sum().backward()
    assert torch.equal(inputs.grad, out.detach())
    assert 0 < (out == 0).sum() < 200


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_are_those_of_torch(p):
    assert torch.equal(FastDropout(p)(torch.ones(5)), nn.Dropout(p)(torch.ones(5)))


def test_evaluation_changes_nothing():
    inputs = torch.ones(5)
    assert torch.equal(FastDropout(0.5).eval()(inputs), inputs)


def test_every_plain_dropout_is_replaced():
    model = nn.Sequential(nn.Dropout(0.2), nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    model.append(nn.Dropout1d(0.4))
    found = with_fast_dropout(model)
    assert found is model
    assert (type(model[0]), model[0].p) == (FastDropout, 0.2)
    assert type(model[1][1]) is FastDropout
    assert type(model[2]) is nn.Dropout1d
