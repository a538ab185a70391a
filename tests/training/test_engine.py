import logging
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load

from models_fixtures import WITH_CLASSES, model_config, small_disk
from tabweave.errors import ArtifactError
from tabweave.models.registry import save_model
from tabweave.training.checkpoints.checkpoint import model_weights
from tabweave.training.config import PRETRAINED_RATE
from tabweave.training.engine import train_model


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def equal(weights, others):
    return weights.keys() == others.keys() and all(
        torch.equal(value, others[name]) for name, value in weights.items()
    )


def test_the_model_is_the_best_checkpoint_s_and_ready_to_predict(trained, run_folder):
    assert not trained.model.training
    weights = trained.model.state_dict()
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert equal(weights, model_weights(run_folder / "checkpoints" / "best.ckpt"))


@pytest.mark.parametrize(("name", "classes"), WITH_CLASSES)
def test_every_architecture_learns(tiny, name, classes, tmp_path):
    plan = tiny.plan(
        name, tmp_path, classes=classes, max_epochs=6, lr=5e-3, head_lr=1e-2
    )
    best = train_model(plan).history["best"]
    assert best["value"] > 0.8


def saved(tiny, folder, model_class="trimodal_bert", model=None, **training):
    """The bytes of the model of a run."""
    plan = tiny.plan(model_class, folder, max_epochs=1, **training)
    if model is not None:
        spec = plan.spec.model_copy(
            update={"model": model_config(model_class, **model)}
        )
        plan = replace(plan, spec=spec)
    save_model(train_model(plan).model, folder / "model")
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16-mixed"},
        {"precision": "32-true"},
        {"batching": "bucketed", "ema_decay": 0.9},
        {"max_tokens_per_batch": 80},
        {"threads": 2, "batch_size": 24},  # large enough to be computed in two lanes
    ],
)
def test_the_same_seed_gives_the_same_bytes(tiny, tmp_path, settings):
    first = saved(tiny, tmp_path / "a", **settings)
    torch.rand(7)  # what was drawn before does not matter
    np.random.default_rng().random()
    assert saved(tiny, tmp_path / "b", **settings) == first
    assert saved(tiny, tmp_path / "c", **settings, seed=43) != first


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "model",
    [
        {"encoder_training": "frozen"},
        {"encoder_training": "lora", "lora": {"dropout": 0.3}},
    ],
)
def test_an_adapted_encoder_gives_the_same_bytes_too(
    tiny, tmp_path, pretrained, model, threads
):
    settings = {"encoder": str(pretrained), "model": model, "threads": threads}
    settings |= {"batch_size": 24}  # large enough to be computed in two lanes
    first = saved(tiny, tmp_path / "a", **settings)
    torch.rand(7)
    assert saved(tiny, tmp_path / "b", **settings) == first
    assert saved(tiny, tmp_path / "c", **settings, seed=43) != first


def test_the_best_weights_come_back_and_not_the_last(tiny, tmp_path, scripted):
    metric = scripted(0.5, 0.9, 0.7, 0.8)
    plan = tiny.plan(
        "tabular", tmp_path, metric=metric, early_stop_metric="val/score", head_lr=0.1
    )
    trained = train_model(plan)
    assert trained.history["best"] == {
        "metric": "val/score",
        "value": pytest.approx(0.9),
        "checkpoint": "epoch=0-step=6.ckpt",
    }
    weights = trained.model.state_dict()
    checkpoints = tmp_path / "checkpoints"
    assert equal(weights, model_weights(checkpoints / "epoch=0-step=6.ckpt"))
    assert not equal(weights, model_weights(checkpoints / "last.ckpt"))


