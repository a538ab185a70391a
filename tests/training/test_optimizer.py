import math

import pytest
import torch

from tabweave.models.config import ARCHITECTURES
from tabweave.training.config import TrainingConfig
from tabweave.training.optimizer import (
    make_optimizer,
    make_schedule,
    parameter_groups,
    rate_factors,
    rates_by_name,
)


def groups_by_parameter(model, config, rates):
    groups = parameter_groups(model, config, rates)
    names = {id(p): name for name, p in model.named_parameters()}
    found = [
        (names[id(p)], (group["lr"], group["weight_decay"]))
        for group in groups
        for p in group["params"]
    ]
    assert len(found) == len(dict(found)) == len(names)  # each exactly once
    return dict(found)


def test_biases_norms_and_missing_vectors_do_not_decay(tiny):
    config = TrainingConfig(weight_decay=0.3)
    found = groups_by_parameter(tiny.model("trimodal_bert"), config, [1.0, 2.0])
    for name, (_, decay) in found.items():
        free = name.endswith(("bias", ".missing")) or "LayerNorm" in name
        assert decay == (0.0 if free else 0.3), name
    decaying = {name for name, (_, decay) in found.items() if decay}
    assert "head.weight" in decaying
    assert "text.0.encoder.embeddings.word_embeddings.weight" in decaying


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_exactly_the_matrices_of_an_architecture_decay(tiny, name):
    """A vector never does; a matrix or kernel does, unless it is learned vectors."""
    model = tiny.model(name)
    config = TrainingConfig(weight_decay=0.3)
    found = groups_by_parameter(model, config, [1.0] * len(model.text_encoders))
    learned = (".direction", ".frequency", ".missing", "tokens.bias")
    for parameter, (_, decay) in found.items():
        vector = model.get_parameter(parameter).ndim < 2
        free = vector or parameter.endswith(learned)
        assert decay == (0.0 if free else 0.3), parameter


def test_every_encoder_has_its_rate_and_all_else_the_head_s(tiny):
    config = TrainingConfig(head_lr=0.5)
    found = groups_by_parameter(tiny.model("trimodal_bert"), config, [1.0, 2.0])
    for name, (rate, _) in found.items():
        prefix = name[: len("text.0.encoder.")]
        wanted = {"text.0.encoder.": 1.0, "text.1.encoder.": 2.0}.get(prefix, 0.5)
        assert rate == wanted, name
    assert {rate for rate, _ in found.values()} == {0.5, 1.0, 2.0}


def test_layers_learn_slower_from_top_to_bottom(tiny):
    config = TrainingConfig(head_lr=8.0, layer_decay=0.5)
    found = groups_by_parameter(tiny.model("multimodal_bert"), config, [4.0])
    wanted = {"embeddings": 1.0, "layer.0.": 2.0, "layer.1.": 4.0}
    for name, (rate, _) in found.items():
        _, inside, rest = name.partition("text.0.encoder.")
        part = next((p for p in wanted if inside and p in rest), None)
        assert rate == wanted.get(part, 8.0), name
    assert {rate for rate, _ in found.values()} == {1.0, 2.0, 4.0, 8.0}


def test_equal_settings_share_a_group_of_one_name(tiny):
    model = tiny.model("trimodal_bert")
    groups = parameter_groups(model, TrainingConfig(weight_decay=0), [1.0, 1.0])
    assert sorted(g["name"] for g in groups) == ["head", "text/review", "text/title"]
    groups = parameter_groups(model, TrainingConfig(weight_decay=0.1), [1.0, 1.0])
    assert sorted({g["name"] for g in groups}) == ["head", "text/review", "text/title"]
    assert len(groups) == 6


def test_a_frozen_parameter_is_in_no_group(tiny):
    model = tiny.model("tabular")
    model.head.weight.requires_grad_(False)
    groups = parameter_groups(model, TrainingConfig(), [])
    trained = {id(p) for group in groups for p in group["params"]}
    assert id(model.head.weight) not in trained
    assert id(model.head.bias) in trained


