"""Linear layers: the fast way gives what the plain one gives, and is really taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tabweave.models.linear import FastLinear, with_fast_linear


def made(*, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    plain = nn.Linear(48, 40, bias=bias)
    fast = nn.Linear(48, 40, bias=bias)
    fast.load_state_dict(plain.state_dict())
    return plain, with_fast_linear(nn.Sequential(fast))[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(48,), (1, 48), (7, 48), (2, 3, 48), (0, 48)])
def test_results_are_those_of_the_plain_layer(
    shape: tuple[int, ...], bias: bool
) -> None:
    plain, fast = made(bias=bias)
    x = torch.randn(shape)
    with torch.inference_mode():
        assert fast(x).shape == plain(x).shape
        torch.testing.assert_close(fast(x), plain(x), rtol=1e-6, atol=1e-6)


def test_a_strided_input_is_read_right() -> None:
    plain, fast = made()
    x = torch.randn(48, 9).t()
    with torch.no_grad():
        torch.testing.assert_close(fast(x), plain(x), rtol=1e-6, atol=1e-6)


def operators(layer: nn.Module, x: torch.Tensor) -> set[str]:
    with torch.profiler.profile() as profile:
        layer(x)
    return {event.key for event in profile.key_averages()}


@pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN"
)
def test_the_fast_operator_is_taken_for_prediction_in_fp32_only() -> None:
    name, (_, fast), x = "mkldnn::_linear_pointwise", made(), torch.randn(5, 48)
    with torch.inference_mode():
        assert name in operators(fast, x)
        with torch.autocast("cpu", torch.bfloat16):
            assert name not in operators(fast, x)
    assert name not in operators(fast, x)


def test_gradients_flow_as_ever() -> None:
    plain, fast = made()
    x = torch.randn(5, 48)
    for layer in (plain, fast):
        layer(x).square().sum().backward()
    assert torch.equal(plain.weight.grad, fast.weight.grad)
    assert torch.equal(plain.bias.grad, fast.bias.grad)


def test_only_plain_linear_layers_change_class() -> None:
    class Own(nn.Linear):
        pass

    model = with_fast_linear(nn.Sequential(nn.Linear(2, 2), Own(2, 2), nn.ReLU()))
    assert [type(layer) for layer in model] == [FastLinear, Own, nn.ReLU]
    assert set(model.state_dict()) == {"0.weight", "0.bias", "1.weight", "1.bias"}