def test_averaged_weights_are_validated_kept_and_given(tiny, tmp_path):
    settings = {
        "max_epochs": 3,
        "val_check_interval": 1,
        "head_lr": 0.05,
        "precision": "32-true",
    }
    plan = tiny.plan("tabular", tmp_path / "ema", ema_decay=0.8, **settings)
    plain = train_model(tiny.plan("tabular", tmp_path / "plain", **settings))
    averaged = train_model(plan)
    checkpoints = tmp_path / "ema" / "checkpoints"
    best = torch.load(checkpoints / "best.ckpt", weights_only=True)
    weights = averaged.model.state_dict()
    assert equal(weights, model_weights(checkpoints / "best.ckpt"))
    current = {
        k.removeprefix("model."): v for k, v in best["current_model_state"].items()
    }
    assert not equal(weights, current)
    # Training itself goes the same way as without an average.
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)
    other = torch.load(tmp_path / "plain/checkpoints/last.ckpt", weights_only=True)
    assert equal(last["current_model_state"], other["state_dict"])
    # The metric is that of the weights that are given.
    with torch.no_grad():
        logits = averaged.model(plan.val.batch(np.arange(len(plan.val))))
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(plan.val.labels))
    record = next(
        r
        for r in averaged.history["records"]
        if r["val/auroc"] == averaged.history["best"]["value"]
    )
    assert record["val/loss"] == pytest.approx(float(loss), abs=1e-5)
    assert record["val/loss"] != plain.history["records"][0]["val/loss"]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "SGD", "lr": 0.2, "head_lr": 0.2},
        {"optimizer": "Adam"},
        {"loss": "focal"},
        {"layer_decay": 0.7},
        {"run_scheduler": False, "lr_decay": 0.1},
        {"accumulate_grad_batches": 2},
        {"ema_decay": 0.9},
        {"batching": "bucketed"},
        {"max_tokens_per_batch": 80},
    ],
)
def test_every_way_of_training_learns(tiny, tmp_path, settings):
    given = {"max_epochs": 8, "lr": 5e-3, "head_lr": 1e-2} | settings
    plan = tiny.plan("multimodal_bert", tmp_path, **given)
    assert train_model(plan).history["best"]["value"] > 0.8


def test_a_frozen_encoder_is_run_once_per_row_and_stays_as_it_was(
    tiny, tmp_path, pretrained
):
    model = model_config("multimodal_bert", encoder_training="frozen")
    plan = tiny.plan(
        "multimodal_bert",
        tmp_path,
        encoder=str(pretrained),
        max_epochs=4,
        precision="32-true",
    )
    spec = plan.spec.model_copy(update={"model": model})
    trained = train_model(replace(plan, spec=spec))
    assert len(list(plan.vectors.glob("*.npy"))) == 2
    stored = load((pretrained / "model.safetensors").read_bytes())
    for name, value in trained.model.text_encoders[0].encoder.state_dict().items():
        assert torch.equal(value, stored[name])
    records, best = trained.history["records"], trained.history["best"]
    assert {record["tokens"] for record in records} == {0}
    # The model over tokens says what it said over vectors, at the check that it is of.
    (record,) = (
        record
        for record in records
        if f"epoch={record['epoch']}-step={record['step']}.ckpt" == best["checkpoint"]
    )
    with torch.no_grad():
        logits = trained.model(plan.val.batch(np.arange(len(plan.val))))
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(plan.val.labels))
    assert record["val/loss"] == pytest.approx(float(loss), abs=1e-5)
    losses = sorted(record["val/loss"] for record in records)
    assert np.diff(losses).min() > 1e-4  # another check's weights would show


def test_training_starts_from_pretrained_weights(tiny, tmp_path, pretrained):
    plan = tiny.plan(
        "bert",
        tmp_path,
        encoder=str(pretrained),
        lr=1e-12,
        weight_decay=0,
        max_epochs=1,
    )
    model = train_model(plan).model
    stored = load((pretrained / "model.safetensors").read_bytes())
    for name, value in model.text_encoders[0].encoder.state_dict().items():
        torch.testing.assert_close(value, stored[name], rtol=0, atol=1e-9)


def test_a_pretrained_encoder_has_its_own_rate_beside_one_from_scratch(
    tiny, tmp_path, pretrained
):
    one_step = {"batch_size": 48, "max_epochs": 1, "warmup_steps": 0, "weight_decay": 0}
    plan = tiny.plan("trimodal_bert", tmp_path, encoder=str(pretrained), **one_step)
    sources = ["scratch", str(pretrained)]
    model = train_model(replace(plan, encoders=sources)).model
    stored = load((pretrained / "model.safetensors").read_bytes())
    moved = [
        (value - stored[name]).abs().max().item()
        for name, value in model.text_encoders[1].encoder.state_dict().items()
    ]
    # The first step of Adam moves a weight by the rate of its group.
    assert max(moved) == pytest.approx(PRETRAINED_RATE, rel=0.01)


