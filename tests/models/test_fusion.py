import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from torch.nn.functional import gelu

from models_fixtures import packed_text
from tabweave.models.config import ModelConfig
from tabweave.models.encoders.text_encoder import EncodedText
from tabweave.models.encoders.token_states import PackedStates
from tabweave.models.fusion import (
    ConcatFusion,
    CrossAttentionFusion,
    GateFusion,
    MixtureOfExperts,
    Parts,
    Widths,
)

ROWS, WIDTH = 6, 8
# Widths of the text fields, and of the table; its four features are beside its vector.
SHAPES = {
    "text and table": ((3,), 5),
    "two texts and table": ((3, 2), 5),
    "three texts and table": ((3, 2, 4), 5),
    "two texts": ((3, 2), None),
    "text alone": ((3,), None),
}
KINDS = {
    "concat": ConcatFusion,
    "gate": GateFusion,
    "moe": MixtureOfExperts,
    "cross_attention": CrossAttentionFusion,
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make(kind, texts=(3,), table=5, features=4, **config):
    torch.manual_seed(0)
    values = {"hidden_common_dim": WIDTH, "dropout_keep": 1.0} | config
    widths = Widths(texts, table, 0 if table is None else features)
    return kind(widths, ModelConfig(**values)).eval()


def text_of(width, seed, lengths=(4, 2, 5, 1), chunk_row=(0, 0, 2, 5)):
    """Vectors and token states of six rows, three of them without text."""
    text = packed_text(lengths, chunk_row, ROWS)
    states = draw(sum(lengths), width, seed=seed)
    missing = draw(width, seed=seed + 100)
    return EncodedText(
        draw(ROWS, width, seed=seed + 200), PackedStates.of(states, text, missing)
    )


def parts_of(texts=(3,), table=5, features=4):
    return Parts(
        [text_of(width, seed) for seed, width in enumerate(texts)],
        None if table is None else draw(ROWS, table, seed=50),
        draw(ROWS, features, seed=60),
    )


def leaves_of(parts):
    """The same parts with vectors that take gradients, and these vectors."""
    vectors = [vector.clone().requires_grad_() for vector in parts.vectors]
    texts = [
        replace(text, vectors=vector)
        for text, vector in zip(parts.texts, vectors, strict=False)
    ]
    table = None if parts.table is None else vectors[-1]
    return Parts(texts, table, parts.features), vectors


def plain_linear(layer, vector):
    return [
        sum(w * v for w, v in zip(row, vector, strict=True)) + bias
        for row, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]


@each_shape
@each_kind
def test_parts_of_any_widths_become_one_vector(kind, shape):
    fusion = make(kind, *shape)
    out = fusion(parts_of(*shape))
    assert fusion.width == WIDTH
    assert out.shape == (ROWS, WIDTH)
    assert torch.isfinite(out).all()
    assert out.std(0).min() > 1e-4  # rows differ


@each_shape
@each_kind
def test_every_vector_reaches_the_result(kind, shape):
    fusion = make(kind, *shape)
    parts, vectors = leaves_of(parts_of(*shape))
    (fusion(parts) * draw(ROWS, WIDTH, seed=9)).sum().backward()
    assert all((vector.grad != 0).any(1).all() for vector in vectors)


@each_shape
@each_kind
def test_every_parameter_learns(kind, shape):
    fusion = make(kind, *shape).train()
    out = fusion(parts_of(*shape))
    loss = (out * draw(ROWS, WIDTH, seed=9)).sum() + (fusion.auxiliary_loss or 0)
    loss.backward()
    for name, parameter in fusion.named_parameters():
        # A constant added to all keys does not change a softmax: gradient 0.
        assert parameter.grad.abs().max() > 1e-7 or name.endswith("key.bias"), name


@each_kind
def test_rows_do_not_see_each_other(kind):
    fusion, parts = make(kind), parts_of()
    before = fusion(parts)
    table, features = parts.table + 3, parts.features - 2
    table[1], features[1] = parts.table[1], parts.features[1]
    after = fusion(parts._replace(table=table, features=features))
    assert torch.equal(after[1], before[1])
    assert (after != before).any(1).sum() == ROWS - 1


@each_kind
def test_dropout_is_the_share_asked_for_and_only_in_training(kind):
    fusion = make(kind, hidden_common_dim=1000, dropout_keep=0.75)
    parts = parts_of()
    assert torch.equal(fusion(parts), fusion(parts))
    fusion.train()
    assert not torch.equal(fusion(parts), fusion(parts))
    layers = [m for m in fusion.modules() if isinstance(m, torch.nn.Dropout)]
    assert layers
    assert all(layer.p == 0.25 for layer in layers)
    if kind in (ConcatFusion, GateFusion):
        assert abs((fusion(parts) != 0).float().mean() - 0.75) < 0.05


@pytest.mark.parametrize("shape", [*SHAPES.values(), ((), 5)])
def test_concatenation_is_one_hidden_layer_over_all_vectors(shape):
    fusion, parts = make(ConcatFusion, *shape), parts_of(*shape)
    layer = fusion.mix[0]
    expected = layer.bias.expand(ROWS, -1).clone()
    begin = 0
    for vector in parts.vectors:
        part = layer.weight[:, begin : begin + vector.shape[1]]
        expected = expected + vector @ part.T
        begin += vector.shape[1]
    assert begin == layer.weight.shape[1]
    torch.testing.assert_close(fusion(parts), gelu(expected), rtol=0, atol=1e-6)


def projected(fusion, parts):
    return [
        [plain_linear(layer, row) for row in vector.tolist()]
        for layer, vector in zip(fusion.project, parts.vectors, strict=True)
    ]


def normalised(norm, values):
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    scaled = [(v - mean) / math.sqrt(variance + norm.eps) for v in values]
    pairs = zip(scaled, norm.weight.tolist(), norm.bias.tolist(), strict=True)
    return [v * w + b for v, w, b in pairs]


def test_the_gate_of_two_vectors_is_a_sigmoid_in_each_channel():
    fusion, parts = make(GateFusion), parts_of()
    norm, linear = fusion.gate
    with torch.no_grad():
        norm.weight.add_(0.3 * draw(2 * WIDTH))
        norm.bias.add_(0.3 * draw(2 * WIDTH, seed=1))
        linear.weight.mul_(3)
    texts, tables = projected(fusion, parts)
    expected = []
    for t, x in zip(texts, tables, strict=True):
        answers = plain_linear(linear, normalised(norm, t + x))
        gates = [1 / (1 + math.exp(-a)) for a in answers]
        expected.append(
            [g * a + (1 - g) * b for g, a, b in zip(gates, t, x, strict=True)]
        )
    torch.testing.assert_close(
        fusion(parts), gelu(torch.tensor(expected)), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("texts", [(3, 2), (3, 2, 4)])
def test_the_gate_of_more_vectors_is_a_softmax_over_them_in_each_channel(texts):
    fusion, parts = make(GateFusion, texts), parts_of(texts)
    norm, linear = fusion.gate
    with torch.no_grad():
        linear.weight.mul_(3)
    expected = []
    for vectors in zip(*projected(fusion, parts), strict=True):
        together = [value for vector in vectors for value in vector]
        answers = plain_linear(linear, normalised(norm, together))
        mixed = []
        for channel in range(WIDTH):
            powers = [
                math.exp(answers[k * WIDTH + channel]) for k in range(len(vectors))
            ]
            mixed.append(
                sum(
                    p / sum(powers) * vector[channel]
                    for p, vector in zip(powers, vectors, strict=True)
                )
            )
        expected.append(mixed)
    torch.testing.assert_close(
        fusion(parts), gelu(torch.tensor(expected)), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_weights_of_a_gate_are_positive_and_sum_to_one(count):
    fusion = make(GateFusion, (3, 2, 4)[: count - 1])
    weights = fusion.weights(draw(ROWS, count, WIDTH))
    assert weights.shape == (ROWS, count, WIDTH)
    assert weights.min() > 0
    assert weights.std() > 0.01
    torch.testing.assert_close(weights.sum(1), torch.ones(ROWS, WIDTH))


def test_a_single_vector_passes_the_gate():
    fusion, parts = make(GateFusion, (3,), None), parts_of((3,), None)
    assert fusion.gate is None
    expected = gelu(fusion.project[0](parts.texts[0].vectors))
    torch.testing.assert_close(fusion(parts), expected)


def test_a_mixture_is_the_experts_answers_weighed_by_the_router():
    fusion, parts = make(MixtureOfExperts, moe={"num_experts": 3}), parts_of()
    assert len(fusion.experts) == 3
    out = fusion(parts)
    for row in range(ROWS):
        inputs = torch.cat([vector[row] for vector in parts.vectors])
        powers = [math.exp(a) for a in plain_linear(fusion.router, inputs.tolist())]
        expected = torch.zeros(WIDTH)
        for power, expert in zip(powers, fusion.experts, strict=True):
            hidden = gelu(expert[0][0](inputs))
            expected = expected + power / sum(powers) * expert[1](hidden)
        torch.testing.assert_close(out[row], expected, rtol=0, atol=1e-5)


def balance(fusion, parts):
    fusion.train()
    fusion(parts)
    return fusion.auxiliary_loss


def test_a_uniform_router_has_no_balance_loss():
    fusion = make(MixtureOfExperts, moe={"balance_weight": 1.0})
    torch.nn.init.zeros_(fusion.router.weight)
    torch.nn.init.zeros_(fusion.router.bias)
    assert abs(balance(fusion, parts_of())) < 1e-6


def test_the_balance_loss_grows_to_its_most_when_one_expert_takes_all():
    found = []
    for lead in (0, 0.5, 1, 2, 50):
        fusion = make(MixtureOfExperts, moe={"balance_weight": 0.5})
        torch.nn.init.zeros_(fusion.router.weight)
        fusion.router.bias.data = torch.tensor([float(lead), 0, 0, 0])
        found.append(balance(fusion, parts_of()).item())
    assert found == sorted(found)
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[-1] == pytest.approx(0.5 * (4 - 1))


def test_rows_may_have_different_experts_without_a_balance_loss():
    """It asks for balance over the batch, not that every row asks all experts."""
    fusion = make(
        MixtureOfExperts, (3,), None, moe={"num_experts": 3, "balance_weight": 1.0}
    )
    with torch.no_grad():
        fusion.router.weight.copy_(100 * torch.eye(3))
        fusion.router.bias.zero_()
    vectors = torch.eye(3).repeat(2, 1)
    parts = Parts([EncodedText(vectors)], None, draw(ROWS, 0))
    assert abs(balance(fusion, parts)) < 1e-6


def test_the_balance_loss_is_the_mean_weights_squared():
    fusion, parts = make(MixtureOfExperts, moe={"balance_weight": 0.25}), parts_of()
    weights = torch.softmax(fusion.router(torch.cat(parts.vectors, 1)), 1)
    mean = [sum(column) / ROWS for column in weights.T.tolist()]
    expected = 0.25 * (4 * sum(m * m for m in mean) - 1)
    assert expected > 1e-4
    assert balance(fusion, parts).item() == pytest.approx(expected, rel=1e-4)


def test_there_is_a_balance_loss_only_in_training():
    fusion, parts = make(MixtureOfExperts), parts_of()
    fusion(parts)
    assert fusion.auxiliary_loss is None
    assert balance(fusion, parts) is not None
    fusion.eval()(parts)
    assert fusion.auxiliary_loss is None  # nothing is left of the last step


@pytest.mark.parametrize("kind", [ConcatFusion, GateFusion, CrossAttentionFusion])
def test_other_fusions_add_nothing_to_the_loss(kind):
    assert balance(make(kind), parts_of()) is None


def test_the_balance_loss_teaches_the_router_alone():
    fusion = make(MixtureOfExperts, moe={"balance_weight": 1.0})
    balance(fusion, parts_of()).backward()
    assert fusion.router.weight.grad.any()
    assert all(p.grad is None for p in fusion.experts.parameters())


def test_gradients_reach_every_expert():
    fusion = make(MixtureOfExperts, moe={"num_experts": 5})
    fusion(parts_of()).square().sum().backward()
    for expert in fusion.experts:
        assert all(p.grad.abs().max() > 1e-5 for p in expert.parameters())


def reading_of(query, key, value, heads):
    """The library's attention of one row: [n, d], [m, d], [m, d] -> [n, d]."""
    split = (
        x.view(len(x), heads, -1).transpose(0, 1)[None] for x in (query, key, value)
    )
    read = functional.scaled_dot_product_attention(*split)[0]
    return read.transpose(0, 1).flatten(1)


def words_of(states):
    return states.values.split(states.lengths)


@pytest.mark.parametrize("heads", [1, 2, 8])
@pytest.mark.parametrize("features", [1, 4])
@pytest.mark.parametrize("texts", [(3,), (3, 2)])
def test_words_and_features_read_each_other_row_by_row(texts, features, heads):
    fusion = make(CrossAttentionFusion, texts, 5, features, fusion_heads=heads)
    parts = parts_of(texts, 5, features)
    tokens = fusion.tokens(parts.features)
    found = fusion(parts)
    words = [words_of(text.states) for text in parts.texts]
    for row in range(ROWS):
        vectors = [vector[row] for vector in parts.vectors]
        for reading, all_words in zip(fusion.readings, words, strict=True):
            its = reading.project(all_words[row])
            ask, look = reading.features_read, reading.words_read
            read = reading_of(
                ask.query(tokens[row]), ask.key(its), ask.value(its), heads
            )
            informed = ask.norm(tokens[row] + ask.out(read))
            seen = reading_of(
                look.query(its), look.key(tokens[row]), look.value(tokens[row]), heads
            )
            told = look.norm(its + look.out(seen))
            vectors += [told.mean(0), informed.mean(0)]
        expected = fusion.mix(torch.cat(vectors))
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-5)


def change_word(parts, place):
    """One token state becomes another; the vectors stay."""
    text = parts.texts[0]
    values = text.states.values.clone()
    values[place] = -2 * values[place] + 1
    return [replace(text, states=replace(text.states, values=values))]


def test_one_word_changes_what_the_features_read_in_its_row_alone():
    fusion, parts = make(CrossAttentionFusion), parts_of()
    changed = change_word(parts, 2)  # a word of row 0
    (reading,) = fusion.readings
    tokens = fusion.tokens(parts.features)
    _, before = reading(parts.texts[0].states, tokens)
    _, after = reading(changed[0].states, tokens)
    moved = (after - before).abs().max(1).values
    assert moved[0] > 1e-3
    assert not moved[1:].any()
    out = (fusion(parts._replace(texts=changed)) - fusion(parts)).abs().max(1).values
    assert out[0] > 1e-4
    assert not out[1:].any()


def test_one_feature_changes_what_the_words_read():
    fusion, parts = make(CrossAttentionFusion), parts_of()
    (reading,) = fusion.readings
    features = parts.features.clone()
    features[2, 1] += 3
    states = parts.texts[0].states
    before, _ = reading(states, fusion.tokens(parts.features))
    after, _ = reading(states, fusion.tokens(features))
    moved = (after - before).abs().max(1).values
    assert moved[2] > 1e-3
    assert moved.count_nonzero() == 1


def test_a_feature_matters_through_the_words():
    """What a feature changes depends on the words: no sum of both could do it."""
    fusion, parts = make(CrossAttentionFusion), parts_of()
    (reading,) = fusion.readings
    changed = change_word(parts, 2)[0].states
    low, high = (fusion.tokens(parts.features + step) for step in (0, 2))

    def effect(states):
        return reading(states, high)[1][0] - reading(states, low)[1][0]

    assert (effect(changed) - effect(parts.texts[0].states)).abs().max() > 1e-3


def test_the_order_of_words_does_not_matter_to_those_who_read():
    """Order is in the states; attention reads a set."""
    fusion, parts = make(CrossAttentionFusion), parts_of()
    text = parts.texts[0]
    values = torch.cat([words.flip(0) for words in words_of(text.states)])
    turned = [replace(text, states=replace(text.states, values=values))]
    torch.testing.assert_close(
        fusion(parts._replace(texts=turned)), fusion(parts), rtol=0, atol=1e-6
    )


def test_without_a_table_cross_attention_is_a_concatenation():
    fusion, parts = make(CrossAttentionFusion, (3, 2), None), parts_of((3, 2), None)
    assert fusion.tokens is None
    assert len(fusion.readings) == 0
    expected = fusion.mix(torch.cat(parts.vectors, 1))
    assert torch.equal(fusion(parts), expected)


def test_only_cross_attention_reads_states():
    assert [name for name, kind in KINDS.items() if kind.reads_states] == [
        "cross_attention"
    ]
