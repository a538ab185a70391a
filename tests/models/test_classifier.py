from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from models_fixtures import FEATURES, KIND_SIZES, model_config
from tabweave.batching.batches import pad
from tabweave.models.classifier import (
    Classifier,
    PaddedClassifier,
)
from tabweave.models.config import ARCHITECTURES

BATCH = np.arange(12)  # rows with 0, 1, 2 and 3 chunks


def padded_inputs(batch, model):
    found = [tensor for text in batch.texts for tensor in pad(text, 0)]
    return [*found, batch.features] if model.spec.features else found


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_are_one_number_per_row_and_class(tiny, name, classes):
    model = tiny.model(name, classes)
    batch = tiny.rows(name).batch(BATCH)
    logits = model(batch)
    assert logits.shape == (12, classes)
    assert torch.isfinite(logits).all()
    assert logits.std(0).min() > 1e-3  # rows differ


@pytest.mark.parametrize(
    ("name", "pooling"),
    [(name, "mean") for name in ARCHITECTURES]
    + [(name, "cls") for name, a in ARCHITECTURES.items() if a.text == "bert"],
)
def test_a_loss_reaches_every_parameter(tiny, name, pooling):
    model = tiny.model(name, pooling=pooling).train()
    batch = tiny.rows(name).batch(BATCH)
    functional.cross_entropy(model(batch), batch.labels).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        # A constant added to all keys does not change a softmax: gradient 0.
        assert parameter.grad.any() or key.endswith("key.bias"), key


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_row_alone_says_what_it_says_in_any_batch(tiny, name):
    model, rows = tiny.model(name), tiny.rows(name)
    draw = np.random.default_rng(0)
    with torch.inference_mode():
        alone = torch.cat([model(rows.batch(np.array([n]))) for n in range(len(rows))])
        for size in (2, 3, 7, 16, 48):
            # Neighbours with other counts of chunks, in another order, and repeated.
            index = draw.choice(len(rows), size, replace=size > 16)
            found = model(rows.batch(index))
            torch.testing.assert_close(found, alone[index], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equal_batches_give_equal_bits(tiny, name):
    model, batch = tiny.model(name), tiny.rows(name).batch(BATCH)
    assert torch.equal(model(batch), model(batch))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_padded_twin_gives_the_softmax_of_the_logits(tiny, name, classes):
    model, batch = tiny.model(name, classes), tiny.rows(name).batch(BATCH)
    padded = PaddedClassifier(model).eval()
    expected = torch.softmax(model(batch), 1)
    found = padded(*padded_inputs(batch, model))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [n for n, a in ARCHITECTURES.items() if a.table])
def test_the_table_matters(tiny, name):
    model, batch = tiny.model(name), tiny.rows(name).batch(BATCH)
    for feature in range(len(FEATURES)):
        changed = batch.features.clone()
        changed[:, feature] += 1
        moved = model(replace(batch, features=changed)) - model(batch)
        assert moved.abs().min(1).values.max() > 1e-4, FEATURES[feature]


@pytest.mark.parametrize("name", [n for n, a in ARCHITECTURES.items() if not a.table])
def test_a_text_model_does_not_look_at_the_table(tiny, name):
    model, batch = tiny.model(name), tiny.rows(name).batch(BATCH)
    without = replace(batch, features=batch.features * float("nan"))
    assert torch.equal(model(without), model(batch))


@pytest.mark.parametrize("name", [n for n, a in ARCHITECTURES.items() if a.fields != 0])
def test_every_text_field_matters(tiny, name):
    model, batch = tiny.model(name), tiny.rows(name).batch(BATCH)
    for number, text in enumerate(batch.texts):
        texts = list(batch.texts)
        texts[number] = replace(text, ids=text.ids.flip(0))
        moved = (model(replace(batch, texts=tuple(texts))) - model(batch)).abs().max(1)
        has_text = torch.bincount(text.chunk_row, minlength=text.rows) > 0
        assert moved.values[has_text].max() > 1e-4
        assert not moved.values[~has_text].any()


