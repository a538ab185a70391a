from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tabweave.errors import TrainingError
from tabweave.models.encoders import attention
from tabweave.models.encoders.adaptation import _recompute_activations
from tabweave.models.encoders.attention import (
    PACKED,
    check_rows_are_independent,
    packed_attention,
    segment_attention,
)

DRAW = torch.Generator().manual_seed(0)


def qkv(tokens=9, heads=2, width=4, rows=1):
    shape = (3, rows, heads, tokens, width)
    return torch.randn(shape, generator=DRAW).unbind()


def oracle(query, key, value, lengths, scale):
    """Softmax attention with loops over sequences, heads and tokens."""
    _, heads, tokens, width = query.shape
    out = torch.zeros(1, tokens, heads, width)
    begin = 0
    for length in lengths:
        inside = range(begin, begin + length)
        for head in range(heads):
            for i in inside:
                scores = [float(query[0, head, i] @ key[0, head, j]) for j in inside]
                weights = torch.softmax(torch.tensor(scores) * scale, 0)
                for weight, j in zip(weights, inside, strict=True):
                    out[0, i, head] += weight * value[0, head, j]
        begin += length
    return out


@pytest.mark.parametrize("lengths", [[9], [2, 3, 4], [1] * 9, [8, 1]])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_each_sequence_attends_to_itself_alone(lengths, scaling):
    query, key, value = qkv()
    scale = 4**-0.5 if scaling is None else scaling
    out, weights = packed_attention(
        nn.Module(), query, key, value, None, scaling=scaling, lengths=lengths
    )
    assert weights is None
    assert out.shape == (1, 9, 2, 4)
    torch.testing.assert_close(out, oracle(query, key, value, lengths, scale))


@pytest.mark.parametrize("lengths", [[9], [2, 3, 4]])
def test_gradients_are_those_of_masked_attention(lengths):
    packed = [x.requires_grad_() for x in qkv()]
    masked = [x.detach().clone().requires_grad_() for x in packed]
    out, _ = packed_attention(nn.Module(), *packed, None, lengths=lengths)
    mask = torch.block_diag(*(torch.ones(n, n) for n in lengths)).bool()
    expected = functional.scaled_dot_product_attention(*masked, attn_mask=mask)
    pull = torch.randn(out.shape, generator=DRAW)
    (out * pull).sum().backward()
    (expected.transpose(1, 2) * pull).sum().backward()
    for a, b in zip(packed, masked, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-6)


def test_bf16_in_gives_bf16_out():
    query, key, value = (x.bfloat16() for x in qkv())
    out, _ = packed_attention(nn.Module(), query, key, value, None, lengths=[4, 5])
    assert out.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "wrong",
    [
        {"lengths": None},
        {"attention_mask": torch.ones(1, 1, 9, 9)},
        {"rows": 2},
    ],
)
def test_a_call_that_is_not_packed_is_refused(wrong):
    query, key, value = qkv(rows=wrong.get("rows", 1))
    mask, lengths = wrong.get("attention_mask"), wrong.get("lengths", [9])
    with pytest.raises(RuntimeError, match="one packed row, lengths and no mask"):
        packed_attention(nn.Module(), query, key, value, mask, lengths=lengths)


def test_dropout_on_attention_weights_is_refused():
    with pytest.raises(RuntimeError, match="no dropout"):
        packed_attention(nn.Module(), *qkv(), None, dropout=0.1, lengths=[9])


def test_lengths_that_do_not_add_up_are_refused():
    with pytest.raises(RuntimeError, match="sum exactly to 9"):
        packed_attention(nn.Module(), *qkv(), None, lengths=[4, 4])


def test_the_name_is_registered_with_a_mask_function():
    assert AttentionInterface()[PACKED] is packed_attention
    assert AttentionMaskInterface()[PACKED](1, 2, anything=3) is None


