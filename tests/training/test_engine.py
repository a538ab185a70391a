import json
import logging
import os
import signal
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from safetensors.torch import load

from models_fixtures import small_disk
from tabweave.artifacts import dump_json
from tabweave.batches import Rows, ShuffledBatches
from tabweave.errors import ArtifactError, TrainingError
from tabweave.models import text_encoders
from tabweave.models.config import ARCHITECTURES
from tabweave.models.registry import save_model
from tabweave.training.checkpoint import model_weights
from tabweave.training.config import PRETRAINED_RATE
from tabweave.training.engine import (
    hardware_precision,
    leak_check_rows,
    train_model,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def trained(tiny, folder):
    """Two epochs of two validations; every step is logged."""
    return train_model(tiny.plan("trimodal_bert", folder, log_every_n_steps=1))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def equal(weights, others):
    return weights.keys() == others.keys() and all(
        torch.equal(value, others[name]) for name, value in weights.items()
    )


def steps_of(trained):
    return [record["step"] for record in trained.history["records"]]


def test_the_history_tells_how_the_run_went(trained):
    history = trained.history
    assert history["model_class"] == "trimodal_bert"
    parameters = trained.model.parameters()
    assert history["parameters"] == sum(p.numel() for p in parameters)
    assert history["precision"] == hardware_precision()
    assert history["threads"] == 1
    busy = sum(record["train_seconds"] for record in history["records"])
    assert history["samples_per_second"] == pytest.approx(96 / busy)
    assert history["seconds"] >= busy
    assert history["peak_memory_mib"] > 50
    assert steps_of(trained) == [3, 6, 9, 12]
    assert [record["epoch"] for record in history["records"]] == [0, 0, 1, 1]
    scores = [record["val/auroc"] for record in history["records"]]
    assert history["best"]["metric"] == "val/auroc"
    assert history["best"]["value"] == max(scores)
    first_best = history["records"][scores.index(max(scores))]
    name = f"epoch={first_best['epoch']}-step={first_best['step']}.ckpt"
    assert history["best"]["checkpoint"] == name
    assert json.loads(dump_json(history)) == history


def test_the_model_is_the_best_checkpoint_s_and_ready_to_predict(trained, folder):
    assert not trained.model.training
    weights = trained.model.state_dict()
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert equal(weights, model_weights(folder / "checkpoints" / "best.ckpt"))


def test_checkpoints_are_named_linked_and_plain(trained, folder):
    checkpoints = folder / "checkpoints"
    best = trained.history["best"]["checkpoint"]
    assert names(checkpoints) == sorted(["best.ckpt", best, "last.ckpt"])
    assert os.readlink(checkpoints / "best.ckpt") == best
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)
    assert (last["epoch"], last["global_step"]) == (1, 12)
    assert last["optimizer_states"]
    chosen = torch.load(checkpoints / "best.ckpt", weights_only=True)
    assert best == f"epoch={chosen['epoch']}-step={chosen['global_step']}.ckpt"