def test_the_order_of_the_chunks_does_not_matter_but_of_the_words_does(tiny):
    """A row is the mean over its chunks, a chunk is a sequence."""
    model, rows = tiny.model("bert"), tiny.rows("bert")
    batch = rows.batch(np.array([2]))
    text = batch.texts[0]
    pieces = text.ids.split(text.lengths)
    lengths = text.lengths[::-1]
    swapped = replace(
        text,
        ids=torch.cat(pieces[::-1]),
        lengths=lengths,
        positions=torch.cat([torch.arange(n) for n in lengths]),
        token_chunk=torch.repeat_interleave(torch.arange(3), torch.tensor(lengths)),
    )
    assert text.lengths != lengths
    found = model(replace(batch, texts=(swapped,)))
    torch.testing.assert_close(found, model(batch), rtol=0, atol=1e-6)
    # The words of each chunk backwards, its [CLS] and [SEP] in their places.
    words = torch.cat([torch.cat([p[:1], p[1:-1].flip(0), p[-1:]]) for p in pieces])
    backwards = replace(text, ids=words)
    moved = model(replace(batch, texts=(backwards,))) - model(batch)
    assert moved.abs().max() > 1e-4


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_dropout_is_what_is_not_kept(tiny, keep):
    model = tiny.model("multimodal_bert", dropout_keep=keep)
    kinds = [m for part in (model.table, model.fusion) for m in part.modules()]
    rates = [m.p for m in kinds if isinstance(m, torch.nn.Dropout)]
    assert rates == [1 - keep] * 2


def test_text_and_table_without_a_feature_is_text_alone(tiny):
    spec = tiny.spec("multimodal_bert").model_copy(update={"features": ()})
    model = Classifier(spec).eval()
    assert model.table is None
    batch = tiny.rows("bert").batch(BATCH)
    padded = PaddedClassifier(model).eval()(*padded_inputs(batch, model))
    torch.testing.assert_close(
        padded, torch.softmax(model(batch), 1), rtol=0, atol=1e-6
    )


def test_the_wrong_number_of_texts_is_refused(tiny):
    batch = tiny.rows("bert").batch(BATCH)
    with pytest.raises(ValueError, match="zip"):
        tiny.model("trimodal_bert")(batch)


def test_vocabularies_are_those_of_the_encoders(tiny):
    assert tiny.model("trimodal_bert").vocabularies == [200, 200]
    assert tiny.model("tabular").vocabularies == []


TABLES = {
    "numeric only": ("num:amount", "num:age"),
    "categorical only": ("cat:market",),
    "one feature": ("num:amount",),
    "neither": (),
}
TABLE_NAMES = [n for n, a in ARCHITECTURES.items() if a.table]


def with_features(batch, features):
    places = [FEATURES.index(name) for name in features]
    return replace(batch, features=batch.features[:, places])


def check_model(model, batch, idle=()):
    """Forward, backward and the export twin of a model over a batch.

    Every parameter gets a gradient, or processes that train together would wait for one.
    For parameters whose names begin with one of `idle` it is 0.
    """
    logits = model(batch)
    assert torch.isfinite(logits).all()
    padded = PaddedClassifier(model).eval()(*padded_inputs(batch, model))
    torch.testing.assert_close(padded, torch.softmax(logits, 1), rtol=0, atol=1e-6)
    model.train()
    loss = functional.cross_entropy(model(batch), batch.labels)
    (loss if model.auxiliary_loss is None else loss + model.auxiliary_loss).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert not (key.startswith(tuple(idle)) and parameter.grad.any()), key
    model.eval()


@pytest.mark.parametrize(
    ("name", "features"),
    [
        pytest.param(name, features, id=f"{name}, {kind}")
        for name in TABLE_NAMES
        for kind, features in TABLES.items()
        # A model of the table alone is refused without a column.
        if features or ARCHITECTURES[name].text != "none"
    ],
)
def test_a_table_of_few_kinds_of_columns_or_of_none(tiny, name, features):
    model = tiny.model(name, features=features)
    batch = with_features(tiny.rows(name).batch(BATCH), features)
    assert (model.table is None) == (not features)
    check_model(model, batch)


@pytest.mark.parametrize("name", [n for n, a in ARCHITECTURES.items() if a.fields != 0])
def test_a_batch_without_any_text(tiny, name):
    """Rows whose every field is empty say what the learned vectors say."""
    model = tiny.model(name)
    batch = tiny.rows(name).batch(np.array([0, 0, 1]))
    empty = tiny.rows("bert").batch(np.array([0, 0, 0])).texts[0]
    batch = replace(batch, texts=(empty,) * len(batch.texts))
    learned = {f"text.{n}.missing" for n in range(len(batch.texts))}
    names = {key for key, _ in model.named_parameters() if key.startswith("text.")}
    check_model(model, batch, names - learned)