def test_an_encoder_called_with_a_padded_batch_raises(tiny):
    encoder = tiny.model("bert").text_encoders[0].encoder
    ids = torch.ones(2, 4, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="one packed row"):
        encoder(input_ids=ids, attention_mask=torch.ones_like(ids))


@pytest.fixture
def batch(tiny):
    return tiny.rows().batch(np.arange(4))


@pytest.fixture
def model(tiny):
    return tiny.model("trimodal_bert")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_our_encoder_keeps_rows_apart(tiny, batch, pooling, precision):
    model = tiny.model("trimodal_bert", pooling=pooling)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != torch.float32):
        check_rows_are_independent(model, batch, model.vocabularies, rows=4)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("field", [0, 1])
def test_attention_across_sequences_is_found(tiny, batch, pooling, field):
    model = tiny.model("trimodal_bert", pooling=pooling)
    # What packing by position ids alone does with the library's own attention.
    model.text_encoders[field].encoder.set_attn_implementation("sdpa")
    with pytest.raises(TrainingError, match=r"row \d moved by .*another text.encoder"):
        check_rows_are_independent(model, batch, model.vocabularies, rows=4)


def without_borders(module, query, key, value, mask, lengths=None, **_):
    whole = [query.shape[2]]
    return packed_attention(module, query, key, value, mask, lengths=whole)


def test_attention_that_ignores_the_lengths_is_found(model, batch):
    AttentionInterface.register("leaky", without_borders)
    AttentionMaskInterface.register("leaky", lambda *_, **__: None)
    model.text_encoders[0].encoder.set_attn_implementation("leaky")
    with pytest.raises(TrainingError, match="keep packed sequences apart"):
        check_rows_are_independent(model, batch, model.vocabularies)


