import math

import numpy as np
import pytest
import torch

from tabweave.errors import TrainingError
from tabweave.training.config import TrainingConfig
from tabweave.training.module import class_weights, parameter_groups


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


def test_every_encoder_has_its_rate_and_all_else_the_head_s(tiny):
    config = TrainingConfig(head_lr=0.5)
    found = groups_by_parameter(tiny.model("trimodal_bert"), config, [1.0, 2.0])
    for name, (rate, _) in found.items():
        prefix = name[: len("text.0.encoder.")]
        wanted = {"text.0.encoder.": 1.0, "text.1.encoder.": 2.0}.get(prefix, 0.5)
        assert rate == wanted, name
    assert {rate for rate, _ in found.values()} == {0.5, 1.0, 2.0}


def test_equal_settings_share_a_group(tiny):
    model = tiny.model("trimodal_bert")
    config = TrainingConfig(head_lr=1.0, weight_decay=0)
    assert len(parameter_groups(model, config, [1.0, 1.0])) == 1
    config = TrainingConfig(head_lr=1.0, weight_decay=0.1)
    assert len(parameter_groups(model, config, [1.0, 1.0])) == 2


def test_a_frozen_parameter_is_in_no_group(tiny):
    model = tiny.model("tabular")
    model.head.weight.requires_grad_(False)
    groups = parameter_groups(model, TrainingConfig(), [])
    trained = {id(p) for group in groups for p in group["params"]}
    assert id(model.head.weight) not in trained
    assert id(model.head.bias) in trained


def test_no_weights_by_default():
    assert class_weights(TrainingConfig(), np.array([1, 99])) is None


def test_balanced_weights_give_every_class_the_same_say():
    counts = np.array([10, 30, 60])
    weights = class_weights(TrainingConfig(class_weights="balanced"), counts)
    torch.testing.assert_close(weights, torch.tensor([100 / 30, 100 / 90, 100 / 180]))
    np.testing.assert_allclose(weights.numpy() * counts, 100 / 3, rtol=1e-6)


def test_balancing_an_absent_class_is_refused():
    config = TrainingConfig(class_weights="balanced")
    with pytest.raises(TrainingError, match=r"every class in train.*\[3, 0\]"):
        class_weights(config, np.array([3, 0]))


def test_weights_are_taken_as_given_or_refused():
    config = TrainingConfig(class_weights=(1, 10))
    assert class_weights(config, np.array([3, 0])).tolist() == [1, 10]
    with pytest.raises(
        TrainingError, match=r"must match num_classes: .* 2 entries, .* 3 classes"
    ):
        class_weights(config, np.array([3, 0, 1]))


def loss_by_hand(model, batch, weights):
    """Mean of -log p of the true class over rows, weighted by the class."""
    probabilities = torch.softmax(model(batch).detach(), 1).double()
    total, size = 0.0, 0.0
    for row, label in enumerate(batch.labels.tolist()):
        total -= weights[label] * math.log(probabilities[row, label])
        size += weights[label]
    return total / size


@pytest.mark.parametrize("weights", [None, (1.0, 10.0)])
def test_the_loss_is_the_weighted_mean_over_rows(fit, weights):
    expected, found = [], []

    def before(module, batch):
        module.model.eval()  # without dropout, so that both compute the same
        expected.append(loss_by_hand(module.model, batch, weights or (1.0, 1.0)))

    def after(module, batch, outputs):
        found.append(float(outputs["loss"]))

    given = None if weights is None else torch.tensor(weights)
    fit(before=before, after=after, weights=given, max_epochs=1)
    assert len(found) == 6
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_val_loss_is_the_mean_over_all_rows_without_weights(fit, tiny, tmp_path):
    trainer, module = fit(weights=torch.tensor([1.0, 10.0]), max_epochs=1)
    rows = tiny.plan("multimodal_bert", tmp_path).val
    whole = rows.batch(np.arange(len(rows)))  # batches of 7 would not divide 24 rows
    with torch.no_grad():
        expected = loss_by_hand(module.model.eval(), whole, (1.0, 1.0))
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(expected)