@pytest.mark.parametrize("name", [n for n, a in ARCHITECTURES.items() if a.fields != 0])
def test_the_learned_vector_decides_for_a_row_without_text(tiny, name):
    model = tiny.model(name)
    batch = tiny.rows(name).batch(BATCH)
    before = model(batch)
    with torch.no_grad():
        model.text_encoders[0].missing.add_(1)
    moved = (model(batch) - before).abs().max(1).values
    text = batch.texts[0]
    has_text = torch.bincount(text.chunk_row, minlength=text.rows) > 0
    assert (moved[~has_text] > 1e-4).all()
    assert not moved[has_text].any()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_a_mixture_adds_to_the_loss_and_only_in_training(tiny, name):
    model, batch = tiny.model(name), tiny.rows(name).batch(BATCH)
    model(batch)
    assert model.auxiliary_loss is None
    model.train()(batch)
    mixture = ARCHITECTURES[name].fusion == "moe"
    assert (model.auxiliary_loss is not None) == mixture
    if mixture:
        assert 0 < model.auxiliary_loss < 0.01 * 3  # its weight times E - 1 at most


BINS = ((-1.0, 0.0, 1.0), (-2.0, 0.5, 2.0))
NUMBERS = {
    "piecewise": {"kind": "piecewise", "bins": 2},
    "periodic": {"kind": "periodic", "frequencies": 3, "sigma": 0.5},
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("name", TABLE_NAMES)
def test_numbers_may_be_embedded_in_any_model(tiny, name, kind):
    bins = BINS if kind == "piecewise" else ()
    model = tiny.model(name, bins=bins, numeric_embedding=NUMBERS[kind])
    batch = tiny.rows(name).batch(BATCH)
    check_model(model, batch)
    assert model.table.numbers.width > len(FEATURES)
    # The embedding is read, beside the values themselves.
    before = model(batch)
    with torch.no_grad():
        model.table.layers[0].weight[:, len(FEATURES) :] = 0
    assert (model(batch) - before).abs().max() > 1e-4


PARTS = [
    (text, fusion, fields)
    for text in ("bert", "cnn", "lstm")
    for fusion in ("concat", "gate", "moe", "cross_attention")
    for fields in (1, 2, 3)
]


def third_field(tiny, rows, index):
    """A batch of two fields with a third: the reviews of other rows."""
    batch = rows.batch(index)
    others = tiny.rows("bert", seed=1).batch(index).texts
    return replace(batch, texts=batch.texts + others)


@pytest.mark.parametrize(("text", "fusion", "fields"), PARTS)
def test_any_combination_of_parts_is_a_model(tiny, text, fusion, fields):
    model = tiny.model("custom", fields=fields, text_encoder=text, fusion=fusion)
    rows = tiny.rows("custom")

    def batch_of(index):
        batch = third_field(tiny, rows, index)
        return replace(batch, texts=batch.texts[:fields])

    batch = batch_of(BATCH)
    assert len(model.text_encoders) == fields
    check_model(model, batch)
    with torch.inference_mode():
        alone = torch.cat([model(batch_of(np.array([n]))) for n in BATCH])
        assert alone.std(0).min() > 1e-3
        for index in (BATCH, BATCH[::-1].copy(), np.array([3, 0, 3, 7])):
            found = model(batch_of(index))
            torch.testing.assert_close(found, alone[index], rtol=0, atol=1e-6)


@pytest.mark.parametrize("fusion", ["concat", "gate", "moe", "cross_attention"])
@pytest.mark.parametrize("kind", KIND_SIZES)
def test_every_kind_of_encoder_goes_with_every_fusion(
    tiny, encoder_folder, kind, fusion
):
    folder = str(encoder_folder(kind))
    model = tiny.model("custom", fields=1, fusion=fusion, encoder=folder)
    batch = tiny.rows("multimodal_bert").batch(BATCH)
    with torch.inference_mode():
        expected = torch.softmax(model(batch), 1)
        padded = PaddedClassifier(model).eval()(*padded_inputs(batch, model))
    torch.testing.assert_close(padded, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["trimodal_cross_attn", "multimodal_cnn", "lstm"])
def test_the_padded_layout_gives_the_same_logits(tiny, name):
    model, batch = tiny.model(name), tiny.rows(name).batch(BATCH)
    packed = model(batch)
    padded = model.set_layout("padded")(batch)
    torch.testing.assert_close(padded, packed, rtol=0, atol=2e-6)
    assert torch.equal(model.set_layout("packed")(batch), packed)


def test_sizes_of_the_configuration_reach_the_parts(tiny):
    model = tiny.model(
        "custom",
        fields=1,
        text_encoder="lstm",
        fusion="moe",
        lstm={"num_layers": 3, "hidden_size": 5},
        moe={"num_experts": 6, "balance_weight": 0.5},
    )
    encoder = model.text_encoders[0]
    assert (len(encoder.forwards), encoder.width) == (3, 10)
    assert (len(model.fusion.experts), model.fusion.balance_weight) == (6, 0.5)
    heads = tiny.model("multimodal_cross_attn", fusion_heads=2).fusion.readings[0].heads
    assert heads == 2
    assert model_config("multimodal_cross_attn").heads == 8