def test_without_an_encoder_to_train_there_is_the_head_alone(tiny):
    model = tiny.model("multimodal_bert")
    for layer in model.text_encoders[0].layers():
        for parameter in layer:
            parameter.requires_grad_(False)
    groups = parameter_groups(model, TrainingConfig(layer_decay=0.5), [1.0])
    assert {group["name"] for group in groups} == {"head"}


def groups():
    weight = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
    return weight, [
        {"params": [weight], "name": "head", "lr": 0.1, "weight_decay": 0.5}
    ]


def sgd(weight, gradients, rate, decay, momentum):
    """Momentum as in Sutskever et al. (2013), with an L2 penalty."""
    speed = torch.zeros_like(weight)
    for gradient in gradients:
        speed = momentum * speed + gradient + decay * weight
        weight = weight - rate * speed
    return weight


def adam(weight, gradients, rate, decay, epsilon, decoupled):
    """Kingma and Ba (2015); decoupled decay as in Loshchilov and Hutter (2019)."""
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for step, given in enumerate(gradients, 1):
        gradient = given if decoupled else given + decay * weight
        if decoupled:
            weight = weight * (1 - rate * decay)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        root = (second / (1 - 0.999**step)).sqrt() + epsilon
        weight = weight - rate * first / (1 - 0.9**step) / root
    return weight


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_an_optimizer_steps_by_its_formula(kind, fused):
    config = TrainingConfig(optimizer=kind, momentum=0.7, adam_epsilon=1e-2)
    weight, parameters = groups()
    start = weight.detach().double()
    optimizer = make_optimizer(parameters, config, fused=fused)
    gradients = [torch.tensor([1.0, 0.5]), torch.tensor([-2.0, 0.1]), torch.ones(2)]
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    exact = [gradient.double() for gradient in gradients]
    if kind == "SGD":
        wanted = sgd(start, exact, 0.1, 0.5, 0.7)
    else:
        wanted = adam(start, exact, 0.1, 0.5, 1e-2, kind == "AdamW")
    assert type(optimizer).__name__ == kind
    torch.testing.assert_close(weight.detach().double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("warmup", [0, 3, 12, 40])
def test_a_scheduler_rises_and_falls_to_nothing(warmup):
    config = TrainingConfig(warmup_steps=warmup)
    factor = rate_factors(config, [4, 4, 4])
    found = [factor(step) for step in range(12)]
    rising = [(step + 1) / (warmup + 1) for step in range(min(warmup, 12))]
    left = 12 - warmup
    assert found == pytest.approx(rising + [(left - n) / left for n in range(left)])
    assert factor(12) == (0 if warmup <= 12 else 13 / 41)


def test_without_a_scheduler_the_rate_falls_with_the_epochs():
    config = TrainingConfig(run_scheduler=False, lr_decay=0.2, warmup_steps=2)
    factor = rate_factors(config, [3, 2, 4])
    found = [factor(step) for step in range(9)]
    epochs = [0, 0, 0, 1, 1, 2, 2, 2, 2]
    rise = [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1]
    wanted = [r * 0.8**e for r, e in zip(rise, epochs, strict=True)]
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("decay", [None, 0.0])
def test_without_a_scheduler_and_decay_the_rate_stays(decay):
    config = TrainingConfig(run_scheduler=False, lr_decay=decay, warmup_steps=0)
    factor = rate_factors(config, [3, 2])
    assert [factor(step) for step in range(5)] == [1] * 5


def test_a_schedule_multiplies_the_rate_of_every_group():
    _, parameters = groups()
    optimizer = make_optimizer(parameters, TrainingConfig(), fused=True)
    schedule = make_schedule(optimizer, TrainingConfig(warmup_steps=1), [4])
    seen = []
    for _ in range(4):
        seen.append(dict(rates_by_name(optimizer))["head"])
        optimizer.step()
        schedule.step()
    assert seen == pytest.approx([0.05, 0.1, 0.1 * 2 / 3, 0.1 / 3])
    assert math.isclose(dict(rates_by_name(optimizer))["head"], 0)
