import pytest
import torch
from torch import nn
from torch.nn import functional

from models_fixtures import packed_text
from tabweave.batching.batches import pad
from tabweave.models.encoders.token_states import PackedStates, PaddedStates

WIDTH, FEATURES, ROWS = 8, 3, 5
# Rows with two chunks, none, one, none, and one of a single token.
LENGTHS, CHUNK_ROW = (4, 2, 7, 1), (0, 0, 2, 4)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Case:
    """The same states packed, padded, and as a list of rows."""

    def __init__(self, lengths=LENGTHS, chunk_row=CHUNK_ROW, rows=ROWS):
        self.text = packed_text(lengths, chunk_row, rows)
        self.states = draw(sum(lengths), WIDTH).requires_grad_()
        self.missing = draw(WIDTH, seed=1).requires_grad_()

    @property
    def packed(self):
        return PackedStates.of(self.states, self.text, self.missing)

    @property
    def padded(self):
        _, mask = pad(self.text, 0)
        row = self.text.chunk_row[self.text.token_chunk]
        chunk = torch.cat([torch.zeros(4), torch.ones(2), torch.zeros(99)])
        where = (row, chunk[: len(row)].long(), self.text.positions)
        wide = torch.full((*mask.shape, WIDTH), 9.0).index_put(where, self.states)
        return PaddedStates.of(wide.flatten(1, 2), mask.flatten(1), self.missing)

    @property
    def rows(self):
        row = self.text.chunk_row[self.text.token_chunk]
        found = [self.states[row == n] for n in range(self.text.rows)]
        return [its if len(its) else self.missing[None] for its in found]

    def of_tokens(self, states):
        """The states of the tokens that count, row after row."""
        if isinstance(states, PackedStates):
            return states.values
        return states.values[states.mask > 0]


@pytest.fixture
def case():
    return Case()


def heads_of(values, heads):
    return values.view(len(values), heads, -1).transpose(0, 1)


def attention(query, key, value, heads):
    """The library's attention of one row: [n, d], [m, d], [m, d] -> [n, d]."""
    split = (heads_of(x, heads)[None] for x in (query, key, value))
    read = functional.scaled_dot_product_attention(*split)[0]
    return read.transpose(0, 1).flatten(1)


def layers(count):
    torch.manual_seed(7)
    return [nn.Linear(WIDTH, WIDTH) for _ in range(count)]


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_every_row_has_its_own_tokens_or_the_learned_vector(case, kind):
    states = getattr(case, kind)
    assert torch.equal(case.of_tokens(states), torch.cat(case.rows))


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_the_mean_is_over_the_tokens_of_a_row(case, kind):
    expected = torch.stack([row.mean(0) for row in case.rows])
    torch.testing.assert_close(getattr(case, kind).mean(), expected)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_features_read_the_words_of_their_row(case, kind, heads):
    key, value = layers(2)
    query = draw(ROWS, FEATURES, WIDTH, seed=2)
    found = getattr(case, kind).read_by(query, key, value, heads)
    expected = [
        attention(query[n], key(row), value(row), heads)
        for n, row in enumerate(case.rows)
    ]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_words_read_the_features_of_their_row(case, kind, heads):
    (query,) = layers(1)
    key, value = (draw(ROWS, FEATURES, WIDTH, seed=n) for n in (3, 4))
    found = getattr(case, kind).reading(query, key, value, heads)
    expected = [
        attention(query(row), key[n], value[n], heads)
        for n, row in enumerate(case.rows)
    ]
    torch.testing.assert_close(case.of_tokens(found), torch.cat(expected))


@pytest.mark.parametrize("features", [1, 3])
def test_both_kinds_give_the_same_gradients(features):
    found = []
    for kind in ("packed", "padded"):
        case, (query, key, value) = Case(), layers(3)
        tokens = draw(ROWS, features, WIDTH, seed=5).requires_grad_()
        states = getattr(case, kind)
        read = states.read_by(tokens, key, value, 2)
        told = states.plus(states.reading(query, tokens, tokens, 2)).map(torch.tanh)
        pull = draw(ROWS, WIDTH, seed=6)
        ((told.mean() + read.sum(1)) * pull).sum().backward()
        leaves = {"states": case.states, "missing": case.missing, "tokens": tokens}
        leaves |= {"query": query.weight, "key": key.weight, "value": value.weight}
        found.append({name: leaf.grad for name, leaf in leaves.items()})
    packed, padded = found
    for name, gradient in packed.items():
        # Words that read a single feature have nothing to weigh.
        moves = features > 1 or name != "query"
        assert (gradient.abs().max() > 1e-3) == moves, name
        torch.testing.assert_close(gradient, padded[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_map_and_plus_work_token_by_token(case, kind):
    states = getattr(case, kind)
    doubled = states.plus(states.map(torch.sin))
    expected = torch.cat(case.rows)
    torch.testing.assert_close(case.of_tokens(doubled), expected + expected.sin())
    assert isinstance(doubled, type(states))


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_a_batch_without_any_text_reads_the_learned_vector(kind):
    case = Case((), (), 3)
    states = getattr(case, kind)
    assert torch.equal(case.of_tokens(states), case.missing.expand(3, -1))
    key, value = layers(2)
    query = draw(3, FEATURES, WIDTH)
    read = states.read_by(query, key, value, 2)
    # With one word there is nothing to weigh.
    torch.testing.assert_close(read, value(case.missing).expand(3, FEATURES, -1))


def test_bf16_states_stay_bf16_beside_an_fp32_learned_vector(case):
    states = PackedStates.of(case.states.bfloat16(), case.text, case.missing)
    assert states.values.dtype == torch.bfloat16
    assert states.mean().dtype == torch.float32