class Leaking(nn.Module):
    """A row's logits see its neighbour through the table."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        logits = self.model(batch)
        return logits + logits.roll(1, 0) * 1e-6


def test_a_leak_of_one_millionth_is_found(model, batch):
    with pytest.raises(TrainingError, match="moved by"):
        check_rows_are_independent(Leaking(model), batch, model.vocabularies)


def test_only_other_rows_change(model, batch):
    text = batch.texts[0]
    draw = torch.Generator().manual_seed(1)
    changed = attention._with_other_rows_changed(text, 2, 200, draw)
    row = text.chunk_row[text.token_chunk]
    assert torch.equal(changed.ids[row == 2], text.ids[row == 2])
    other = changed.ids[row != 2]
    assert (other != text.ids[row != 2]).float().mean() > 0.9
    assert other.min() >= attention.FIRST_ORDINARY_TOKEN
    assert other.max() < 200
    assert replace(changed, ids=text.ids) == text


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("leaks", [True, False])
def test_the_model_is_left_in_its_mode(model, batch, training, leaks):
    checked = (Leaking(model) if leaks else model).train(training)
    try:
        check_rows_are_independent(checked, batch, model.vocabularies)
    except TrainingError:
        assert leaks
    assert checked.training == training
    assert all(p.grad is None for p in model.parameters())


def test_the_check_draws_nothing_from_the_global_generator(model, batch):
    state = torch.random.get_rng_state()
    check_rows_are_independent(model, batch, model.vocabularies)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_batch_without_any_text_passes(tiny):
    batch = tiny.rows("bert").batch(np.array([0, 0]))
    assert batch.tokens == 0
    model = tiny.model("bert")
    check_rows_are_independent(model, batch, model.vocabularies)


def cross_oracle(query, key, value, query_lengths, key_lengths, scale):
    out, q, k = torch.zeros_like(query), 0, 0
    for queries, keys in zip(query_lengths, key_lengths, strict=True):
        for head in range(query.shape[0]):
            for i in range(q, q + queries if keys else q):
                scores = key[head, k : k + keys] @ query[head, i] * scale
                out[head, i] = torch.softmax(scores, 0) @ value[head, k : k + keys]
        q, k = q + queries, k + keys
    return out


@pytest.mark.parametrize("longest", [0, 256])
@pytest.mark.parametrize(
    ("queries", "keys"), [([3, 3], [4, 5]), ([2, 1, 3], [0, 8, 1]), ([6], [9])]
)
def test_segments_of_queries_read_their_own_keys(monkeypatch, longest, queries, keys):
    monkeypatch.setattr(attention, "LONGEST_PLAIN", {torch.float32: longest})
    query, key, value = (x[0] for x in qkv())
    query = query[:, :6]
    found = segment_attention(query, key, value, queries, keys, 0.3)
    expected = cross_oracle(query, key, value, queries, keys, 0.3)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("longest", [0, 256])
@pytest.mark.parametrize("window", [1, 3, 8])
def test_a_sliding_window_is_a_band_inside_each_sequence(monkeypatch, longest, window):
    monkeypatch.setattr(attention, "LONGEST_PLAIN", {torch.float32: longest})
    query, key, value = qkv(tokens=17)
    lengths = [12, 5]
    out, _ = packed_attention(
        nn.Module(), query, key, value, None, lengths=lengths, sliding_window=window
    )
    place = torch.arange(17)
    mask = torch.block_diag(*(torch.ones(n, n) for n in lengths)).bool()
    mask &= (place[:, None] - place[None]).abs() < window
    expected = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask
    )
    torch.testing.assert_close(out, expected.transpose(1, 2))


def test_queries_that_were_widened_are_narrowed_again():
    query, key, value = (x[0] for x in qkv())
    with torch.autocast("cpu", torch.bfloat16):
        out = segment_attention(query, key, value.bfloat16(), [4, 5], [4, 5], 0.5)
    assert out.dtype == torch.bfloat16


@pytest.fixture
def modernbert():
    from transformers import ModernBertConfig, ModernBertModel

    config = ModernBertConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=2,
        local_attention=8,
        global_attn_every_n_layers=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    )
    torch.manual_seed(0)
    return ModernBertModel._from_config(config, attn_implementation="sdpa")


@pytest.mark.parametrize("checkpointed", [False, True])
def test_local_layers_see_what_they_see_padded(modernbert, checkpointed):
    lengths = [23, 4, 11]
    ids = torch.randint(3, 60, (3, 23), generator=DRAW)
    mask = (torch.arange(23) < torch.tensor(lengths)[:, None]).long()
    places = torch.arange(23).expand(3, -1)
    padded = modernbert(input_ids=ids, attention_mask=mask, position_ids=places)
    expected = padded.last_hidden_state[mask.bool()]
    expected.square().sum().backward()
    grads = [p.grad.clone() for p in modernbert.parameters()]
    modernbert.zero_grad()
    modernbert.set_attn_implementation(PACKED)
    if checkpointed:
        _recompute_activations(modernbert)
        modernbert.train()
    found = modernbert(
        input_ids=ids[mask.bool()][None],
        position_ids=places[mask.bool()][None],
        lengths=lengths,
    ).last_hidden_state[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found.square().sum().backward()
    for parameter, grad in zip(modernbert.parameters(), grads, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("window", "side"), [(None, (-1, -1)), (5, (4, 4))])
def test_the_cuda_kernel_is_given_borders_and_window(monkeypatch, window, side):
    from torch.nn.attention import varlen

    seen = {}

    def kernel(query, key, value, cu_q, cu_k, max_q, max_k, **options):
        seen.update(options, cu=(cu_q.tolist(), cu_k.tolist()), most=(max_q, max_k))
        assert query.shape == (6, 2, 4)
        assert key.shape == value.shape == (9, 2, 4)
        assert cu_q.dtype == torch.int32
        return query

    # The kernel itself needs a GPU; what it is handed does not.
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    query, key, value = (x[0] for x in qkv())
    out = attention._varlen(query[:, :6], key, value, [2, 4], [9, 0], 0.5, window)
    assert torch.equal(out, query[:, :6])
    assert seen == {
        "cu": ([0, 2, 6], [0, 9, 9]),
        "most": (4, 9),
        "scale": 0.5,
        "window_size": side,
    }