def test_weights_start_from_the_seed_and_small_gradients_leave_them(tiny, tmp_path):
    def end(folder, **training):
        still = {"weight_decay": 0, "max_epochs": 1} | training
        return train_model(tiny.plan("tabular", tmp_path / folder, **still)).model

    start = end("a", seed=1, head_lr=1e-12)
    clipped = end("b", seed=1, gradient_clip_val=1e-15)
    other = end("c", seed=2, head_lr=1e-12)
    for name, value in start.state_dict().items():
        torch.testing.assert_close(clipped.state_dict()[name], value, rtol=0, atol=1e-6)
        assert (other.state_dict()[name] - value).abs().max() > 1e-3
    free = end("d", seed=1)
    assert (free.head.weight - start.head.weight).abs().max() > 1e-3


def test_a_second_run_replaces_the_first(tiny, tmp_path, read_events):
    train_model(tiny.plan("tabular", tmp_path, max_epochs=3, log_every_n_steps=1))
    plan = tiny.plan("tabular", tmp_path, max_epochs=1, log_every_n_steps=1)
    best = train_model(plan).history["best"]["checkpoint"]
    kept = names(tmp_path / "checkpoints")
    assert kept == sorted(["best.ckpt", best, "last.ckpt"])
    assert len(read_events(tmp_path / "events")["train/loss"]) == 6


def test_a_second_run_through_a_link_keeps_its_own_best(tiny, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    plan = tiny.plan("tabular", tmp_path / "link", max_epochs=1)
    first, second = train_model(plan), train_model(plan)
    best = second.history["best"]["checkpoint"]
    assert best == first.history["best"]["checkpoint"]
    kept = names(tmp_path / "real" / "checkpoints")
    assert kept == sorted(["best.ckpt", best, "last.ckpt"])


def test_ctrl_c_leaves_the_best_of_before(tiny, tmp_path):
    """The second training writes over the names of the first, and is then ended."""
    plan = tiny.plan("tabular", tmp_path)
    train_model(plan)
    checkpoints = tmp_path / "checkpoints"
    best, before = checkpoints / "best.ckpt", (checkpoints / "best.ckpt").read_bytes()
    checks = []

    def metric(probabilities, labels):
        checks.append(labels)
        if len(checks) == 4:
            raise KeyboardInterrupt
        return plan.metric(probabilities, labels)

    def again(metric=None):
        return tiny.plan("tabular", tmp_path, seed=5, max_epochs=3, metric=metric)

    with pytest.raises(KeyboardInterrupt):
        train_model(again(metric))
    assert best.read_bytes() == before
    assert (checkpoints / "last.ckpt").read_bytes() != before
    name = train_model(again()).history["best"]["checkpoint"]
    assert names(checkpoints) == sorted(["best.ckpt", name, "last.ckpt"])
    assert os.readlink(best) == name
    assert best.read_bytes() != before


def test_a_full_disk_ends_training_with_its_reason(tiny, tmp_path):
    plan = tiny.plan("multimodal_bert", tmp_path)
    with (
        small_disk(),
        pytest.raises(ArtifactError, match=r"Cannot write .*\.ckpt: File too large"),
    ):
        train_model(plan)
    assert names(tmp_path / "checkpoints") == []


def test_ctrl_c_is_passed_on_and_works_again_afterwards(tiny, tmp_path):
    def press(probabilities, labels):
        signal.raise_signal(signal.SIGINT)

    # A shell's background job starts with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_model(tiny.plan("tabular", tmp_path, metric=press))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_says_nothing_but_its_progress(tiny, tmp_path, capfd, caplog):
    with caplog.at_level(logging.DEBUG, logger="lightning"):
        train_model(tiny.plan("tabular", tmp_path))
    shown = capfd.readouterr()
    assert shown.out == ""
    lines = shown.err.replace("\r", "\n").splitlines()
    assert lines
    assert all("training:" in line for line in lines if line.strip())
    assert [r.getMessage() for r in caplog.records if "lightning" in r.name] == []
