import pytest
import torch

from models_fixtures import packed_text
from tabweave.models.encoders.pooling import pool, pool_padded, segment_mean
from tabweave.models.encoders.text_encoder import pad_chunks

WAYS = ("mean", "cls", "max", "ends")
LENGTHS = (4, 1, 7, 2, 1)


@pytest.fixture
def text():
    return packed_text(LENGTHS, [0, 0, 1, 3, 3], 4)


@pytest.fixture
def states():
    draw = torch.Generator().manual_seed(3)
    return torch.randn(sum(LENGTHS), 6, generator=draw)


def plain(way, states):
    """The vector of each chunk, with loops over tokens and channels."""
    found, begin = [], 0
    for length in LENGTHS:
        tokens = states[begin : begin + length].tolist()
        begin += length
        columns = list(zip(*tokens, strict=True))
        found.append(
            {
                "mean": [sum(column) / length for column in columns],
                "cls": tokens[0],
                "max": [max(column) for column in columns],
                "ends": tokens[-1][:3] + tokens[0][3:],
            }[way]
        )
    return torch.tensor(found)


def padded(states, text, filler):
    """The states as [n, S, d], with a filler where there is no token, and the mask."""
    _, mask = pad_chunks(text, 0)
    wide = torch.full((*mask.shape, states.shape[1]), filler)
    return wide.index_put((text.token_chunk, text.positions), states), mask


@pytest.mark.parametrize("way", WAYS)
def test_a_chunk_s_vector_is_what_its_tokens_say(text, states, way):
    torch.testing.assert_close(pool(way, states, text), plain(way, states))


@pytest.mark.parametrize("filler", [0.0, 1e4, -1e4])
@pytest.mark.parametrize("way", WAYS)
def test_padded_states_give_the_same_whatever_fills_them(text, states, way, filler):
    found = pool_padded(way, *padded(states, text, filler))
    torch.testing.assert_close(found, plain(way, states))


@pytest.mark.parametrize("way", WAYS)
def test_both_give_the_same_gradients(text, states, way):
    # Equal largest values, as after a ReLU, share the gradient.
    states = states.clamp(min=0)
    one, other = (states.clone().requires_grad_() for _ in range(2))
    pull = torch.randn(5, 6, generator=torch.Generator().manual_seed(4))
    (pool(way, one, text) * pull).sum().backward()
    (pool_padded(way, *padded(other, text, 0.0)) * pull).sum().backward()
    assert one.grad.abs().sum() > 1
    torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("way", WAYS)
def test_no_chunk_sees_another(text, states, way):
    before = pool(way, states, text)
    for chunk in range(len(LENGTHS)):
        noise = torch.where(text.token_chunk[:, None] == chunk, states, states + 3)
        assert torch.equal(pool(way, noise, text)[chunk], before[chunk])


def test_the_ways_differ(text, states):
    vectors = [pool(way, states, text)[0] for way in WAYS]
    for n, vector in enumerate(vectors):
        assert all((vector - other).abs().max() > 0.1 for other in vectors[:n])


def test_a_mean_of_bf16_states_is_taken_in_fp32(text):
    states = torch.full((sum(LENGTHS), 2), 1.0 + 2**-7, dtype=torch.bfloat16)
    states[:, 1] = 300
    found = pool("mean", states, text)
    assert found.dtype == torch.float32
    assert torch.equal(found, states[:5].float())


@pytest.mark.parametrize("way", ["cls", "max", "ends"])
def test_picking_keeps_the_precision(text, states, way):
    assert pool(way, states.bfloat16(), text).dtype == torch.bfloat16


def test_the_mean_of_segments_in_any_order_with_an_empty_one():
    values = torch.tensor([[1.0, 2.0], [10.0, 20.0], [3.0, 6.0], [5.0, 1.0]])
    found = segment_mean(values, torch.tensor([2, 0, 2, 3]), 4)
    assert found.tolist() == [[10, 20], [0, 0], [2, 4], [5, 1]]


def test_the_mean_of_nothing_is_zeros():
    found = segment_mean(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 2)
    assert torch.equal(found, torch.zeros(2, 3))
