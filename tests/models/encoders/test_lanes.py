import threading

import pytest
import torch
from torch import nn

from tabweave.models.encoders import lanes, transformer_encoder
from tabweave.models.encoders.adaptation import _recompute_activations
from tabweave.models.encoders.lanes import halves, pays, run_in_lanes
from tabweave.models.registry import build_model

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


@pytest.mark.parametrize("reads", [True, False])
def test_results_and_gradients_are_those_of_one_call(two_threads, reads):
    model, whole = layer(), layer()
    inputs = torch.randn(11, 5, requires_grad=reads)
    same = inputs.detach().clone().requires_grad_(reads)
    unused = nn.Parameter(torch.zeros(2))
    parts = inputs.split([4, 7])
    out = torch.cat(
        run_in_lanes(lambda _, part: model(part), parts, [*model.parameters(), unused])
    )
    expected = whole(same)
    torch.testing.assert_close(out, expected)
    pull = torch.randn(11, 3)
    (out * pull).sum().backward()
    (expected * pull).sum().backward()
    for one, other in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    if reads:
        torch.testing.assert_close(inputs.grad, same.grad)
    assert unused.grad is None


def test_a_frozen_parameter_gets_no_gradient(two_threads):
    model = layer()
    model[0].weight.requires_grad_(False)
    parts = torch.randn(4, 5).split(2)
    run_in_lanes(lambda _, part: model(part), parts, list(model.parameters()))[
        0
    ].sum().backward()
    assert model[0].weight.grad is None
    assert model[2].weight.grad is not None


def test_lanes_see_the_settings_of_the_caller_and_leave_them(two_threads):
    seen = {}

    def look(lane, part):
        seen[lane] = (
            torch.get_num_threads(),
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.is_inference_mode_enabled(),
            threading.current_thread() is threading.main_thread(),
        )
        return part

    parts = torch.ones(4, 1).split(2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        run_in_lanes(look, parts, [])
    assert set(seen.values()) == {(1, True, torch.bfloat16, True, False)}
    seen.clear()
    with torch.no_grad():
        run_in_lanes(look, parts, [])
    assert {found[1] for found in seen.values()} == {False}
    assert {found[3] for found in seen.values()} == {False}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("flushes", [True, False])
def test_lanes_flush_denormals_like_the_caller(two_threads, flushes):
    torch.set_flush_denormal(flushes)
    try:
        with torch.no_grad():
            out = run_in_lanes(
                lambda _, part: part * 0.5, torch.full((2, 1), 1e-39).split(1), []
            )
    finally:
        torch.set_flush_denormal(False)
    assert (torch.cat(out) == 0).all() == flushes


def test_an_error_in_a_lane_reaches_the_caller(two_threads):
    def fail(lane, part):
        raise ValueError(f"lane {lane}")

    with pytest.raises(ValueError, match="lane 0"):
        run_in_lanes(fail, torch.ones(2, 1).split(1), [])
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("lengths", "first"), [([4, 4], 1), ([1, 1, 8], 2), ([9, 1, 1], 1), ([1] * 6, 3)]
)
def test_halves_have_about_as_many_tokens(lengths, first):
    assert halves(lengths) == first


def test_small_batches_and_single_threads_stay_whole(two_threads):
    assert pays(CPU, [200, 200])
    assert not pays(CPU, [400])
    assert not pays(CPU, [100, 100])
    assert not pays(torch.device("cuda"), [200, 200])
    torch.set_num_threads(1)
    assert not pays(CPU, [200, 200])


def trained(tiny, monkeypatch, in_lanes, dropout):
    monkeypatch.setattr(lanes, "FEWEST_TOKENS", 2)
    monkeypatch.setattr(transformer_encoder, "pays", pays if in_lanes else no)
    model = tiny.model("multimodal_bert").train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout if module.p else 0.0
    torch.manual_seed(3)
    out = model(tiny.rows("multimodal_bert").batch(torch.arange(16).numpy()))
    out.square().sum().backward()
    return out.detach(), {n: p.grad for n, p in model.named_parameters()}


def no(*_):
    return False


def test_an_encoder_in_lanes_learns_the_same(tiny, monkeypatch, two_threads):
    out, grads = trained(tiny, monkeypatch, in_lanes=True, dropout=0.0)
    expected, others = trained(tiny, monkeypatch, in_lanes=False, dropout=0.0)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    assert any(grad is not None and "encoder" in name for name, grad in grads.items())
    for name, grad in grads.items():
        scale = None if grad is None else max(1.0, others[name].abs().max().item())
        if grad is None:
            assert others[name] is None
        else:
            assert (grad - others[name]).abs().max() < 1e-4 * scale, name


def test_lanes_give_the_same_bits_again(tiny, monkeypatch, two_threads):
    runs = [trained(tiny, monkeypatch, in_lanes=True, dropout=0.3) for _ in range(4)]
    for out, grads in runs[1:]:
        assert torch.equal(out, runs[0][0])
        for name, grad in grads.items():
            assert grad is None or torch.equal(grad, runs[0][1][name]), name


def test_checkpointed_layers_stay_in_one_lane(tiny, monkeypatch, two_threads):
    monkeypatch.setattr(lanes, "FEWEST_TOKENS", 2)
    monkeypatch.setattr(
        transformer_encoder, "run_in_lanes", lambda *_: pytest.fail("in lanes")
    )
    model = tiny.model("bert").train()
    _recompute_activations(model.text_encoders[0].encoder)
    model(tiny.rows("bert").batch(torch.arange(8).numpy()))


def test_a_row_alone_says_what_it_says_in_two_lanes(tiny, two_threads):
    """Large batches run in lanes, a single row does not: the promise of 1e-6 holds."""
    model, rows = tiny.model("bert"), tiny.rows("bert", rows=120)
    everything = rows.batch(torch.arange(120).numpy())
    assert pays(CPU, everything.texts[0].lengths)
    with torch.inference_mode():
        together = torch.softmax(model(everything), 1)
        alone = [model(rows.batch(torch.tensor([n]).numpy())) for n in range(120)]
    found = torch.softmax(torch.cat(alone), 1)
    torch.testing.assert_close(together, found, rtol=0, atol=1e-6)


def test_an_evaluation_leaves_the_generator_of_training_as_it_was(
    tiny, monkeypatch, two_threads
):
    monkeypatch.setattr(lanes, "FEWEST_TOKENS", 2)
    model = tiny.model("bert").eval()
    before = torch.get_rng_state()
    model(tiny.rows("bert").batch(torch.arange(8).numpy()))
    assert torch.equal(torch.get_rng_state(), before)


def test_adapters_with_dropout_give_the_same_bits_again(
    tiny, encoder_folder, monkeypatch, two_threads
):
    monkeypatch.setattr(lanes, "FEWEST_TOKENS", 2)
    folder = str(encoder_folder("bert"))
    config = {"encoder_training": "lora", "lora": {"dropout": 0.3}}
    spec = tiny.spec("bert", encoder=folder, **config)

    def outcome():
        torch.manual_seed(0)
        model = build_model(spec, [folder]).train()
        batch = tiny.rows("bert").batch(torch.arange(16).numpy())
        for name, weight in model.named_parameters():
            if "lora_B" in name:  # 0 at first, and then dropout has no effect
                nn.init.normal_(weight)
        torch.manual_seed(1)
        return model(batch)

    first = outcome()
    assert all(torch.equal(outcome(), first) for _ in range(4))
