import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file
from transformers import BertModel, DistilBertConfig, DistilBertModel

from models_fixtures import MAX_SEN_LEN, VOCABULARY
from tabweave.batches import pad
from tabweave.errors import ConfigError
from tabweave.models.config import ScratchConfig
from tabweave.models.text_encoders import (
    BertTextEncoder,
    pretrained_encoder_config,
    scratch_encoder_config,
)

POOLINGS = ("mean", "cls")


@pytest.fixture
def text(tiny):
    """Rows with 0, 1, 3, 2 and more chunks."""
    return tiny.rows("bert").batch(np.arange(12)).texts[0]


@pytest.fixture
def no_text(tiny):
    return tiny.rows("bert").batch(np.array([0, 0, 0])).texts[0]


def encoder_of(tiny, pooling="mean", dropout=False):
    encoder = tiny.model("bert", pooling=pooling).text_encoders[0]
    return encoder.train(dropout)


def variant(source, target, **changes):
    """A copy of a pretrained folder with a changed config.json."""
    shutil.copytree(source, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


def weights_of(folder):
    """The encoder's weights of a folder, as the library stores them."""
    # Not load_file: its tensors are a map of the file that a test may write next.
    return load((folder / "model.safetensors").read_bytes())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_packed_equals_padded_in_outputs_and_gradients(tiny, text, pooling):
    packed = encoder_of(tiny, pooling)
    padded = packed.for_export()
    got, expected = packed(text), padded(*pad(text, 0))
    assert got.shape == (12, 32)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    pull = torch.randn(got.shape, generator=torch.Generator().manual_seed(0))
    (got * pull).sum().backward()
    (expected * pull).sum().backward()
    ours, theirs = dict(packed.named_parameters()), dict(padded.named_parameters())
    assert set(ours) == set(theirs)
    for name, parameter in ours.items():
        size = theirs[name].grad.abs().max().clamp(min=1)
        difference = (parameter.grad - theirs[name].grad).abs().max() / size
        assert difference <= 1e-6, name


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_is_the_mean_over_its_chunks_each_alone(tiny, text, pooling):
    encoder = encoder_of(tiny, pooling)
    chunks = text.ids.split(text.lengths)
    for row, vector in enumerate(encoder(text)):
        states = [
            encoder.encoder(
                input_ids=ids[None],
                position_ids=torch.arange(len(ids))[None],
                lengths=[len(ids)],
            ).last_hidden_state[0]
            for ids, its in zip(chunks, text.chunk_row.tolist(), strict=True)
            if its == row
        ]
        pooled = [s.mean(0) if pooling == "mean" else s[0] for s in states]
        expected = torch.stack(pooled).mean(0) if pooled else encoder.missing
        torch.testing.assert_close(vector, expected, rtol=0, atol=1e-6)


def test_the_two_ways_of_pooling_differ(tiny, text):
    mean, cls = (encoder_of(tiny, pooling)(text) for pooling in POOLINGS)
    assert (mean - cls)[1:].abs().max() > 0.1


def test_a_batch_may_have_more_tokens_than_the_encoder_has_positions(tiny, text):
    encoder = encoder_of(tiny)
    assert len(text.ids) > encoder.encoder.config.max_position_embeddings
    assert torch.isfinite(encoder(text)).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_batch_without_text_is_the_learned_vector(tiny, no_text, pooling):
    encoder = encoder_of(tiny, pooling)
    out = encoder(no_text)
    assert torch.equal(out, encoder.missing.detach().expand(3, -1))
    out.sum().backward()
    assert torch.equal(encoder.missing.grad, torch.full((32,), 3.0))
    padded = encoder.for_export()(*pad(no_text, 0))
    assert torch.equal(padded, out)


def test_the_learned_vector_learns_from_rows_without_text_alone(tiny, text):
    encoder = encoder_of(tiny)
    without = torch.bincount(text.chunk_row, minlength=text.rows) == 0
    assert 0 < without.sum() < text.rows
    encoder(text).sum().backward()
    assert torch.equal(encoder.missing.grad, torch.full((32,), float(without.sum())))


def test_the_learned_vector_of_a_new_encoder_is_zero(tiny):
    encoder = BertTextEncoder(tiny.spec("bert").text[0].encoder)
    assert not encoder.missing.any()


def test_the_result_is_fp32_under_autocast(tiny, text, no_text):
    encoder = encoder_of(tiny)
    exact = encoder(text)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, missing = encoder(text), encoder(no_text)
    assert {rounded.dtype, missing.dtype} == {torch.float32}
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.1)
    assert not torch.equal(rounded, exact)


