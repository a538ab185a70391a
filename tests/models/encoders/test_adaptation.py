import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from models_fixtures import KIND_SIZES, MAX_SEN_LEN, library_model
from tabweave.errors import ConfigError
from tabweave.models.config import LoraConfig
from tabweave.models.encoders.adaptation import (
    add_adapters,
    check_adaptation,
    merge_adapters,
)
from tabweave.models.encoders.encoder_config import KINDS, pretrained_encoder_config
from tabweave.models.encoders.transformer_encoder import TransformerEncoder
from tabweave.models.registry import build_model, load_model, save_model

each_kind = pytest.mark.parametrize("kind", KINDS)
NAME = "multimodal_bert"


def built(tiny, folder, name=NAME, seed=0, **config):
    """A model over the encoder of a folder, adapted for training."""
    spec = tiny.spec(name, encoder=str(folder), **config)
    torch.manual_seed(seed)
    return build_model(spec, [str(folder)] * len(spec.text))


def batch_of(tiny, name=NAME):
    return tiny.rows(name).batch(np.arange(12))


def bits(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before, module):
    """Names of the weights that are not the same bits any more."""
    after = module.state_dict()
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def step(model, batch, count=3):
    """A few steps over what is to be trained, with weight decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
    model.train()
    for _ in range(count):
        optimizer.zero_grad()
        functional.cross_entropy(model(batch), batch.labels).backward()
        optimizer.step()


def names_of(encoder, groups):
    """Names of the parameters of some layers, as the encoder calls them."""
    wanted = {id(p) for group in groups for p in group}
    return {name for name, p in encoder.named_parameters() if id(p) in wanted}


def trained_in(encoder):
    return {name for name, p in encoder.named_parameters() if p.requires_grad}


@each_kind
def test_full_training_moves_every_layer(tiny, encoder_folder, kind):
    model = built(tiny, encoder_folder(kind))
    encoder, before = model.text_encoders[0], bits(model.text_encoders[0])
    step(model, batch_of(tiny))
    moved = changed(before, encoder)
    for group in encoder.layers():
        assert names_of(encoder, [group]) & moved
    assert "missing" in moved


@each_kind
def test_a_frozen_encoder_keeps_its_bits_and_stays_in_eval_mode(
    tiny, encoder_folder, kind
):
    model = built(tiny, encoder_folder(kind), encoder_training="frozen")
    encoder, before = model.text_encoders[0], bits(model.text_encoders[0])
    rest = bits(model.fusion)
    step(model, batch_of(tiny))
    assert changed(before, encoder) == {"missing"}
    assert changed(rest, model.fusion)
    assert encoder.frozen
    assert model.fusion.training
    assert not any(module.training for module in encoder.modules())


def test_a_frozen_encoder_has_no_dropout(tiny, encoder_folder):
    model = built(tiny, encoder_folder("bert"), encoder_training="frozen").train()
    encoder, text = model.text_encoders[0], batch_of(tiny).texts[0]
    assert torch.equal(encoder(text).vectors, encoder(text).vectors)


@pytest.mark.parametrize("count", [1, 2])
@each_kind
def test_the_last_layers_are_trained_and_no_others(tiny, encoder_folder, kind, count):
    folder = encoder_folder(kind)
    model = built(tiny, folder, encoder_training="last_k", last_k=count)
    encoder = model.text_encoders[0]
    upper = names_of(encoder, encoder.layers()[-count:]) | {"missing"}
    assert trained_in(encoder) == upper
    before = bits(encoder)
    step(model, batch_of(tiny))
    assert changed(before, encoder) <= upper
    for group in encoder.layers()[-count:]:
        assert changed(before, encoder) & names_of(encoder, [group])
    assert all(module.training for module in encoder.modules())


def test_the_pooler_is_trained_with_the_last_layers(tiny, encoder_folder):
    folder = encoder_folder("bert")
    config = {"encoder_training": "last_k", "last_k": 1, "pooling": "pooler"}
    encoder = built(tiny, folder, **config).text_encoders[0]
    assert {"pooler.weight", "pooler.bias"} <= trained_in(encoder)
    frozen = built(tiny, folder, encoder_training="frozen", pooling="pooler")
    assert trained_in(frozen.text_encoders[0]) == {"missing"}


@pytest.mark.parametrize("name", ["bert", "cnn", "lstm"])
@pytest.mark.parametrize("trainable", [True, False])
def test_embeddings_are_trained_or_not(tiny, encoder_folder, name, trainable):
    folder = encoder_folder("bert")
    model = built(tiny, folder, name, is_embeddings_trainable=trainable)
    encoder = model.text_encoders[0]
    lowest = names_of(encoder, encoder.layers()[:1])
    everything = {name for name, _ in encoder.named_parameters()}
    assert trained_in(encoder) == (everything if trainable else everything - lowest)
    before = bits(encoder)
    step(model, batch_of(tiny, name))
    assert bool(changed(before, encoder) & lowest) == trainable


@each_kind
def test_low_rank_adapters_are_all_that_is_trained(tiny, encoder_folder, kind):
    model = built(tiny, encoder_folder(kind), encoder_training="lora")
    encoder = model.text_encoders[0]
    adapters = {name for name, _ in encoder.named_parameters() if ".lora_" in name}
    assert trained_in(encoder) == adapters | {"missing"}
    # Two matrices at each adapted part of each layer.
    depth = encoder.encoder.config.num_hidden_layers
    assert len(adapters) == 2 * len(KINDS[kind].adapted) * depth
    before = bits(encoder)
    step(model, batch_of(tiny))
    moved = changed(before, encoder)
    assert adapters <= moved
    assert moved <= adapters | {"missing"}


def test_new_adapters_change_nothing(tiny, encoder_folder):
    """One of the two matrices starts at zero."""
    folder, batch = encoder_folder("bert"), batch_of(tiny)
    plain, adapted = (
        built(tiny, folder, encoder_training=mode).text_encoders[0].eval()
        for mode in ("full", "lora")
    )
    expected = plain(batch.texts[0]).vectors
    assert torch.equal(adapted(batch.texts[0]).vectors, expected)


def test_adapters_are_of_the_rank_and_scale_asked_for(tiny, encoder_folder):
    lora = {"rank": 3, "alpha": 12, "dropout": 0.25}
    model = built(tiny, encoder_folder("bert"), encoder_training="lora", lora=lora)
    encoder = model.text_encoders[0]
    for layer in encoder.encoder_layers():
        for part in (layer.attention.self.query, layer.attention.self.value):
            assert part.lora_A["default"].weight.shape == (3, 32)
            assert part.scaling == {"default": 4.0}
            assert part.lora_dropout["default"].p == 0.25
        assert not hasattr(layer.attention.self.key, "lora_A")


def with_wide_adapters(model):
    """As if long training had moved them."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)
    return model.eval()


