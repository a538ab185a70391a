import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file
from transformers import AutoConfig, AutoModel

from models_fixtures import (
    FEATURES,
    LONGEST,
    MAX_SEN_LEN,
    library_model,
    model_config,
    packed_text,
)
from tabweave.errors import ConfigError, TrainingError
from tabweave.models.encoders.attention import check_rows_are_independent
from tabweave.models.encoders.encoder_config import KINDS, pretrained_encoder_config
from tabweave.models.encoders.text_encoder import pad_chunks
from tabweave.models.encoders.transformer_encoder import (
    TransformerEncoder,
    pretrained_model,
)
from tabweave.models.registry import TextInput, build_model, describe_model

each_kind = pytest.mark.parametrize("kind", KINDS)
PACKED_KINDS = [name for name, kind in KINDS.items() if kind.packed]
POOLED_KINDS = [name for name, kind in KINDS.items() if kind.takes_pooler]


@pytest.fixture
def text():
    """Five chunks of four rows, one without text; 30 tokens is beyond any window."""
    return packed_text([5, 30, 1, 17, 3], [0, 1, 1, 3, 3], 4)


@pytest.fixture
def short(tiny):
    """Rows of the tiny data set, whose encoder takes 12 tokens."""
    return tiny.rows("bert").batch(np.arange(12)).texts[0]


def loaded(folder, pooling="mean", longest=MAX_SEN_LEN):
    """An encoder with the weights of a folder, in eval mode."""
    config = pretrained_encoder_config(str(folder), longest)
    encoder = TransformerEncoder(config, pooling)
    encoder.load_pretrained(folder)
    with torch.no_grad():
        encoder.missing.normal_(generator=torch.Generator().manual_seed(0))
    return encoder.eval()


def each_alone(model, text):
    """Token states by the library's own model, one sequence at a time."""
    states = [
        model(input_ids=ids[None]).last_hidden_state[0]
        for ids in text.ids.split(text.lengths)
    ]
    return torch.cat(states)


def row_means(chunks, text, missing):
    """Mean over the chunks of each row, with loops."""
    found = []
    for row in range(text.rows):
        its = [c for c, of in zip(chunks, text.chunk_row, strict=True) if of == row]
        found.append(torch.stack(its).mean(0) if its else missing)
    return torch.stack(found)


@each_kind
def test_states_are_those_of_the_library_s_model_on_each_chunk(
    encoder_folder, text, kind
):
    encoder, model = loaded(encoder_folder(kind)), library_model(kind)
    expected = each_alone(model, text)
    packed = encoder.packed_states(text)
    padded = encoder.set_layout("padded").packed_states(text)
    assert expected.std() > 0.3
    torch.testing.assert_close(packed, expected, rtol=0, atol=5e-6)
    torch.testing.assert_close(padded, expected, rtol=0, atol=5e-6)


@each_kind
def test_gradients_are_those_of_the_library_s_model(encoder_folder, text, kind):
    encoder, model = loaded(encoder_folder(kind)), library_model(kind)
    draw = torch.Generator().manual_seed(0)
    pull = torch.randn(len(text.ids), encoder.width, generator=draw)
    (encoder.packed_states(text) * pull).sum().backward()
    (each_alone(model, text) * pull).sum().backward()
    expected = dict(model.named_parameters())
    names = [name for name, _ in encoder.encoder.named_parameters()]
    assert {n for n in expected if "pooler" not in n} == set(names)
    for name, parameter in encoder.encoder.named_parameters():
        size = expected[name].grad.abs().max().clamp(min=1)
        difference = (parameter.grad - expected[name].grad).abs().max() / size
        assert difference <= 2e-5, name
        assert parameter.grad.any() or name.endswith(("key.bias", "k.bias")), name


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@each_kind
def test_a_row_is_the_mean_over_its_chunks(encoder_folder, text, kind, pooling):
    encoder = loaded(encoder_folder(kind), pooling)
    states = each_alone(library_model(kind), text).split(text.lengths)
    chunks = [s.mean(0) if pooling == "mean" else s[0] for s in states]
    expected = row_means(chunks, text, encoder.missing)
    found = encoder(text).vectors
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


@each_kind
def test_the_longest_sequence_that_is_taken_works_and_no_longer(encoder_folder, kind):
    """The limit that the configuration check knows is the encoder's own."""
    encoder = loaded(encoder_folder(kind))
    longest = packed_text([LONGEST, 2], [0, 1], 2)
    expected = each_alone(library_model(kind), longest)
    found = encoder.packed_states(longest)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


