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
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from models_fixtures import model_config, small_disk
from tabweave.artifacts import dump_json
from tabweave.batches import Rows
from tabweave.errors import ArtifactError, TrainingError
from tabweave.models import transformer_encoder
from tabweave.models.config import ARCHITECTURES
from tabweave.models.registry import save_model
from tabweave.sampling import ShuffledBatches
from tabweave.training import engine
from tabweave.training.checkpoint import model_weights
from tabweave.training.config import PRETRAINED_RATE
from tabweave.training.engine import (
    epoch_batches,
    hardware_precision,
    leak_check_rows,
    train_model,
    validation_batches,
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
    records = trained.history["records"]
    for name in ("speed/tokens_per_second", "memory/resident_memory_mib"):
        assert len(events[name]) == len(records)
    speeds = [record["samples_per_second"] for record in records]
    shown = events["speed/samples_per_second"]
    assert list(shown.values()) == pytest.approx(speeds, rel=1e-5)
    rates = {name: events[f"rate/{name}"] for name in ("head", "text/review")}
    assert all(len(rate) == 12 for rate in rates.values())
    assert max(rates["head"].values()) > max(rates["text/review"].values())
    # Batches are of equal size: the mean over rows is the mean over steps.
    losses = list(events["train/loss"].values())
    means = [sum(losses[n : n + 3]) / 3 for n in range(0, 12, 3)]
    recorded = [record["train/loss"] for record in trained.history["records"]]
    assert recorded == pytest.approx(means, abs=1e-6)


def test_tensorboard_has_the_hyperparameters(trained, folder):
    events = EventAccumulator(str(folder / "events")).Reload()
    (content,) = (
        data.content
        for tag, data in events.summary_metadata.items()
        if "session_start_info" in tag and data.plugin_data.plugin_name == "hparams"
        for data in [data.plugin_data]
    )
    found = HParamsPluginData.FromString(content).session_start_info.hparams
    assert found["training.batch_size"].number_value == 8
    assert found["training.optimizer"].string_value == "AdamW"
    assert found["model.model_class"].string_value == "trimodal_bert"


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
    # Batches 3 and 6 of the 7 of an epoch, and the last one of all.
    assert len(seen) == 24 * 7
    assert sorted(seen[:24]) == list(range(24))


@pytest.mark.parametrize("interval", [0.5, 1.0])
@pytest.mark.parametrize("seed", [5, 42])
def test_a_token_budget_bounds_batches_and_sees_every_row(
    tiny, tmp_path, interval, seed
):
    settings = {"val_check_interval": interval, "seed": seed, "max_epochs": 4}
    settings |= {"max_tokens_per_batch": 60, "early_stop_patience": 9}
    plan = tiny.plan("bert", tmp_path, **settings)
    plan = replace(plan, train=recorded(plan.train), val=recorded(plan.val))
    batches = epoch_batches(plan.train, plan.config)
    counts = [batches.count(epoch) for epoch in range(4)]
    assert len(set(counts)) > 1  # Lightning takes epochs to be of one length
    records = train_model(plan).history["records"]
    assert plan.train.asked == [
        row for epoch in range(4) for batch in batches.batches(epoch) for row in batch
    ]
    checks = [
        sum(counts[:epoch]) + step
        for epoch, count in enumerate(counts)
        for step in range(1, count + 1)
        if step % int(count * interval) == 0
    ]
    assert [r["step"] for r in records] == sorted({*checks, sum(counts)})
    assert len(plan.val.asked) == 24 * len(records)


@pytest.mark.parametrize("limit", [None, 40])
def test_validation_fits_where_training_fits(tiny, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(engine, "TOKENS_AT_ONCE", 90)
    plan = tiny.plan("trimodal_bert", tmp_path, max_tokens_per_batch=limit)
    counts, found = plan.val.token_counts(), list(validation_batches(plan))
    largest = max(counts[batch].sum() for batch in found if len(batch) > 1)
    assert (limit or 0) / 2 < largest <= (limit or 90)
    assert sorted(chain(*found)) == list(range(24))


def test_padded_batches_give_the_loss_of_packed_ones(tiny, tmp_path):
    runs = {}
    for batching in ("packed", "padded", "bucketed"):
        plan = tiny.plan(
            "trimodal_bert",
            tmp_path,
            batching=batching,
            precision="32-true",
            max_epochs=1,
            lr=1e-12,
            head_lr=1e-12,
            weight_decay=0,
        )
        runs[batching] = train_model(plan)
    shares = {}
    for batching, run in runs.items():
        record = run.history["records"][-1]
        wanted = runs["packed"].history["records"][-1]
        assert record["val/loss"] == pytest.approx(wanted["val/loss"], abs=1e-6)
        assert run.history["batching"] == batching
        # Whatever it was trained in, a model predicts packed.
        assert [text.layout for text in run.model.text_encoders] == ["packed"] * 2
        shares[batching] = record["padding_share"]
    assert shares["packed"] == 0
    assert all(0.1 < shares[name] < 0.9 for name in ("padded", "bucketed"))


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


def test_the_best_ones_asked_for_are_kept(tiny, tmp_path, scripted):
    plan = tiny.plan(
        "tabular",
        tmp_path,
        metric=scripted(0.5, 0.9, 0.7, 0.8),
        early_stop_metric="val/score",
        save_top_k=2,
    )
    assert train_model(plan).history["best"]["checkpoint"] == "epoch=0-step=6.ckpt"
    kept = {"best.ckpt", "last.ckpt", "epoch=0-step=6.ckpt", "epoch=1-step=12.ckpt"}
    assert set(names(tmp_path / "checkpoints")) == kept
    assert os.readlink(tmp_path / "checkpoints" / "best.ckpt") == "epoch=0-step=6.ckpt"


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
    [
        (1.0, [6, 12]),
        (0.5, [3, 6, 9, 12]),
        (0.7, [4, 10, 12]),  # the last step of all is checked whatever the interval
        (4, [4, 10, 12]),
        (6, [6, 12]),
    ],
)
def test_validation_comes_at_its_interval(tiny, tmp_path, interval, steps):
    plan = tiny.plan("tabular", tmp_path, val_check_interval=interval)
    assert steps_of(train_model(plan)) == steps


@pytest.mark.parametrize(
    ("batch_size", "steps"),
    [(48, [1, 2]), (24, [1, 2, 3, 4]), (16, [1, 2, 3, 4, 5, 6])],
)
def test_epochs_of_few_batches_are_validated(tiny, tmp_path, batch_size, steps):
    plan = tiny.plan("tabular", tmp_path, batch_size=batch_size, val_check_interval=0.5)
    assert steps_of(train_model(plan)) == steps


def test_validation_comes_between_accumulated_steps(tiny, tmp_path):
    plan = tiny.plan("tabular", tmp_path, accumulate_grad_batches=4)
    # 6 batches: a step of 4, which is checked, and a step of 2, checked if the last.
    trained = train_model(plan)
    assert steps_of(trained) == [1, 3, 4]
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 4


@pytest.mark.parametrize(
    ("steps", "checks"), [(5, [3, 5]), (6, [3, 6]), (8, [3, 6, 8]), (50, [3, 6, 9, 12])]
)
def test_the_last_step_of_a_bounded_run_is_validated(tiny, tmp_path, steps, checks):
    plan = tiny.plan("tabular", tmp_path, max_steps=steps)
    trained = train_model(plan)
    assert steps_of(trained) == checks
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == checks[-1]
    # The schedule ends with the run: the rate after the last step is 0.
    (schedule,) = last["lr_schedulers"]
    assert schedule["_last_lr"][0] == (0 if checks[-1] == min(steps, 12) else 1)


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


@pytest.mark.parametrize("weights", [None, "balanced", (1.0, 9.0), (0.2, 3.0)])
def test_class_weights_reach_the_loss(tiny, tmp_path, weights):
    settings = {"head_lr": 1e-12, "weight_decay": 0, "precision": "32-true"}
    plan = tiny.plan("tabular", tmp_path, class_weights=weights, **settings)
    still = {"dropout_keep": 1.0, "numeric_embedding": {"kind": "linear"}}
    spec = plan.spec.model_copy(update={"model": model_config("tabular", **still)})
    plan = replace(plan, spec=spec)
    trained = train_model(plan)
    labels = plan.train.labels
    each = {None: (1, 1), "balanced": len(labels) / (2 * np.bincount(labels))}
    weight = np.asarray(each.get(weights, weights))[labels]
    with torch.no_grad():
        logits = trained.model(plan.train.batch(np.arange(48))).double().numpy()
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(48), labels]
    batches = epoch_batches(plan.train, plan.config).batches(0)[:3]
    wanted = [(weight[b] * loss[b]).sum() / weight[b].sum() for b in batches]
    found = trained.history["records"][0]["train/loss"]
    assert found == pytest.approx(np.mean(wanted), abs=1e-5)
    plain = np.mean([loss[b].mean() for b in batches])
    assert weights is None or abs(found - plain) > 1e-3


