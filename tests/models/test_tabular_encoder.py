import math

import torch

from tabweave.models.tabular_encoder import TabularEncoder


def plain(encoder, features):
    """Two linear layers with a GELU between, with loops."""
    first, second = encoder.layers[0], encoder.layers[3]

    def linear(layer, values):
        return [
            sum(w * v for w, v in zip(row, values, strict=True)) + bias
            for row, bias in zip(
                layer.weight.tolist(), layer.bias.tolist(), strict=True
            )
        ]

    hidden = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in linear(first, features)]
    return linear(second, hidden)


def test_the_vector_is_two_linear_layers_over_the_features():
    encoder = TabularEncoder(3, 5, 0.5).eval()
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    out = encoder(features)
    assert out.shape == (4, 5)
    assert encoder.width == 5
    expected = torch.tensor([plain(encoder, row) for row in features.tolist()])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


def test_dropout_is_the_share_asked_for_and_only_in_training():
    encoder = TabularEncoder(1, 4000, 0.25)
    hidden = encoder.layers[:3](torch.ones(1, 1))
    kept = (hidden != 0).float().mean()
    assert abs(kept - 0.75) < 0.05
    encoder.eval()
    assert torch.equal(encoder(torch.ones(1, 1)), encoder(torch.ones(1, 1)))


def test_a_feature_s_scale_is_not_mixed_with_another_s():
    encoder = TabularEncoder(2, 8, 0.0).eval()
    with torch.no_grad():
        encoder.layers[0].weight[:, 1] = 0
    small, large = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1e6]])
    assert torch.equal(encoder(small), encoder(large))
