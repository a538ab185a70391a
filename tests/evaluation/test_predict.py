import numpy as np
import pytest
import torch

from models_fixtures import FEATURES, write_features
from tabweave.batching.batches import Rows
from tabweave.errors import ArtifactError
from tabweave.evaluation import predict
from tabweave.evaluation.predict import predict_probabilities
from tabweave.models.config import ARCHITECTURES


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_row_gets_what_it_gets_alone_in_the_order_of_the_file(tiny, name, classes):
    model, rows = tiny.model(name, classes), tiny.rows(name, classes=classes)
    expected = []
    with torch.inference_mode():
        for number in range(len(rows)):
            logits = model(rows.batch(np.array([number])))[0].double()
            expected.append((logits.exp() / logits.exp().sum()).tolist())
    assert np.std(expected, 0).min() > 1e-3  # an order that is lost would show
    for size in (1, 5, 48, 64):
        found = predict_probabilities(model, rows, batch_size=size)
        assert (found.shape, found.dtype) == ((48, classes), np.float32)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_prediction_is_without_dropout_and_fp32(tiny):
    model, rows = tiny.model("multimodal_bert"), tiny.rows("multimodal_bert")
    expected = predict_probabilities(model, rows)
    model.train()
    assert np.array_equal(predict_probabilities(model, rows), expected)
    assert not model.training


def test_long_rows_make_small_batches_and_change_nothing(tiny, monkeypatch):
    model, rows = tiny.model("multimodal_bert"), tiny.rows("multimodal_bert")
    expected, seen = predict_probabilities(model, rows), []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    monkeypatch.setattr(predict, "TOKENS_AT_ONCE", 60)
    found = predict_probabilities(model, rows, batch_size=16)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert max(batch.tokens for batch in seen) <= 60
    sizes = [len(batch) for batch in seen]
    assert sum(sizes) == len(rows)
    assert max(sizes) <= 16
    assert len(seen) > 48 / 16


def test_no_gradient_is_kept(tiny):
    model = tiny.model("tabular")
    predict_probabilities(model, tiny.rows("tabular"))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "names", [FEATURES[::-1], FEATURES[:3], (*FEATURES[:3], "num:other")]
)
def test_other_features_than_those_trained_on_are_refused(tiny, tmp_path, names):
    tokens, _ = tiny.files(rows=4)
    values = np.ones((4, len(names)))
    other = write_features(tmp_path / "f.arrow", values, [0, 1, 0, 1], names)
    rows = Rows(tokens, other, ("review",))
    with pytest.raises(ArtifactError) as caught:
        predict_probabilities(tiny.model("multimodal_bert"), rows)
    message = str(caught.value)
    assert f"f.arrow has the features {list(names)}" in message
    assert f"trained on {list(FEATURES)}" in message
    # A model that reads no features does not mind.
    assert len(predict_probabilities(tiny.model("bert"), rows)) == 4


@pytest.mark.parametrize("fields", [("title", "review"), ("review",), ()])
def test_other_text_fields_than_those_trained_on_are_refused(tiny, fields):
    rows = Rows(*tiny.files(), fields)
    with pytest.raises(ArtifactError, match=r"model reads \['review', 'title'\]"):
        predict_probabilities(tiny.model("trimodal_bert"), rows)


def test_a_split_without_rows_gives_no_predictions(tiny):
    rows = tiny.rows("multimodal_bert", rows=0)
    found = predict_probabilities(tiny.model("multimodal_bert", 3), rows)
    assert found.shape == (0, 3)


def test_bf16_is_close_to_fp32_and_only_on_request(tiny):
    model, rows = tiny.model("multimodal_bert"), tiny.rows("multimodal_bert")
    exact = predict_probabilities(model, rows)
    half = predict_probabilities(model, rows, precision="bf16")
    assert half.dtype == np.float32
    assert 0 < np.abs(half - exact).max() < 0.1
    np.testing.assert_allclose(half.sum(1), 1, atol=1e-6)
    assert np.array_equal(exact, predict_probabilities(model, rows, precision="fp32"))