def test_hidden_dropout_works_and_attention_has_none(tiny, text):
    encoder = encoder_of(tiny, dropout=True)
    assert not torch.equal(encoder(text), encoder(text))  # and nothing is refused


@pytest.mark.parametrize("extra", [(0, 1), (2, 0), (1, 5)])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_wider_padding_changes_nothing(tiny, text, pooling, extra):
    padded = encoder_of(tiny, pooling).for_export()
    ids, mask = pad(text, 0)
    chunks, length = extra[0], min(extra[1], MAX_SEN_LEN - ids.shape[2])
    room = (0, length, 0, chunks)
    wider = [torch.nn.functional.pad(x, room, value=0) for x in (ids, mask)]
    torch.testing.assert_close(padded(*wider), padded(ids, mask), rtol=0, atol=1e-6)


def test_what_lies_under_the_padding_does_not_matter(tiny, text):
    padded = encoder_of(tiny).for_export()
    ids, mask = pad(text, 0)
    noise = torch.where(mask.bool(), ids, torch.randint_like(ids, 5, VOCABULARY))
    torch.testing.assert_close(
        padded(noise, mask), padded(ids, mask), rtol=0, atol=1e-6
    )


def test_the_export_twin_shares_nothing_with_the_encoder(tiny, text):
    encoder = encoder_of(tiny)
    before = encoder(text).detach()
    twin = encoder.for_export()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(encoder(text), before)  # same weights, same attention


def test_a_scratch_configuration_is_the_size_asked_for():
    size = ScratchConfig(
        hidden_size=24, num_layers=3, num_heads=3, intermediate_size=40
    )
    config = scratch_encoder_config(size, 77, 19, 4)
    encoder = BertTextEncoder(json.loads(json.dumps(config)))
    inner = encoder.encoder
    assert len(inner.encoder.layer) == 3
    assert inner.config.num_attention_heads == 3
    assert inner.embeddings.word_embeddings.weight.shape == (77, 24)
    assert inner.embeddings.word_embeddings.padding_idx == 4
    assert inner.embeddings.position_embeddings.weight.shape == (19, 24)
    assert inner.encoder.layer[0].intermediate.dense.weight.shape == (40, 24)
    assert (encoder.width, encoder.vocabulary_size) == (24, 77)
    assert config["attention_probs_dropout_prob"] == 0


def test_a_pretrained_configuration_is_plain_and_names_no_place(pretrained):
    config = pretrained_encoder_config(str(pretrained), MAX_SEN_LEN)
    assert json.loads(json.dumps(config)) == config
    assert str(pretrained) not in json.dumps(config)
    assert config["attention_probs_dropout_prob"] == 0
    assert config["num_hidden_layers"] == 1


