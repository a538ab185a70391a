import numpy as np
import pytest
import torch

from models_fixtures import MAX_SEN_LEN, VOCABULARY
from tabweave.batching.batches import PackedText, RowVectors, pad
from tabweave.models.classifier import make_text_encoder
from tabweave.models.encoders.text_encoder import TextEncoder, pad_chunks
from tabweave.models.encoders.token_states import PackedStates, PaddedStates
from tabweave.models.parts import TEXT_ENCODERS

# Every kind of text encoder and, where there is a choice, every way of pooling.
KINDS = {
    "bert mean": ("bert", {"pooling": "mean"}),
    "bert cls": ("bert", {"pooling": "cls"}),
    "bert pooler": ("bert", {"pooling": "pooler"}),
    "cnn": ("cnn", {}),
    "lstm": ("lstm", {}),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def text(tiny):
    """Rows with 0, 1, 3, 2 and more chunks."""
    return tiny.rows("bert").batch(np.arange(12)).texts[0]


@pytest.fixture
def no_text(tiny):
    return tiny.rows("bert").batch(np.array([0, 0, 0])).texts[0]


def encoder_of(tiny, kind="bert mean", dropout=False):
    name, config = KINDS[kind]
    return tiny.model(name, **config).text_encoders[0].train(dropout)


def one_chunk(ids):
    zeros = torch.zeros_like(ids)
    return PackedText(ids, torch.arange(len(ids)), zeros, zeros[:1], [len(ids)], 1)


@each_kind
def test_packed_equals_padded_in_outputs_and_gradients(tiny, text, kind):
    packed = encoder_of(tiny, kind)
    padded = packed.for_export()
    got, expected = packed(text).vectors, padded(*pad(text, 0)).vectors
    assert got.shape == (12, packed.width)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    pull = torch.randn(got.shape, generator=torch.Generator().manual_seed(0))
    (got * pull).sum().backward()
    (expected * pull).sum().backward()
    ours = dict(packed.named_parameters())
    theirs = dict(padded.encoder.named_parameters())
    assert set(ours) == set(theirs)
    # Rounding of fp32 grows through the steep tanh of a pooler with wide weights.
    bound = 2e-6 if kind == "bert pooler" else 1e-6
    for name, parameter in ours.items():
        size = theirs[name].grad.abs().max().clamp(min=1)
        difference = (parameter.grad - theirs[name].grad).abs().max() / size
        assert difference <= bound, name


@each_kind
def test_the_padded_layout_is_the_same_encoder(tiny, text, kind):
    encoder = encoder_of(tiny, kind)
    packed = encoder(text).vectors
    assert encoder.set_layout("padded") is encoder
    torch.testing.assert_close(encoder(text).vectors, packed, rtol=0, atol=1e-6)
    assert torch.equal(encoder.set_layout("packed")(text).vectors, packed)


@each_kind
def test_a_row_is_the_mean_over_its_chunks_each_alone(tiny, text, kind):
    encoder = encoder_of(tiny, kind)
    chunks = text.ids.split(text.lengths)
    alone = [encoder(one_chunk(ids)).vectors[0] for ids in chunks]
    for row, vector in enumerate(encoder(text).vectors):
        its = [c for c, of in zip(alone, text.chunk_row, strict=True) if of == row]
        expected = torch.stack(its).mean(0) if its else encoder.missing
        torch.testing.assert_close(vector, expected, rtol=0, atol=1e-6)


@each_kind
def test_a_batch_without_text_is_the_learned_vector(tiny, no_text, kind):
    encoder = encoder_of(tiny, kind)
    out = encoder(no_text).vectors
    assert torch.equal(out, encoder.missing.detach().expand(3, -1))
    out.sum().backward()
    assert torch.equal(encoder.missing.grad, torch.full((encoder.width,), 3.0))
    padded = encoder.for_export()(*pad(no_text, 0)).vectors
    assert torch.equal(padded, out)


@each_kind
def test_the_learned_vector_learns_from_rows_without_text_alone(tiny, text, kind):
    encoder = encoder_of(tiny, kind)
    without = torch.bincount(text.chunk_row, minlength=text.rows) == 0
    assert 0 < without.sum() < text.rows
    encoder(text).vectors.sum().backward()
    expected = torch.full((encoder.width,), float(without.sum()))
    assert torch.equal(encoder.missing.grad, expected)


@pytest.mark.parametrize("kind", TEXT_ENCODERS)
def test_the_learned_vector_of_a_new_encoder_is_zero(tiny, kind):
    spec = tiny.spec(kind)
    assert not make_text_encoder(spec.text[0], spec.model).missing.any()


@each_kind
def test_the_result_is_fp32_under_autocast(tiny, text, no_text, kind):
    encoder = encoder_of(tiny, kind)
    exact = encoder(text).vectors
    with torch.autocast("cpu", torch.bfloat16):
        rounded, missing = encoder(text).vectors, encoder(no_text).vectors
    assert {rounded.dtype, missing.dtype} == {torch.float32}
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.1)
    # An LSTM computes in fp32 where the processor has none in bf16.
    half = kind != "lstm" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert torch.equal(rounded, exact) is not half


