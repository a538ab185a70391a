import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tabweave.models.config import NumericEmbeddingConfig
from tabweave.models.tabular_encoder import (
    FeatureTokens,
    NumericEmbedding,
    Periodic,
    PiecewiseLinear,
    TabularEncoder,
    quantile_edges,
)

MIXED = ("num:a", "cat:b", "num:c", "missing:c")
EDGES = ([-1.0, 0.0, 2.0], [0.0, 10.0, 20.0])


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear(count):
    names = [f"num:{n}" for n in range(count)]
    return NumericEmbedding(names, NumericEmbeddingConfig(kind="linear"), ())


def plain(encoder, features):
    """Two linear layers with a GELU between, with loops."""
    first, second = encoder.layers[0], encoder.layers[3]

    def layer_of(layer, values):
        return [
            sum(w * v for w, v in zip(row, values, strict=True)) + bias
            for row, bias in zip(
                layer.weight.tolist(), layer.bias.tolist(), strict=True
            )
        ]

    values = layer_of(first, features)
    hidden = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in values]
    return layer_of(second, hidden)


def test_the_vector_is_two_linear_layers_over_the_features():
    encoder = TabularEncoder(linear(3), 5, 0.5).eval()
    features = draw(4, 3)
    out = encoder(features)
    assert out.shape == (4, 5)
    assert encoder.width == 5
    expected = torch.tensor([plain(encoder, row) for row in features.tolist()])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


def test_dropout_is_the_share_asked_for_and_only_in_training():
    encoder = TabularEncoder(linear(1), 4000, 0.25)
    hidden = encoder.layers[:3](torch.ones(1, 1))
    kept = (hidden != 0).float().mean()
    assert abs(kept - 0.75) < 0.05
    encoder.eval()
    assert torch.equal(encoder(torch.ones(1, 1)), encoder(torch.ones(1, 1)))


def test_a_feature_s_scale_is_not_mixed_with_another_s():
    encoder = TabularEncoder(linear(2), 8, 0.0).eval()
    with torch.no_grad():
        encoder.layers[0].weight[:, 1] = 0
    small, large = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1e6]])
    assert torch.equal(encoder(small), encoder(large))