def test_the_metric_sees_the_whole_val_split_once(fit, scripted, tiny, tmp_path):
    metric = scripted(0.5)
    _, module = fit(metric=metric, early_stop_metric="val/score", max_epochs=2)
    assert len(metric.calls) == 2
    rows = tiny.plan("multimodal_bert", tmp_path).val
    order = np.argsort(-rows.token_counts(), kind="stable")
    with torch.no_grad():
        last = torch.softmax(module.model.eval()(rows.batch(order)), 1)
    probabilities, labels = metric.calls[-1]
    np.testing.assert_array_equal(labels, rows.labels[order])
    np.testing.assert_allclose(probabilities, last.numpy(), atol=1e-6)


def test_values_that_are_undefined_are_not_logged(fit, scripted):
    trainer, _ = fit(metric=scripted(None), early_stop_metric="val/loss", max_epochs=1)
    assert "val/score" not in trainer.callback_metrics
    assert "val/loss" in trainer.callback_metrics


@pytest.mark.parametrize("metric", ["val/score", "val/other"])
def test_a_decisive_metric_without_a_value_is_refused(fit, scripted, metric):
    with pytest.raises(TrainingError, match=rf"{metric}' has no value .*: val/loss\."):
        fit(metric=scripted(None), early_stop_metric=metric)


def plain_schedule(total, warmup, decays):
    """Up in equal steps, then down in equal steps to 0 after the last one, or level."""
    factors = [(step + 1) / (warmup + 1) for step in range(min(warmup, total))]
    falling = total - warmup
    after = [(falling - step) / falling if decays else 1.0 for step in range(falling)]
    return factors + after


@pytest.mark.parametrize("decays", [True, False])
@pytest.mark.parametrize("warmup", [None, 0, 5, 11, 12, 40])
def test_the_rates_follow_the_schedule(fit, warmup, decays):
    seen = []

    def before(module, batch):
        groups = module.optimizers().param_groups
        seen.append({group["lr"] for group in groups})

    settings = {"lr": 1e-3, "head_lr": 4e-3, "run_scheduler": decays}
    fit(before=before, warmup_steps=warmup, warmup_fraction=0.25, **settings)
    total = 12  # 48 rows in batches of 8, twice
    factors = plain_schedule(total, 3 if warmup is None else warmup, decays)
    assert len(seen) == len(factors) == total
    for rates, factor in zip(seen, factors, strict=True):
        assert sorted(rates) == pytest.approx([1e-3 * factor, 4e-3 * factor])


def gradient_norms(fit, **training):
    """Norm of the gradients that the optimizer used and the one logged, per step."""
    used, logged = [], []

    def after(module, batch, outputs):
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        used.append(math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients)))
        logged.append(float(module.trainer.callback_metrics["train/gradient_norm"]))

    fit(after=after, max_epochs=1, lr=1e-9, head_lr=1e-9, **training)
    return used, logged


def test_gradients_are_clipped_by_their_norm_and_the_norm_is_logged(fit):
    free, logged = gradient_norms(fit, gradient_clip_val=0)
    assert free == pytest.approx(logged, rel=1e-5)
    limit = sorted(free)[len(free) // 2]
    clipped, logged = gradient_norms(fit, gradient_clip_val=limit)
    assert logged == pytest.approx(free, rel=1e-3)  # before clipping
    assert clipped == pytest.approx([min(norm, limit) for norm in free], rel=1e-3)


def test_the_optimizer_is_fused_adamw_with_the_epsilon_asked_for(fit):
    _, module = fit("tabular", adam_epsilon=3e-7, max_epochs=1)
    optimizer = module.optimizers().optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["fused"]
    assert optimizer.defaults["eps"] == 3e-7


def test_class_weights_are_no_part_of_a_checkpoint(fit):
    _, module = fit("tabular", weights=torch.tensor([1.0, 2.0]), max_epochs=1)
    assert all(name.startswith("model.") for name in module.state_dict())
