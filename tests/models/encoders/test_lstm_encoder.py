from dataclasses import replace

import pytest
import torch
from torch import nn

from models_fixtures import assert_chunks_are_apart, packed_text
from tabweave.batching.batches import pad
from tabweave.models.config import LstmConfig
from tabweave.models.encoders.lstm_encoder import LstmEncoder

each_depth = pytest.mark.parametrize("depth", [1, 3])


@pytest.fixture
def text():
    """Five rows, one without text; two chunks of one token."""
    return packed_text([5, 1, 9, 1, 3], [0, 0, 1, 3, 4], 5)


def encoder_of(tiny, depth):
    torch.manual_seed(0)
    size = LstmConfig(num_layers=depth, hidden_size=6)
    encoder = LstmEncoder(tiny.spec("bert").text[0].encoder, size).eval()
    with torch.no_grad():
        encoder.missing.normal_()
        for group in encoder.layers():
            for parameter in group:
                parameter.mul_(3)
    return encoder


def library_lstm(encoder, depth):
    """The library's two-way LSTM with the same weights."""
    lstm = nn.LSTM(32, 6, depth, batch_first=True, bidirectional=True)
    weights = {}
    for suffix, half in (("", encoder.forwards), ("_reverse", encoder.backwards)):
        for layer, one_way in enumerate(half):
            for name, value in one_way.state_dict().items():
                weights[name.replace("l0", f"l{layer}{suffix}")] = value
    lstm.load_state_dict(weights)
    return lstm


@each_depth
def test_states_are_those_of_a_two_way_lstm_over_each_chunk_alone(tiny, text, depth):
    encoder = encoder_of(tiny, depth)
    lstm = library_lstm(encoder, depth)
    expected = [
        lstm(encoder.embeddings(ids)[None])[0][0]
        for ids in text.ids.split(text.lengths)
    ]
    found = encoder.packed_states(text)
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-6)


@each_depth
def test_a_row_is_the_mean_over_where_both_directions_of_its_chunks_end(
    tiny, text, depth
):
    encoder = encoder_of(tiny, depth)
    lstm = library_lstm(encoder, depth)
    # The last hidden states of the top layer: what the library says is the end.
    chunks = [
        lstm(encoder.embeddings(ids)[None])[1][0][-2:, 0].flatten()
        for ids in text.ids.split(text.lengths)
    ]
    for row, vector in enumerate(encoder(text).vectors):
        its = [c for c, of in zip(chunks, text.chunk_row, strict=True) if of == row]
        expected = torch.stack(its).mean(0) if its else encoder.missing
        torch.testing.assert_close(vector, expected, rtol=0, atol=1e-6)


@each_depth
def test_the_export_twin_says_the_same_in_outputs_and_gradients(tiny, text, depth):
    encoder = encoder_of(tiny, depth)
    twin = encoder.for_export()
    got, expected = encoder(text).vectors, twin(*pad(text, 0)).vectors
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    pull = torch.randn(got.shape, generator=torch.Generator().manual_seed(0))
    (got * pull).sum().backward()
    (expected * pull).sum().backward()
    pairs = zip(encoder.named_parameters(), twin.encoder.parameters(), strict=True)
    for (name, ours), its in pairs:
        assert ours.grad.abs().max() > 1e-4, name
        torch.testing.assert_close(ours.grad, its.grad, rtol=0, atol=1e-5)


@each_depth
def test_no_direction_sees_two_chunks(tiny, text, depth):
    assert_chunks_are_apart(encoder_of(tiny, depth), text)


def test_what_lies_under_the_padding_does_not_matter(tiny, text):
    twin = encoder_of(tiny, 2).for_export()
    ids, mask = pad(text, 0)
    noise = torch.where(mask.bool(), ids, (ids.flip(2) + 7) % 200)
    assert torch.equal(twin(noise, mask).vectors, twin(ids, mask).vectors)


def test_both_ends_reach_the_vector(tiny):
    encoder, text = encoder_of(tiny, 1), packed_text([9], [0], 1)
    before = encoder(text).vectors[0]
    for place in (0, 8):
        ids = text.ids.clone()
        ids[place] = (ids[place] + 1) % 200
        moved = (encoder(replace(text, ids=ids)).vectors[0] - before).abs()
        assert moved[:6].max() > 1e-5  # the way there
        assert moved[6:].max() > 1e-5  # the way back


def test_layers_go_from_the_embeddings_up_and_hold_every_weight_once(tiny):
    encoder = encoder_of(tiny, 3)
    layers = encoder.layers()
    assert [p.shape for p in layers[0]] == [(200, 32)]
    assert [group[0].shape for group in layers[1:]] == [(24, 32), (24, 12), (24, 12)]
    assert [len(group) for group in layers] == [1, 8, 8, 8]
    found = [id(p) for group in layers for p in group]
    rest = {id(p) for p in encoder.parameters()} - {id(encoder.missing)}
    assert len(found) == len(set(found))
    assert set(found) == rest


def test_no_text_at_all_is_the_learned_vector(tiny):
    encoder = encoder_of(tiny, 1)
    vectors = encoder(packed_text([], [], 3)).vectors
    assert torch.equal(vectors, encoder.missing.expand(3, -1))