def share_of(value, low, high):
    """How far a value has got through one bin."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=5),
    st.integers(2, 6),
    st.integers(0, 9),
)
def test_a_piecewise_embedding_is_how_far_a_value_got_through_each_bin(
    values, bins, seed
):
    steps = np.random.default_rng(seed).uniform(0.5, 9, (2, bins + 1))
    edges = (np.cumsum(steps, 1) - 20).tolist()
    found = PiecewiseLinear(edges)(torch.tensor([[v, v] for v in values]))
    expected = [
        [share_of(value, low, high) for its in edges for low, high in pairwise(its)]
        for value in values
    ]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_a_piecewise_embedding_by_hand():
    found = PiecewiseLinear(EDGES)(torch.tensor([[-2.0, 5.0], [1.0, 25.0]]))
    # A value below the first edge or above the last is as the edge.
    assert found.tolist() == [[0, 0, 0.5, 0], [1, 0.5, 1, 1]]


def test_the_edges_are_kept_but_not_trained():
    embedding = PiecewiseLinear(EDGES)
    assert list(embedding.state_dict()) == ["edges"]
    assert list(embedding.parameters()) == []


@given(
    st.lists(
        st.one_of(
            st.floats(-1e9, 1e9, width=32),
            st.sampled_from([0.0, 1.0, 1.5, 2.0**24, 3e8]),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(2, 16),
)
def test_edges_rise_in_fp32_whatever_the_column(values, bins):
    column = np.array(values, np.float32)
    (edges,) = quantile_edges(column[:, None], bins)
    assert len(edges) == bins + 1
    stored = np.array(edges, np.float32)
    assert (np.diff(stored) > 0).all()
    assert stored[0] == column.min()
    embedded = PiecewiseLinear([edges])(torch.from_numpy(column[:, None]))
    assert torch.isfinite(embedded).all()
    # Every value of train lies inside, to the rounding of fp32.
    assert embedded.min() >= -1e-5
    assert embedded.max() <= 1 + 1e-5


def test_bins_hold_equally_many_values_of_train():
    values = np.exp(np.random.default_rng(0).normal(size=(4000, 2))).astype(np.float32)
    edges = quantile_edges(values, 8)
    for column, its in zip(values.T, edges, strict=True):
        counts, _ = np.histogram(column, its)
        assert counts.sum() == 4000
        assert np.abs(counts - 500).max() <= 2


@pytest.mark.parametrize("value", [0.0, -3.0, 1e9])
def test_a_column_of_one_value_has_as_many_edges_as_others(value):
    (edges,) = quantile_edges(np.full((5, 1), value, np.float32), 4)
    assert len(edges) == 5
    assert edges[0] == value
    found = PiecewiseLinear([edges])(torch.tensor([[value]]))
    assert found.tolist() == [[0, 0, 0, 0]]


def test_a_periodic_embedding_is_sine_and_cosine_of_learned_frequencies():
    embedding = Periodic(2, 3, 0.7)
    values = draw(4, 2)
    found = embedding(values)
    assert found.shape == (4, 12)
    for row in range(4):
        expected = []
        for feature, frequencies in enumerate(embedding.frequency.tolist()):
            angles = [
                2 * math.pi * f * values[row, feature].item() for f in frequencies
            ]
            expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        torch.testing.assert_close(found[row], torch.tensor(expected))
    found.sum().backward()
    assert (embedding.frequency.grad != 0).all()


@pytest.mark.parametrize("sigma", [0.05, 1.0])
def test_the_first_frequencies_spread_as_asked_for(sigma):
    torch.manual_seed(0)
    frequency = Periodic(40, 50, sigma).frequency
    assert abs(frequency.mean() / sigma) < 0.1
    assert abs(frequency.std() / sigma - 1) < 0.1


@pytest.mark.parametrize(("kind", "each"), [("piecewise", 2), ("periodic", 10)])
def test_only_numbers_are_embedded_and_all_features_stay(kind, each):
    config = NumericEmbeddingConfig(kind=kind, bins=2, frequencies=5)
    embedding = NumericEmbedding(MIXED, config, EDGES)
    features = draw(3, 4)
    found = embedding(features)
    assert found.shape == (3, embedding.width) == (3, 4 + 2 * each)
    assert torch.equal(found[:, :4], features)
    expected = embedding.embedding(features[:, [0, 2]])
    assert torch.equal(found[:, 4:], expected)
    # A category's value moves nothing but its own column.
    moved = embedding(features + torch.tensor([0.0, 5.0, 0.0, 5.0])) != found
    assert moved.any(0).nonzero()[:, 0].tolist() == [1, 3]


@pytest.mark.parametrize("kind", ["linear", "piecewise", "periodic"])
def test_without_numbers_features_pass(kind):
    embedding = NumericEmbedding(("cat:a",), NumericEmbeddingConfig(kind=kind), ())
    features = draw(3, 1)
    assert torch.equal(embedding(features), features)
    assert embedding.width == 1
    assert list(embedding.state_dict()) == []


def test_a_linear_embedding_is_the_value_itself():
    embedding = NumericEmbedding(MIXED, NumericEmbeddingConfig(kind="linear"), ())
    features = draw(3, 4)
    assert torch.equal(embedding(features), features)
    assert embedding.width == 4


@pytest.mark.parametrize(
    "edges", [(), EDGES[:1], (*EDGES, EDGES[0]), ([0.0, 1.0], [0.0, 1.0])]
)
def test_edges_that_are_not_those_of_the_features_are_refused(edges):
    config = NumericEmbeddingConfig(kind="piecewise", bins=2)
    with pytest.raises(ValueError, match=r"takes 3 edges .* each of the 2 numeric"):
        NumericEmbedding(MIXED, config, edges)


def test_a_feature_token_is_a_scaled_direction_with_a_bias_normalised():
    tokens = FeatureTokens(3, 8)
    features = draw(4, 3)
    found = tokens(features)
    assert found.shape == (4, 3, 8)
    for row in range(4):
        for feature in range(3):
            raw = [
                features[row, feature].item() * d + b
                for d, b in zip(
                    tokens.direction[feature].tolist(),
                    tokens.bias[feature].tolist(),
                    strict=True,
                )
            ]
            mean = sum(raw) / 8
            variance = sum((x - mean) ** 2 for x in raw) / 8
            expected = [(x - mean) / math.sqrt(variance + 1e-5) for x in raw]
            torch.testing.assert_close(
                found[row, feature], torch.tensor(expected), rtol=0, atol=1e-5
            )


def test_a_feature_token_depends_on_its_own_feature_alone():
    tokens, features = FeatureTokens(3, 8), draw(2, 3)
    changed = features.clone()
    changed[:, 1] += 2
    moved = (tokens(changed) != tokens(features)).any(2)
    assert moved.tolist() == [[False, True, False]] * 2
