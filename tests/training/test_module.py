import math

import numpy as np
import pytest
import torch

from tabweave.errors import TrainingError


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
    with torch.no_grad():
        every = rows.batch(np.arange(len(rows)))
        last = torch.softmax(module.model.eval()(every), 1)
    probabilities, labels = metric.calls[-1]
    np.testing.assert_array_equal(labels, rows.labels)
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


def weights_after(fit, **training):
    """Weights after training without dropout: nothing but the batches may differ."""

    def before(module, batch):
        module.model.eval()

    _, module = fit(before=before, max_epochs=1, **training)
    return module.model.state_dict()


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 4.0])])
@pytest.mark.parametrize(
    ("small", "accumulate", "large"),
    [
        (16, 2, 32),  # the last step has one batch of two
        (10, 5, 48),  # the last batch has 8 rows of 10
    ],
)
def test_accumulated_batches_step_like_one_large_batch(
    fit, optimizer, loss, weights, small, accumulate, large
):
    given = {
        "optimizer": optimizer,
        "loss": loss,
        "weights": weights,
        "warmup_steps": 0,
        "adam_epsilon": 1e-3,  # Adam of a gradient near 0 is a sign: rounding decides
        "val_check_interval": 1,
    }
    at_once = weights_after(fit, batch_size=large, **given)
    bit_by_bit = weights_after(
        fit, batch_size=small, accumulate_grad_batches=accumulate, **given
    )
    for name, value in at_once.items():
        torch.testing.assert_close(bit_by_bit[name], value, rtol=0, atol=1e-6)


def test_the_balance_of_experts_is_trained_and_logged_but_not_counted(fit):
    losses, balances = [], []

    def after(module, batch, outputs):
        losses.append((float(outputs["loss"]), float(outputs["mean"])))
        balances.append(float(module.trainer.callback_metrics["train/auxiliary_loss"]))

    trainer, _ = fit(
        "multimodal_moe", prepare=lambda model: model.train(), after=after, max_epochs=1
    )
    assert all(balance > 0 for balance in balances)
    extra = [total - mean for total, mean in losses]
    assert extra == pytest.approx(balances, abs=1e-6)
    assert float(trainer.callback_metrics["train/loss"]) == losses[-1][1]


def test_a_model_without_an_encoder_to_train_leaves_it_as_it_is(fit):
    frozen = {}

    def before(module, batch):
        if not frozen:
            frozen.update(
                {
                    name: value.clone()
                    for name, value in module.model.text[0].encoder.state_dict().items()
                }
            )

    def freeze(model):
        for layer in model.text_encoders[0].layers():
            for parameter in layer:
                parameter.requires_grad_(False)

    _, module = fit(before=before, prepare=freeze, max_epochs=1, optimizer="SGD")
    for name, value in module.model.text[0].encoder.state_dict().items():
        assert torch.equal(value, frozen[name])
    names = {group["name"] for group in module.optimizers().param_groups}
    assert names == {"head"}


def test_class_weights_are_no_part_of_a_checkpoint(fit):
    _, module = fit("tabular", weights=torch.tensor([1.0, 2.0]), max_epochs=1)
    assert all(name.startswith("model.") for name in module.state_dict())