def test_pretrained_weights_are_really_used(pretrained, text):
    encoder = BertTextEncoder(pretrained_encoder_config(str(pretrained), MAX_SEN_LEN))
    encoder.eval().load_pretrained(pretrained)
    stored = weights_of(pretrained)
    for name, value in encoder.encoder.state_dict().items():
        assert torch.equal(value, stored[name]), name
    # The library's own model, one sequence at a time, says the same.
    model = BertModel.from_pretrained(pretrained, attn_implementation="eager").eval()
    chunks = torch.stack(
        [
            model(ids[None]).last_hidden_state[0].mean(0)
            for ids in text.ids.split(text.lengths)
        ]
    )
    for row, vector in enumerate(encoder(text)):
        its = chunks[text.chunk_row == row]
        expected = its.mean(0) if len(its) else encoder.missing
        torch.testing.assert_close(vector, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_weights_stored_in_half_precision_become_fp32(pretrained, tmp_path, stored):
    folder = variant(pretrained, tmp_path / "half", dtype=stored)
    half = {k: v.to(getattr(torch, stored)) for k, v in weights_of(pretrained).items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    encoder = BertTextEncoder(pretrained_encoder_config(str(folder), MAX_SEN_LEN))
    encoder.load_pretrained(folder)
    for name, value in encoder.encoder.state_dict().items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, half[name].float()), name


def test_sequences_longer_than_the_encoder_takes_are_refused(pretrained):
    with pytest.raises(
        ConfigError, match=r"text.max_sen_len is 13, but .* takes at most 12 tokens"
    ):
        pretrained_encoder_config(str(pretrained), MAX_SEN_LEN + 1)


def test_another_kind_of_encoder_is_refused(tmp_path):
    config = DistilBertConfig(vocab_size=9, dim=8, n_layers=1, n_heads=1, hidden_dim=8)
    DistilBertModel(config).save_pretrained(tmp_path)
    with pytest.raises(
        ConfigError, match=r"of kind 'distilbert'\. Supported kinds: bert"
    ):
        pretrained_encoder_config(str(tmp_path), 4)


@pytest.mark.parametrize(
    "content",
    [
        *(None, "{", "{}", "[]", '{"model_type": "unheard"}'),
        '{"model_type": "bert", "hidden_size": "wide"}',
    ],
)
def test_a_folder_that_is_no_encoder_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"cannot be loaded: .*hub id, or 'scratch'"):
        pretrained_encoder_config(str(tmp_path), 4)


def test_code_beside_an_encoder_is_never_run_and_nobody_is_asked(
    pretrained, tmp_path, capsys
):
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    folder = variant(pretrained, tmp_path / "own", auto_map=own, model_type="own")
    (folder / "own.py").write_text("raise SystemExit('the code was run')")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        pretrained_encoder_config(str(folder), 4)
    assert "Do you wish to run the custom code?" not in capsys.readouterr().out
    # A known kind with code beside it is loaded without the code.
    folder = variant(pretrained, tmp_path / "known", auto_map=own)
    (folder / "own.py").write_text("raise SystemExit('the code was run')")
    encoder = BertTextEncoder(pretrained_encoder_config(str(folder), 4))
    encoder.load_pretrained(folder)


def drop_file(folder):
    (folder / "model.safetensors").unlink()


def cut_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def only_pickled(folder):
    torch.save(weights_of(folder), folder / "pytorch_model.bin")
    drop_file(folder)


def drop_one_weight(folder):
    weights = weights_of(folder)
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def other_size(folder):
    weights = weights_of(folder)
    name = "encoder.layer.0.output.dense.weight"
    weights[name] = weights[name][:, 1:].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_file, "weights of text.encoder .* cannot be loaded"),
        (cut_file, "weights of text.encoder .* cannot be loaded"),
        (only_pickled, "no file named model.safetensors"),
        (drop_one_weight, r"lacks weights: \['encoder.layer.0.output.dense.weight'\]"),
        (other_size, "weights of text.encoder .* cannot be loaded"),
    ],
)
def test_missing_or_damaged_weights_are_refused(pretrained, tmp_path, damage, message):
    folder = variant(pretrained, tmp_path / "copy")
    damage(folder)
    encoder = BertTextEncoder(pretrained_encoder_config(str(folder), MAX_SEN_LEN))
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(ConfigError, match=message):
        encoder.load_pretrained(folder)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_loading_pretrained_weights_says_nothing(pretrained, capfd, caplog):
    config = pretrained_encoder_config(str(pretrained), 8)
    BertTextEncoder(config).load_pretrained(pretrained)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert caplog.records == []
