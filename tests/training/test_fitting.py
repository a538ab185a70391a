import json
import os
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from models_fixtures import model_config
from tabweave.batching.batches import Rows
from tabweave.batching.sampling import ShuffledBatches
from tabweave.errors import TrainingError
from tabweave.storage.artifacts import dump_json
from tabweave.training import fitting
from tabweave.training.device import hardware_precision
from tabweave.training.engine import train_model
from tabweave.training.fitting import epoch_batches, validation_batches


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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


def test_checkpoints_are_named_linked_and_plain(trained, run_folder):
    checkpoints = run_folder / "checkpoints"
    best = trained.history["best"]["checkpoint"]
    assert names(checkpoints) == sorted(["best.ckpt", best, "last.ckpt"])
    assert os.readlink(checkpoints / "best.ckpt") == best
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)
    assert (last["epoch"], last["global_step"]) == (2, 12)  # whole epochs
    assert last["optimizer_states"]
    chosen = torch.load(checkpoints / "best.ckpt", weights_only=True)
    assert best == f"epoch={chosen['epoch']}-step={chosen['global_step']}.ckpt"


def test_tensorboard_has_the_curves(trained, run_folder, read_events):
    events = read_events(run_folder / "events")
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


def test_tensorboard_has_the_hyperparameters(trained, run_folder):
    events = EventAccumulator(str(run_folder / "events")).Reload()
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
        expected += chain(*ShuffledBatches(48, 7, seed=5).batches(epoch))
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
    monkeypatch.setattr(fitting, "TOKENS_AT_ONCE", 90)
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