def test_a_wrong_number_of_class_weights_is_refused(tiny, tmp_path):
    plan = tiny.plan("tabular", tmp_path, class_weights=(1.0, 2.0, 3.0))
    with pytest.raises(TrainingError, match="3 entries, but there are 2 classes"):
        train_model(plan)


def test_an_encoder_that_mixes_rows_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(transformer_encoder, "PACKED", "sdpa")
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


def test_a_second_run_through_a_link_keeps_its_own_best(tiny, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    plan = tiny.plan("tabular", tmp_path / "link", max_epochs=1)
    first, second = train_model(plan), train_model(plan)
    best = second.history["best"]["checkpoint"]
    assert best == first.history["best"]["checkpoint"]
    kept = names(tmp_path / "real" / "checkpoints")
    assert kept == sorted(["best.ckpt", best, "last.ckpt"])


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


def test_threads_are_set_as_asked_and_put_back(tiny, tmp_path):
    assert torch.get_num_threads() == 1
    plan = tiny.plan("tabular", tmp_path, max_epochs=1, threads=2)
    assert train_model(plan).history["threads"] == 2
    assert torch.get_num_threads() == 1
    with pytest.raises(TrainingError):
        train_model(tiny.plan("tabular", tmp_path, threads=2, class_weights=(1.0,)))
    assert torch.get_num_threads() == 1
    plan = tiny.plan("tabular", tmp_path, max_epochs=1, threads=None)
    assert train_model(plan).history["threads"] == 1


def test_the_leak_check_asks_rows_that_have_text(tiny):
    rows = tiny.rows("trimodal_bert")
    chosen = leak_check_rows(rows)
    counts = [column.token_counts()[chosen] for column in rows.columns]
    assert len(chosen) == 4
    assert all((count > 0).all() for count in counts)
    # The first rows would not do: some have nothing that could leak.
    assert any((column.token_counts()[:4] == 0).any() for column in rows.columns)
