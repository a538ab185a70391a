import numpy as np
import pytest
import torch
from torch.nn import functional

from models_fixtures import FIELDS, small_disk
from tabweave.batching.batches import PackedText, RowVectors
from tabweave.errors import ArtifactError
from tabweave.models.registry import build_model
from tabweave.models.row_vectors import frozen_rows, vectors_key

INDEX = np.array([5, 0, 11, 2, 2])


def frozen_model(tiny, name="multimodal_bert", **config):
    """A model whose encoders count as frozen, with random weights."""
    model = tiny.model(name, **config)
    for encoder in model.text_encoders:
        encoder.frozen = True
        for group in encoder.layers():
            for parameter in group:
                parameter.requires_grad_(False)
    return model


@pytest.mark.parametrize("name", ["bert", "multimodal_bert", "trimodal_gate_fusion"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_model_says_the_same_with_vectors_as_with_tokens(
    tiny, tmp_path, name, pooling
):
    model, rows = frozen_model(tiny, name, pooling=pooling), tiny.rows(name)
    (ready,) = frozen_rows(model, (rows,), tmp_path)
    batch = ready.batch(INDEX)
    assert all(isinstance(text, RowVectors) for text in batch.texts)
    assert batch.tokens == 0
    expected = model(rows.batch(INDEX))
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-6)


def test_rows_without_text_still_train_the_learned_vector(tiny, tmp_path):
    model, rows = frozen_model(tiny).train(), tiny.rows("multimodal_bert")
    (ready,) = frozen_rows(model, (rows,), tmp_path)
    batch = ready.batch(INDEX)  # row 0 has no text
    functional.cross_entropy(model(batch), batch.labels).backward()
    encoder = model.text_encoders[0]
    assert encoder.missing.grad.any()
    assert all(p.grad is None for group in encoder.layers() for p in group)


def test_vectors_are_computed_without_dropout_and_once(tiny, tmp_path):
    model, rows = frozen_model(tiny).train(), tiny.rows("multimodal_bert")
    splits = (rows, tiny.rows("multimodal_bert", rows=24, seed=1))
    first = frozen_rows(model, splits, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 2
    frozen_rows(model, splits, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    vectors = first[0].vectors[FIELDS[0]]
    packed = rows.columns[0].gather(np.arange(len(rows)))
    expected = model.eval().text_encoders[0](packed).vectors.detach().numpy()
    has_text = rows.columns[0].token_counts() > 0
    np.testing.assert_allclose(vectors[has_text], expected[has_text], atol=1e-6)


def test_vectors_of_another_encoder_are_not_taken_and_go(tiny, tmp_path):
    rows = tiny.rows("bert")
    (tmp_path / "a user's.npy").write_bytes(b"")
    found = {}
    for seed in (0, 1):
        model = frozen_model(tiny, "bert", seed=seed)
        (ready,) = frozen_rows(model, (rows,), tmp_path)
        found[seed] = np.array(ready.vectors[FIELDS[0]])
        assert len(list(tmp_path.iterdir())) == 2
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert (tmp_path / "a user's.npy").exists()


def test_the_key_is_of_encoder_pooling_and_tokens_and_not_of_what_is_trained(tiny):
    column = tiny.rows("bert").columns[0]
    other = tiny.rows("bert", seed=1).columns[0]

    def key(model, text=column):
        return vectors_key(model.text_encoders[0], model.spec.text[0].encoder, text)

    base = tiny.model("bert")
    keys = {
        key(base),
        key(base, other),
        key(tiny.model("bert", seed=1)),
        key(tiny.model("bert", pooling="cls")),
    }
    assert len(keys) == 4
    with torch.no_grad():
        base.text_encoders[0].missing.add_(1)
        base.head.weight.add_(1)
    assert key(base) in keys


def test_a_fusion_that_reads_words_gets_words(tiny, tmp_path):
    name = "multimodal_cross_attn"
    rows = tiny.rows(name)
    assert frozen_rows(frozen_model(tiny, name), (rows,), tmp_path) == (rows,)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_trains_its_encoder_gets_tokens(tiny, tmp_path):
    rows = tiny.rows("bert")
    assert frozen_rows(tiny.model("bert"), (rows,), tmp_path) == (rows,)
    assert isinstance(rows.batch(INDEX).texts[0], PackedText)


def test_a_full_disk_leaves_no_half_file(tiny, tmp_path):
    model, rows = frozen_model(tiny, "bert"), tiny.rows("bert")
    with small_disk(1000), pytest.raises(ArtifactError, match="Cannot write"):
        frozen_rows(model, (rows,), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_encoder_from_a_folder_is_ready_for_it(tiny, pretrained, tmp_path):
    info = {"encoder": str(pretrained)}
    plan = tiny.plan("multimodal_bert", tmp_path, **info)
    config = plan.spec.model.model_copy(update={"encoder_training": "frozen"})
    spec = plan.spec.model_copy(update={"model": config})
    model = build_model(spec, plan.encoders)
    assert not model.text_encoders[0].training  # no dropout in what is kept
    (ready,) = frozen_rows(model, (plan.train,), tmp_path / "vectors")
    assert isinstance(ready.batch(INDEX).texts[0], RowVectors)
    expected = model.eval()(plan.train.batch(INDEX))
    torch.testing.assert_close(model(ready.batch(INDEX)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:200], lambda b: b"", lambda b: b"x" * 9]
)
def test_a_damaged_file_is_written_anew(tiny, tmp_path, damage):
    model, rows = frozen_model(tiny, "bert"), tiny.rows("bert")
    frozen_rows(model, (rows,), tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    frozen_rows(model, (rows,), tmp_path)
    assert path.read_bytes() == whole
