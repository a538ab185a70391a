import torch
from torch.nn.functional import gelu

from tabweave.models.fusion import ConcatFusion

DRAW = torch.Generator().manual_seed(0)


def test_vectors_of_any_widths_become_one():
    fusion = ConcatFusion([3, 5, 2], 4, 0.5).eval()
    vectors = [torch.randn(6, width, generator=DRAW) for width in (3, 5, 2)]
    out = fusion(vectors)
    assert out.shape == (6, 4)
    assert fusion.width == 4
    layer = fusion.mix[0]
    expected = layer.bias.expand(6, -1).clone()
    begin = 0
    for vector in vectors:
        part = layer.weight[:, begin : begin + vector.shape[1]]
        expected = expected + vector @ part.T
        begin += vector.shape[1]
    torch.testing.assert_close(out, gelu(expected), rtol=0, atol=1e-6)


def test_every_vector_reaches_the_result():
    fusion = ConcatFusion([3, 5], 4, 0.0)
    vectors = [torch.randn(2, n, generator=DRAW).requires_grad_() for n in (3, 5)]
    fusion(vectors).sum().backward()
    assert all((vector.grad != 0).all() for vector in vectors)


def test_dropout_is_the_share_asked_for_and_only_in_training():
    fusion = ConcatFusion([1], 4000, 0.25)
    kept = (fusion([torch.ones(1, 1)]) != 0).float().mean()
    assert abs(kept - 0.75) < 0.05
    fusion.eval()
    assert (fusion([torch.ones(1, 1)]) != 0).float().mean() > 0.99