def test_a_modernbert_sees_no_further_than_its_windows(encoder_folder):
    """One local layer of window 8: a token four away is seen, one five away is not."""
    config = pretrained_encoder_config(str(encoder_folder("modernbert")), LONGEST)
    config |= {"num_hidden_layers": 2, "layer_types": ["sliding_attention"] * 2}
    encoder = TransformerEncoder(config).eval()
    text = packed_text([30, 20], [0, 1], 2)
    ids = text.ids.clone()
    ids[10] = (ids[10] + 1) % 200
    for layout in ("packed", "padded"):
        encoder.set_layout(layout)
        before = encoder.packed_states(text)
        after = encoder.packed_states(replace(text, ids=ids))
        moved = (after - before).abs().amax(1) > 1e-7
        assert moved.nonzero()[:, 0].tolist() == list(range(2, 19)), layout


def rows_of(kind, encoder_folder, tiny):
    """A classifier over a kind of encoder, and rows of the tiny data set."""
    folder = str(encoder_folder(kind))
    field = TextInput("review", folder, 200, 0, MAX_SEN_LEN, 3)
    config = model_config("multimodal_bert")
    spec = describe_model(config, [field], FEATURES, ["no", "yes"])
    model = build_model(spec, [folder]).eval()
    return model, tiny.rows("multimodal_bert")


@each_kind
def test_rows_are_kept_apart(encoder_folder, tiny, kind):
    model, rows = rows_of(kind, encoder_folder, tiny)
    batch = rows.batch(np.arange(6))
    check_rows_are_independent(model, batch, model.vocabularies, rows=6)


@pytest.mark.parametrize("kind", [name for name in PACKED_KINDS if name != "bert"])
def test_the_check_finds_attention_across_chunks(encoder_folder, tiny, kind):
    model, rows = rows_of(kind, encoder_folder, tiny)
    # What packing alone does with the library's own attention.
    model.text_encoders[0].encoder.set_attn_implementation("eager")
    batch = rows.batch(np.arange(6))
    with pytest.raises(TrainingError, match=r"row \d moved by"):
        check_rows_are_independent(model, batch, model.vocabularies, rows=6)


@each_kind
def test_a_row_says_the_same_beside_other_rows(encoder_folder, tiny, kind):
    """Kinds without the attention hook are padded to whatever their neighbours want."""
    model, rows = rows_of(kind, encoder_folder, tiny)
    encoder = model.text_encoders[0]
    draw = np.random.default_rng(0)
    with torch.inference_mode():
        alone = [encoder(rows.batch(np.array([n])).texts[0]).vectors for n in range(12)]
        for size in (2, 5, 12):
            index = draw.choice(12, size, replace=False)
            found = encoder(rows.batch(index).texts[0]).vectors
            expected = torch.cat([alone[n] for n in index])
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@each_kind
def test_layers_are_the_library_s_in_order_and_hold_every_parameter_once(kind):
    encoder = TransformerEncoder(library_model(kind).config.to_diff_dict())
    layers = encoder.layers()
    found = [id(p) for group in layers for p in group]
    assert len(found) == len(set(found))
    assert set(found) == {id(p) for p in encoder.encoder.parameters()}
    assert len(layers) == 1 + encoder.encoder.config.num_hidden_layers
    names = {id(p): name for name, p in encoder.encoder.named_parameters()}
    for depth, group in enumerate(layers[1:]):
        # The norm over the topmost states belongs to the top.
        own = [n for n in (names[id(p)] for p in group) if not n.startswith("final")]
        assert own
        assert all(f".{depth}." in f".{name}" for name in own)
    below = {names[id(p)] for p in layers[0]}
    assert any("embeddings.weight" in name for name in below)
    assert not any("layer." in name or "layers." in name for name in below)


def test_the_pooler_is_on_top(tiny):
    encoder = tiny.model("bert", pooling="pooler").text_encoders[0]
    top = {id(p) for p in encoder.layers()[-1]}
    assert {id(p) for p in encoder.pooler.parameters()} < top
    assert len(encoder.layers()) == 3


@each_kind
def test_the_weights_of_a_folder_are_really_used(encoder_folder, kind):
    encoder = loaded(encoder_folder(kind))
    stored = AutoModel.from_pretrained(encoder_folder(kind)).state_dict()
    for name, value in encoder.encoder.state_dict().items():
        assert torch.equal(value, stored[name]), name
    assert {n for n in stored if "pooler" not in n} == set(encoder.encoder.state_dict())


@pytest.mark.parametrize("kind", POOLED_KINDS)
def test_the_pooler_of_a_pretrained_encoder_is_the_library_s(
    encoder_folder, text, kind
):
    encoder, model = loaded(encoder_folder(kind), "pooler"), library_model(kind)
    chunks = [
        model(input_ids=ids[None]).pooler_output[0]
        for ids in text.ids.split(text.lengths)
    ]
    found = encoder(text).vectors
    expected = row_means(chunks, text, encoder.missing)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(POOLED_KINDS)))
def test_an_encoder_without_a_pooler_gets_a_new_one(encoder_folder, text, kind):
    encoder = loaded(encoder_folder(kind), "pooler")
    first = [s[0] for s in each_alone(library_model(kind), text).split(text.lengths)]
    chunks = [torch.tanh(encoder.pooler(state)) for state in first]
    expected = row_means(chunks, text, encoder.missing)
    found = encoder(text).vectors
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