def test_tensorboard_has_the_curves(trained, folder, read_events):
    events = read_events(folder / "events")
    assert len(events["train/loss"]) == len(events["train/gradient_norm"]) == 12
    assert all(value > 0 for value in events["train/gradient_norm"].values())
    for name in ("val/loss", "val/auroc", "val/accuracy"):
        logged = list(events[name].values())
        recorded = [record[name] for record in trained.history["records"]]
        assert logged == pytest.approx(recorded, abs=1e-6)
    # Batches are of equal size: the mean over rows is the mean over steps.
    losses = list(events["train/loss"].values())
    means = [sum(losses[n : n + 3]) / 3 for n in range(0, 12, 3)]
    recorded = [record["train/loss"] for record in trained.history["records"]]
    assert recorded == pytest.approx(means, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_learns(tiny, name, classes, tmp_path):
    plan = tiny.plan(
        name, tmp_path, classes=classes, max_epochs=6, lr=5e-3, head_lr=1e-2
    )
    best = train_model(plan).history["best"]
    assert best["value"] > 0.8


class Recorded(Rows):
    """Rows that note which of them were asked for."""

    asked: list[int]

    def __getitems__(self, index):
        self.asked.extend(index)
        return super().__getitems__(index)


def recorded(rows):
    made = Recorded(rows.token_file, rows.feature_file, rows.fields)
    made.asked = []
    return made


def test_every_epoch_sees_every_row_in_the_order_of_seed_and_epoch(tiny, tmp_path):
    plan = tiny.plan("tabular", tmp_path, seed=5, max_epochs=3, batch_size=7)
    plan = replace(plan, train=recorded(plan.train), val=recorded(plan.val))
    train_model(plan)
    expected = []
    for epoch in range(3):
        batches = ShuffledBatches(48, 7, seed=5)
        batches.epoch = epoch
        expected += chain(*batches)
    assert plan.train.asked == expected
    seen = plan.val.asked
    assert len(seen) == 24 * 6
    assert sorted(seen[:24]) == list(range(24))


def saved(tiny, folder, model_class="trimodal_bert", **training):
    """The bytes of the model of a run."""
    trained = train_model(tiny.plan(model_class, folder, max_epochs=1, **training))
    save_model(trained.model, folder / "model")
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_the_same_seed_gives_the_same_bytes(tiny, tmp_path, precision):
    first = saved(tiny, tmp_path / "a", precision=precision)
    torch.rand(7)  # what was drawn before does not matter
    np.random.default_rng().random()
    assert saved(tiny, tmp_path / "b", precision=precision) == first
    assert saved(tiny, tmp_path / "c", precision=precision, seed=43) != first


def test_mixed_precision_is_used_where_asked_for(tiny, tmp_path):
    plans = {
        precision: tiny.plan("bert", tmp_path, max_epochs=1, precision=precision)
        for precision in ("32-true", "bf16-mixed")
    }
    runs = {precision: train_model(plan) for precision, plan in plans.items()}
    losses = []
    for precision, run in runs.items():
        assert run.history["precision"] == precision
        assert {p.dtype for p in run.model.parameters()} == {torch.float32}
        losses.append(run.history["records"][0]["train/loss"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)


def test_fp16_without_a_gpu_is_refused_before_anything_is_lost(tiny, tmp_path):
    if torch.accelerator.is_available():
        pytest.skip("a GPU is there, so fp16 is not refused")
    train_model(tiny.plan("tabular", tmp_path, max_epochs=1))
    before = names(tmp_path / "checkpoints")
    with pytest.raises(TrainingError, match=r"16-mixed, which needs a GPU.*bf16-mixed"):
        train_model(tiny.plan("tabular", tmp_path, precision="16-mixed"))
    assert names(tmp_path / "checkpoints") == before


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


def test_a_loss_that_decides_is_best_when_smallest(tiny, tmp_path):
    plan = tiny.plan(
        "tabular", tmp_path, early_stop_metric="val/loss", head_lr=0.5, max_epochs=4
    )
    history = train_model(plan).history
    losses = [record["val/loss"] for record in history["records"]]
    assert history["best"]["value"] == min(losses) < max(losses)


def test_a_best_score_of_zero_is_a_score(tiny, tmp_path, scripted):
    plan = tiny.plan(
        "tabular", tmp_path, metric=scripted(0.0), early_stop_metric="val/score"
    )
    assert train_model(plan).history["best"]["value"] == 0.0


@pytest.mark.parametrize(
    ("interval", "patience", "stops"),
    [
        (1, 1, 12),  # the first check is the best; one epoch without a better one
        (1, 2, 18),
        (0.5, 1, 9),  # two checks an epoch: patience ends after the second
        (0.5, 2, 15),
        (0.7, 2, 16),  # checked after 4 of 6 batches: once an epoch
    ],
)
def test_training_stops_after_epochs_of_patience(
    tiny, tmp_path, scripted, interval, patience, stops
):
    plan = tiny.plan(
        "tabular",
        tmp_path,
        metric=scripted(0.5, 0.4),
        early_stop_metric="val/score",
        early_stop_patience=patience,
        val_check_interval=interval,
        max_epochs=10,
    )
    assert steps_of(train_model(plan))[-1] == stops


def test_training_goes_on_while_it_gets_better(tiny, tmp_path, scripted):
    plan = tiny.plan(
        "tabular",
        tmp_path,
        metric=scripted(*np.linspace(0.1, 0.9, 20)),
        early_stop_metric="val/score",
        early_stop_patience=1,
        max_epochs=5,
    )
    trained = train_model(plan)
    assert steps_of(trained)[-1] == 30
    assert trained.history["best"]["checkpoint"] == "epoch=4-step=30.ckpt"


@pytest.mark.parametrize(
    ("interval", "steps"),
    [(1.0, [6, 12]), (0.5, [3, 6, 9, 12]), (4, [4, 10]), (6, [6, 12])],
)
def test_validation_comes_at_its_interval(tiny, tmp_path, interval, steps):
    plan = tiny.plan("tabular", tmp_path, val_check_interval=interval)
    assert steps_of(train_model(plan)) == steps


def test_an_interval_longer_than_an_epoch_is_refused(tiny, tmp_path):
    plan = tiny.plan("tabular", tmp_path, val_check_interval=7)
    with pytest.raises(TrainingError, match=r"is 7 batches, but an epoch has only 6"):
        train_model(plan)


def test_a_metric_that_is_undefined_on_val_is_refused(tiny, tmp_path):
    plan = tiny.plan("tabular", tmp_path, early_stop_metric="val/roc")
    with pytest.raises(TrainingError) as caught:
        train_model(plan)
    message = str(caught.value)
    assert "training.early_stop_metric 'val/roc' has no value" in message
    assert all(name in message for name in ("val/loss", "val/auroc", "val/accuracy"))


@pytest.mark.parametrize("name", ["tabular", "bert"])
def test_a_loss_that_is_not_finite_ends_training(tiny, tmp_path, name):
    plan = tiny.plan(name, tmp_path, lr=1e30, head_lr=1e30, precision="32-true")
    with pytest.raises(TrainingError, match=r"training loss is (nan|inf) at step"):
        train_model(plan)


def test_class_weights_reach_the_loss(tiny, tmp_path):
    losses = {}
    for weights in (None, "balanced", (1.0, 1.0), (1.0, 9.0)):
        plan = tiny.plan("tabular", tmp_path, class_weights=weights, head_lr=1e-9)
        records = train_model(plan).history["records"]
        losses[weights] = records[0]["train/loss"]
    assert losses[None] == losses[(1.0, 1.0)]
    assert len(set(losses.values())) == 3


def test_a_wrong_number_of_class_weights_is_refused(tiny, tmp_path):
    plan = tiny.plan("tabular", tmp_path, class_weights=(1.0, 2.0, 3.0))
    with pytest.raises(TrainingError, match="3 entries, but there are 2 classes"):
        train_model(plan)


def test_an_encoder_that_mixes_rows_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(text_encoders, "PACKED", "sdpa")
    with pytest.raises(TrainingError, match="does not keep packed sequences apart"):
        train_model(tiny.plan("multimodal_bert", tmp_path))


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


def test_threads_are_set_as_asked(tiny, tmp_path):
    before = torch.get_num_threads()
    plan = tiny.plan("tabular", tmp_path, max_epochs=1, threads=2)
    assert train_model(plan).history["threads"] == 2
    plan = tiny.plan("tabular", tmp_path, max_epochs=1, threads=None)
    assert train_model(plan).history["threads"] == 2
    assert before == 1


def test_the_leak_check_asks_rows_that_have_text(tiny):
    rows = tiny.rows("trimodal_bert")
    chosen = leak_check_rows(rows)
    counts = [column.token_counts()[chosen] for column in rows.columns]
    assert len(chosen) == 4
    assert all((count > 0).all() for count in counts)
    # The first rows would not do: some have nothing that could leak.
    assert any((column.token_counts()[:4] == 0).any() for column in rows.columns)
