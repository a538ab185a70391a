from dataclasses import replace

import pytest
import torch

from models_fixtures import assert_chunks_are_apart, packed_text
from tabweave.batching.batches import pad
from tabweave.models.config import CnnConfig
from tabweave.models.encoders.cnn_encoder import CnnEncoder

SIZES = {
    "odd": CnnConfig(kernel_size=(3, 5), num_layers=2, num_channels=(7, 5)),
    "even": CnnConfig(kernel_size=(2, 4), num_layers=2, num_channels=(6, 4)),
    "single tokens": CnnConfig(kernel_size=(1,), num_layers=1, num_channels=(5,)),
    "wider than a chunk": CnnConfig(
        kernel_size=(9,), num_layers=3, num_channels=(4, 3, 6)
    ),
}
each_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())


@pytest.fixture
def text():
    """Five rows, one without text; three chunks of one token."""
    return packed_text([5, 1, 9, 1, 1, 3], [0, 0, 1, 3, 3, 4], 5)


def encoder_of(tiny, size):
    torch.manual_seed(0)
    encoder = CnnEncoder(tiny.spec("bert").text[0].encoder, size).eval()
    with torch.no_grad():
        encoder.missing.normal_()
        for group in encoder.layers():
            for parameter in group:
                parameter.mul_(2)
    return encoder


def convolved(convolution, tokens):
    """One layer over the tokens of one chunk, with loops; [n, c] -> [n, d]."""
    weight, kernel = convolution.weight, convolution.kernel_size[0]
    left = (kernel - 1) // 2
    found = []
    for here in range(len(tokens)):
        answer = convolution.bias.clone()
        for step in range(kernel):
            there = here + step - left
            if 0 <= there < len(tokens):
                answer = answer + weight[:, :, step] @ tokens[there]
        found.append(answer.clamp(min=0))
    return torch.stack(found)


def chunk_vector(encoder, ids):
    found = []
    for stack in encoder.stacks:
        states = encoder.embeddings(ids)
        for convolution in stack:
            states = convolved(convolution, states)
        found.append(states.max(0).values)
    return torch.cat(found)


@each_size
def test_a_row_is_the_mean_of_its_chunks_convolved_one_by_one(tiny, text, size):
    encoder = encoder_of(tiny, size)
    chunks = [chunk_vector(encoder, ids) for ids in text.ids.split(text.lengths)]
    for row, vector in enumerate(encoder(text).vectors):
        its = [c for c, of in zip(chunks, text.chunk_row, strict=True) if of == row]
        expected = torch.stack(its).mean(0) if its else encoder.missing
        torch.testing.assert_close(vector, expected, rtol=0, atol=1e-6)


@each_size
def test_packed_equals_padded_in_outputs_and_gradients(tiny, text, size):
    packed = encoder_of(tiny, size)
    twin, flat = packed.for_export(), encoder_of(tiny, size).set_layout("padded")
    got = packed(text).vectors
    others = {"twin": twin(*pad(text, 0)).vectors, "padded": flat(text).vectors}
    pull = torch.randn(got.shape, generator=torch.Generator().manual_seed(0))
    (got * pull).sum().backward()
    for name, vectors in others.items():
        torch.testing.assert_close(vectors, got, rtol=0, atol=1e-6)
        (vectors * pull).sum().backward()
        model = twin.encoder if name == "twin" else flat
        for (key, ours), its in zip(
            packed.named_parameters(), model.parameters(), strict=True
        ):
            assert ours.grad.abs().max() > 1e-4, key
            torch.testing.assert_close(its.grad, ours.grad, rtol=0, atol=1e-5)


@each_size
def test_no_window_sees_two_chunks(tiny, text, size):
    assert_chunks_are_apart(encoder_of(tiny, size), text)


@each_size
def test_a_window_sees_its_neighbours(tiny, size):
    """A changed token moves the tokens that a window reaches, and no others."""
    encoder, text = encoder_of(tiny, size), packed_text([9], [0], 1)
    ids = text.ids.clone()
    ids[4] = (ids[4] + 1) % 200
    moved = encoder.packed_states(replace(text, ids=ids)) != encoder.packed_states(text)
    left = size.num_layers * max((kernel - 1) // 2 for kernel in size.kernel_size)
    right = size.num_layers * max(kernel // 2 for kernel in size.kernel_size)
    reached = [4 - right <= place <= 4 + left for place in range(9)]
    # A channel may be silent, so that a reached token at the rim may not move.
    assert not (moved.any(1) & ~torch.tensor(reached)).any()
    assert moved.any(1).sum() > (max(size.kernel_size) > 1)


def test_sizes_are_those_asked_for(tiny):
    size = CnnConfig(kernel_size=(2, 3, 4), num_layers=2, num_channels=(9, 5))
    encoder = encoder_of(tiny, size)
    assert encoder.width == 15
    shapes = [[tuple(c.weight.shape) for c in stack] for stack in encoder.stacks]
    assert shapes == [[(9, 32, n), (5, 9, n)] for n in (2, 3, 4)]
    assert encoder(packed_text([3], [0], 1)).vectors.shape == (1, 15)


def test_layers_go_from_the_embeddings_up_and_hold_every_weight_once(tiny):
    encoder = encoder_of(tiny, SIZES["odd"])
    layers = encoder.layers()
    assert [p.shape for p in layers[0]] == [(200, 32)]
    assert [[len(p) for p in group] for group in layers[1:]] == [[7] * 4, [5] * 4]
    found = [id(p) for group in layers for p in group]
    rest = {id(p) for p in encoder.parameters()} - {id(encoder.missing)}
    assert len(found) == len(set(found))
    assert set(found) == rest


def test_no_text_at_all_is_the_learned_vector(tiny):
    encoder = encoder_of(tiny, SIZES["odd"])
    vectors = encoder(packed_text([], [], 3)).vectors
    assert torch.equal(vectors, encoder.missing.expand(3, -1))