@each_kind
def test_merged_adapters_say_the_same_under_plain_names(tiny, encoder_folder, kind):
    folder, batch = encoder_folder(kind), batch_of(tiny)
    model = built(tiny, folder, encoder_training="lora")
    untouched = model.eval()(batch)
    before = with_wide_adapters(model)(batch)
    assert (before - untouched).abs().max() > 1e-3
    merge_adapters(model)
    torch.testing.assert_close(model(batch), before, rtol=0, atol=1e-6)
    plain = built(tiny, folder)
    assert set(model.state_dict()) == set(plain.state_dict())
    moved = changed(
        bits(plain.text_encoders[0].encoder), model.text_encoders[0].encoder
    )
    assert len(moved) == len(KINDS[kind].adapted) * len(
        model.text_encoders[0].encoder_layers()
    )


def test_a_model_without_adapters_has_nothing_to_merge(tiny):
    model = tiny.model("trimodal_bert")
    before = bits(model)
    merge_adapters(model)
    assert changed(before, model) == set()


@each_kind
def test_an_adapted_model_is_saved_without_adapters(
    tiny, encoder_folder, tmp_path, kind
):
    batch = batch_of(tiny)
    model = built(tiny, encoder_folder(kind), encoder_training="lora")
    before = with_wide_adapters(model)(batch)
    save_model(model, tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert not [name for name in stored if "lora" in name or "base_layer" in name]
    again = load_model(tmp_path / "model")
    torch.testing.assert_close(again(batch), before, rtol=0, atol=1e-6)
    assert again.spec.model.encoder_training == "lora"


def test_every_text_field_has_its_adapters(tiny, encoder_folder):
    model = built(
        tiny, encoder_folder("bert"), "trimodal_bert", encoder_training="lora"
    )
    for encoder in model.text_encoders:
        assert len([n for n in trained_in(encoder) if ".lora_" in n]) == 8


WITHOUT_PEFT = """
import sys
import tabweave.models.registry
from tabweave.models.encoders.adaptation import add_adapters
from tabweave.models.config import LoraConfig
assert "peft" not in sys.modules, "imported where no adapter is wanted"
sys.modules["peft"] = None  # as if it were not installed
try:
    add_adapters(None, LoraConfig())
except ImportError as error:
    sys.exit(str(error))
"""


def test_peft_is_imported_for_adapters_alone_and_its_absence_says_what_to_install():
    command = [sys.executable, "-c", WITHOUT_PEFT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "lora needs peft" in done.stderr
    assert done.stderr.strip().endswith("pip install 'tabweave[lora]'")


def test_adapters_join_a_plain_encoder(tiny):
    encoder = TransformerEncoder(tiny.spec("bert").text[0].encoder)
    add_adapters(encoder, LoraConfig(rank=2))
    assert any(".lora_" in name for name in trained_in(encoder))


@pytest.mark.parametrize("count", [0, 1, 2])
@each_kind
def test_the_upper_layers_start_anew_and_no_others(tiny, encoder_folder, kind, count):
    model = built(tiny, encoder_folder(kind), reinit_layers=count)
    encoder = model.text_encoders[0]
    stored = {f"encoder.{n}": v for n, v in library_model(kind).state_dict().items()}
    moved = {
        name
        for name, value in encoder.state_dict().items()
        if name != "missing" and not torch.equal(value, stored[name])
    }
    layers = encoder.encoder_layers()
    upper = names_of(
        encoder, [[*n.parameters()] for n in layers[len(layers) - count :]]
    )
    assert moved == upper


def test_new_layers_are_drawn_as_the_library_draws_them(tiny, tmp_path):
    library_model("bert", initializer_range=0.11, hidden_size=64).save_pretrained(
        tmp_path
    )
    encoder = built(tiny, tmp_path, reinit_layers=1).text_encoders[0]
    below, top = encoder.encoder_layers()
    weights = torch.cat(
        [
            p.flatten()
            for n, p in top.named_parameters()
            if p.ndim > 1 and "Norm" not in n
        ]
    )
    assert abs(weights.mean()) < 0.005
    assert abs(weights.std() - 0.11) < 0.005
    # A normal distribution has this much beyond two standard deviations.
    assert abs((weights.abs() > 0.22).float().mean() - 0.0455) < 0.01
    for name, parameter in top.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "LayerNorm" in name:
            assert (parameter == 1).all(), name
    assert below.attention.self.query.weight.std() > 0.3  # as it is in the file


def test_two_seeds_draw_two_layers(tiny, encoder_folder):
    one, other = (
        built(tiny, encoder_folder("bert"), seed=seed, reinit_layers=1)
        for seed in (1, 2)
    )
    upper = [
        m.text_encoders[0].encoder_layers()[1].output.dense.weight for m in (one, other)
    ]
    assert not torch.equal(*upper)


@pytest.mark.parametrize("anew", [True, False])
def test_the_pooler_starts_anew_when_asked(tiny, encoder_folder, anew):
    folder = encoder_folder("bert")
    model = built(tiny, folder, pooling="pooler", reinit_pooler=anew)
    encoder, stored = model.text_encoders[0], library_model("bert")
    assert torch.equal(encoder.pooler.weight, stored.pooler.dense.weight) != anew
    encoder = encoder.encoder.state_dict()
    assert all(torch.equal(v, stored.state_dict()[n]) for n, v in encoder.items())


def test_an_encoder_from_nothing_is_as_it_was_drawn(tiny):
    """Its layers are new anyway: drawing them twice would change equal seeds."""
    models = []
    for count in (0, 1):
        torch.manual_seed(0)
        models.append(build_model(tiny.spec(NAME, reinit_layers=count)))
    assert changed(bits(models[0]), models[1]) == set()


def loss_and_gradients(model, batch):
    model.train()
    torch.manual_seed(5)  # dropout
    loss = functional.cross_entropy(model(batch), batch.labels)
    loss.backward()
    return loss, {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("kind", [n for n, k in KINDS.items() if k.recomputes])
def test_recomputed_activations_give_the_same_loss_and_gradients(
    tiny, encoder_folder, kind
):
    folder, batch = encoder_folder(kind), batch_of(tiny)
    plain = built(tiny, folder)
    saving = built(tiny, folder, use_gradient_checkpointing=True)
    calls = []
    lowest = saving.text_encoders[0].encoder_layers()[0]
    linear = next(m for m in lowest.modules() if isinstance(m, torch.nn.Linear))
    linear.register_forward_pre_hook(lambda *_: calls.append(1))
    loss, gradients = loss_and_gradients(plain, batch)
    found, its = loss_and_gradients(saving, batch)
    assert torch.equal(found, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(its[name], gradient, rtol=0, atol=1e-7)
    assert len(calls) == 2  # once on the way there, once on the way back


def test_activations_are_recomputed_with_adapters_too(tiny, encoder_folder):
    folder, batch = encoder_folder("bert"), batch_of(tiny)
    found = [
        loss_and_gradients(
            built(tiny, folder, encoder_training="lora", use_gradient_checkpointing=on),
            batch,
        )
        for on in (False, True)
    ]
    assert torch.equal(found[0][0], found[1][0])
    for name, gradient in found[0][1].items():
        if gradient is not None:
            torch.testing.assert_close(found[1][1][name], gradient, rtol=0, atol=1e-7)


def test_an_encoder_from_nothing_recomputes_too(tiny):
    model = build_model(tiny.spec(NAME, use_gradient_checkpointing=True))
    assert model.text_encoders[0].encoder.is_activation_checkpointing


def check(tiny, folder, name=NAME, sources=None, **config):
    """What the check says of a configuration; nothing is built."""
    spec = tiny.spec(name)
    values = spec.model.model_dump(exclude_unset=True) | config
    encoder = None if folder is None else str(folder)
    if encoder:
        field = pretrained_encoder_config(encoder, MAX_SEN_LEN)
        text = tuple(f.model_copy(update={"encoder": field}) for f in spec.text)
        spec = spec.model_copy(update={"text": text})
    spec = spec.model_copy(update={"model": type(spec.model)(**values)})
    check_adaptation(spec, tuple(sources or [encoder or "scratch"] * len(spec.text)))


@pytest.mark.parametrize("mode", ["last_k", "frozen", "lora"])
def test_an_encoder_from_nothing_must_be_trained_whole(tiny, mode):
    with pytest.raises(
        ConfigError,
        match=rf"encoder_training is {mode}, but .* 'review' starts from nothing",
    ):
        check(tiny, None, encoder_training=mode)
    with pytest.raises(ConfigError, match="take full, or a pretrained encoder"):
        tiny.spec(NAME, encoder_training=mode)  # the description asks


def test_every_text_field_is_checked(tiny, encoder_folder):
    folder = encoder_folder("bert")
    sources = (str(folder), "scratch")
    with pytest.raises(ConfigError, match="'title'") as said:
        check(tiny, folder, "trimodal_bert", sources, encoder_training="frozen")
    assert "'review'" not in str(said.value)


@pytest.mark.parametrize("name", ["cnn", "lstm", "multimodal_cnn", "tabular"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("encoder_training", mode) for mode in ("last_k", "frozen", "lora")),
        ("reinit_layers", 1),
        ("pooling", "cls"),
        ("use_gradient_checkpointing", True),
    ],
)
def test_what_only_a_transformer_can_do_is_refused(tiny, name, option, value):
    with pytest.raises(
        ConfigError,
        match=rf"{option} is {value}, which only a transformer .* {name} is \w+: leave",
    ):
        check(tiny, None, name, **{option: value})


@pytest.mark.parametrize("name", ["bert", "cnn", "lstm"])
def test_random_embeddings_must_be_trained(tiny, name):
    with pytest.raises(ConfigError, match=r"is_embeddings_trainable .* from nothing"):
        check(tiny, None, name, is_embeddings_trainable=False)


@pytest.mark.parametrize(
    "config",
    [{"reinit_layers": 3}, {"encoder_training": "last_k", "last_k": 3}],
)
def test_more_layers_than_there_are_is_refused(tiny, encoder_folder, config):
    (name,) = set(config) - {"encoder_training"}
    with pytest.raises(
        ConfigError, match=rf"model.{name} is 3, but .* 'review' has 2 layers"
    ):
        check(tiny, encoder_folder("bert"), **config)


@pytest.mark.parametrize("kind", KIND_SIZES)
def test_recomputing_is_refused_where_the_library_cannot(tiny, encoder_folder, kind):
    folder = encoder_folder(kind)
    assert library_model(kind).supports_gradient_checkpointing == KINDS[kind].recomputes
    if KINDS[kind].recomputes:
        check(tiny, folder, use_gradient_checkpointing=True)
    else:
        with pytest.raises(ConfigError, match=f"is of kind {kind}, which cannot do"):
            check(tiny, folder, use_gradient_checkpointing=True)


@pytest.mark.parametrize(
    "config",
    [
        {"encoder_training": "frozen", "reinit_layers": 1},
        {"encoder_training": "lora", "reinit_layers": 1},
        {"encoder_training": "last_k", "last_k": 1, "reinit_layers": 2},
        {"encoder_training": "frozen", "reinit_pooler": True, "pooling": "pooler"},
    ],
)
def test_what_starts_anew_must_be_trained(tiny, encoder_folder, config):
    with pytest.raises(ConfigError, match="does not train all that starts anew"):
        check(tiny, encoder_folder("bert"), **config)


def test_a_frozen_pooler_must_be_a_pretrained_one(tiny, encoder_folder):
    config = {"encoder_training": "frozen", "pooling": "pooler"}
    check(tiny, encoder_folder("bert"), **config)
    with pytest.raises(ConfigError, match="electra, which has no pretrained pooler"):
        check(tiny, encoder_folder("electra"), **config)


@pytest.mark.parametrize(
    "config",
    [
        {"encoder_training": "last_k", "last_k": 2, "reinit_layers": 2},
        {"encoder_training": "lora", "pooling": "pooler", "reinit_pooler": True},
        {"reinit_layers": 2, "use_gradient_checkpointing": True},
    ],
)
def test_what_goes_together_passes(tiny, encoder_folder, config):
    folder = encoder_folder("bert")
    check(tiny, folder, **config)
    step(built(tiny, folder, **config), batch_of(tiny), count=1)


def test_all_refusals_come_in_one_message(tiny):
    with pytest.raises(ConfigError) as said:
        check(
            tiny,
            None,
            "trimodal_bert",
            encoder_training="last_k",
            last_k=5,
            reinit_layers=7,
        )
    message = str(said.value)
    for field in ("review", "title"):
        assert f"field {field!r} starts from nothing" in message
        assert f"last_k is 5, but the encoder of text field {field!r} has 2" in message
        assert f"reinit_layers is 7, but the encoder of text field {field!r}" in message
    with pytest.raises(ConfigError) as said:
        check(tiny, None, "lstm", encoder_training="lora", reinit_layers=1)
    assert "encoder_training" in str(said.value)
    assert "reinit_layers" in str(said.value)