@pytest.mark.parametrize("extra", [(0, 1), (2, 0), (1, 5)])
@each_kind
def test_wider_padding_changes_nothing(tiny, text, kind, extra):
    padded = encoder_of(tiny, kind).for_export()
    ids, mask = pad(text, 0)
    chunks, length = extra[0], min(extra[1], MAX_SEN_LEN - ids.shape[2])
    room = (0, length, 0, chunks)
    wider = [torch.nn.functional.pad(x, room, value=0) for x in (ids, mask)]
    found, expected = padded(*wider).vectors, padded(ids, mask).vectors
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@each_kind
def test_what_lies_under_the_padding_does_not_matter(tiny, text, kind):
    padded = encoder_of(tiny, kind).for_export()
    ids, mask = pad(text, 0)
    noise = torch.where(mask.bool(), ids, torch.randint_like(ids, 5, VOCABULARY))
    found, expected = padded(noise, mask).vectors, padded(ids, mask).vectors
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@each_kind
def test_the_export_twin_shares_nothing_with_the_encoder(tiny, text, kind):
    encoder = encoder_of(tiny, kind)
    before = encoder(text).vectors.detach()
    twin = encoder.for_export()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(encoder(text).vectors, before)  # same weights, same attention


@each_kind
def test_states_come_only_when_asked_for_and_change_no_vector(tiny, text, kind):
    encoder = encoder_of(tiny, kind)
    plain, read = encoder(text), encoder(text, with_states=True)
    assert plain.states is None
    assert isinstance(read.states, PackedStates)
    assert torch.equal(read.vectors, plain.vectors)
    twin = encoder.for_export()
    assert twin(*pad(text, 0)).states is None
    padded = twin(*pad(text, 0), with_states=True)
    assert isinstance(padded.states, PaddedStates)
    # Token for token the same states, the learned vector where there is no text.
    found = padded.states.values[padded.states.mask > 0]
    torch.testing.assert_close(found, read.states.values, rtol=0, atol=1e-5)


@each_kind
def test_states_of_a_batch_without_text_are_the_learned_vector(tiny, no_text, kind):
    encoder = encoder_of(tiny, kind)
    states = encoder(no_text, with_states=True).states
    assert torch.equal(states.values, encoder.missing.expand(3, -1))
    assert states.lengths == [1, 1, 1]


@each_kind
def test_vectors_computed_before_are_taken_as_they_are(tiny, text, kind):
    encoder = encoder_of(tiny, kind)
    expected = encoder(text).vectors
    has_text = torch.bincount(text.chunk_row, minlength=text.rows) > 0
    # What stands in the place of a row without text means nothing.
    stored = torch.where(has_text[:, None], expected, torch.tensor(float("nan")))
    found = encoder(RowVectors(stored.detach(), has_text)).vectors
    assert torch.equal(found, expected)
    found.sum().backward()
    assert (encoder.missing.grad == (~has_text).sum()).all()


@each_kind
def test_layers_hold_every_parameter_once_but_the_learned_vector(tiny, kind):
    encoder = encoder_of(tiny, kind)
    found = [id(p) for group in encoder.layers() for p in group]
    assert len(found) == len(set(found))
    named = {id(p): name for name, p in encoder.named_parameters()}
    assert {named[each] for each in named.keys() - set(found)} == {"missing"}


def test_a_frozen_encoder_stays_in_eval_mode(tiny):
    model = tiny.model("multimodal_bert")
    encoder = model.text_encoders[0]
    encoder.frozen = True
    model.train()
    assert model.training
    assert not any(module.training for module in encoder.modules())
    encoder.frozen = False
    model.train()
    assert all(module.training for module in encoder.modules())


def test_chunks_are_padded_with_the_id_asked_for(text):
    ids, mask = pad_chunks(text, 77)
    assert ids.shape == mask.shape == (len(text.lengths), max(text.lengths))
    assert mask.sum(1).tolist() == text.lengths
    assert (ids[mask == 0] == 77).all()
    assert torch.equal(ids[mask == 1], text.ids)


def test_a_kind_must_say_what_its_states_are():
    with pytest.raises(TypeError, match="padded_states"):
        TextEncoder(4, 9, 0, "mean")