def test_a_folder_without_the_pooler_gives_a_new_one(encoder_folder, tmp_path):
    folder = variant(encoder_folder("bert"), tmp_path / "bare")
    weights = {k: v for k, v in weights_of(folder).items() if "pooler" not in k}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    encoder = loaded(folder, "pooler")
    assert abs(encoder.pooler.weight.std() - 0.02) < 0.002
    assert not encoder.pooler.bias.any()


def test_a_new_pooler_is_drawn_as_wide_as_the_encoder_s_weights(tiny):
    config = tiny.spec("bert", scratch={"hidden_size": 128}).text[0].encoder
    encoder = TransformerEncoder(config | {"initializer_range": 0.3}, "pooler")
    assert abs(encoder.pooler.weight.std() - 0.3) < 0.01
    assert not encoder.pooler.bias.any()
    before = encoder.pooler.weight.clone()
    encoder.start_pooler()
    assert not torch.equal(encoder.pooler.weight, before)


def test_the_ways_of_pooling_differ(tiny, short):
    ways = ("mean", "cls", "pooler")
    mean, cls, pooler = (
        tiny.model("bert", pooling=way).text_encoders[0](short).vectors for way in ways
    )
    for one, other in ((mean, cls), (cls, pooler), (mean, pooler)):
        assert (one - other)[1:].abs().max() > 0.1


def test_a_batch_may_have_more_tokens_than_the_encoder_has_positions(tiny, short):
    encoder = tiny.model("bert").text_encoders[0]
    assert len(short.ids) > encoder.encoder.config.max_position_embeddings
    assert torch.isfinite(encoder(short).vectors).all()


@each_kind
def test_hidden_dropout_works_and_attention_has_none(encoder_folder, text, kind):
    folder = encoder_folder(kind)
    config = pretrained_encoder_config(str(folder), LONGEST)
    names = [n for n in AutoConfig.for_model(**config).to_dict() if "dropout" in n]
    quiet = {name: 0.0 for name in names if name != "classifier_dropout"}
    encoder = TransformerEncoder(config | quiet).train()
    # Nothing else is random, so nothing on attention weights is.
    assert torch.equal(encoder(text).vectors, encoder(text).vectors)
    loud = {name: 0.2 for name in quiet if "attention" not in name}
    encoder = TransformerEncoder(config | loud).train()
    assert not torch.equal(encoder(text).vectors, encoder(text).vectors)


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


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_weights_stored_in_half_precision_become_fp32(pretrained, tmp_path, stored):
    folder = variant(pretrained, tmp_path / "half", dtype=stored)
    half = {k: v.to(getattr(torch, stored)) for k, v in weights_of(pretrained).items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    for name, value in loaded(folder).encoder.state_dict().items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, half[name].float()), name


def test_code_beside_a_known_kind_is_not_run(pretrained, tmp_path):
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    folder = variant(pretrained, tmp_path / "known", auto_map=own)
    (folder / "own.py").write_text("raise SystemExit('the code was run')")
    assert loaded(folder)


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


@pytest.mark.parametrize("pooling", ["mean", "pooler"])
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
def test_missing_or_damaged_weights_are_refused(
    pretrained, tmp_path, damage, message, pooling
):
    folder = variant(pretrained, tmp_path / "copy")
    config = pretrained_encoder_config(str(folder), MAX_SEN_LEN)
    damage(folder)
    encoder = TransformerEncoder(config, pooling)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(ConfigError, match=message):
        encoder.load_pretrained(folder)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_half_a_file_of_weights_is_noticed_with_the_configuration(pretrained, tmp_path):
    folder = variant(pretrained, tmp_path / "copy")
    cut_file(folder)
    with pytest.raises(
        ConfigError, match=r"cannot be loaded: .*covered\. Give a folder"
    ):
        pretrained_encoder_config(str(folder), MAX_SEN_LEN)


def test_loading_pretrained_weights_says_nothing(pretrained, capfd, caplog):
    config = pretrained_encoder_config(str(pretrained), 8)
    for pooling in ("mean", "pooler"):
        TransformerEncoder(config, pooling).load_pretrained(pretrained)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert caplog.records == []


@each_kind
def test_a_pretrained_model_has_a_pooler_only_when_asked(encoder_folder, kind):
    folder = encoder_folder(kind)
    assert getattr(pretrained_model(folder), "pooler", None) is None
    if kind in POOLED_KINDS:
        assert pretrained_model(folder, pooler=True).pooler is not None


@each_kind
def test_padding_takes_the_encoder_s_own_token(encoder_folder, text, kind):
    encoder = loaded(encoder_folder(kind))
    ids, mask = pad_chunks(text, encoder.pad_id)
    assert encoder.pad_id == encoder.encoder.config.pad_token_id
    expected = encoder.packed_states(text)
    found = encoder.set_layout("padded").padded_states(ids, mask)[mask > 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)
