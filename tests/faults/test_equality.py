"""Several processes give what one process gives: in training, validation, prediction."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rank_work import fit_every, predict_every

from tabweave.evaluation.predict import predict_probabilities
from tabweave.models.config import ARCHITECTURES
from tabweave.models.registry import save_model
from tabweave.training.checkpoints.checkpoint import model_weights
from tabweave.training.config import FsdpConfig
from tabweave.training.fitting import fit
from tabweave.training.processes.launch import Ranks, launch

pytestmark = pytest.mark.slow

TRAINED = [name for name in ARCHITECTURES if name != "custom"]
TWO = Ranks(devices=2, threads=1, timeout_s=60)
WAYS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "fsdp": {"strategy": "fsdp"},
    "grad_op": {"strategy": "fsdp", "fsdp": {"sharding": "grad_op"}},
    "none": {"strategy": "fsdp", "fsdp": {"sharding": "none"}},
    "in parts": {"strategy": "fsdp", "fsdp": {"sharded_checkpoints": True}},
    "weighted": {"class_weights": (1.0, 3.0)},
    "bf16 gradients": {"gradient_compression": "bf16"},
    "not clipped": {"gradient_clip_val": 0.0},
}
COMMON: dict[str, Any] = {
    "batch_size": 7,
    "precision": "32-true",
    "gradient_clip_val": 0.05,
    "val_check_interval": 1.0,
    # Adam makes of the last bits of a tiny gradient whatever it likes.
    "optimizer": "SGD",
}


def without_dropout(plan: Any) -> Any:
    """Two processes draw other masks than one."""
    text = tuple(
        field.model_copy(
            update={"encoder": dict(field.encoder) | {"hidden_dropout_prob": 0.0}}
        )
        for field in plan.spec.text
    )
    model = plan.spec.model.model_copy(update={"dropout_keep": 1.0})
    spec = plan.spec.model_copy(update={"text": text, "model": model})
    return replace(plan, spec=spec)


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Processes that are launched import `rank_work` by its name."""
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    yield
    sys.path.remove(here)


@pytest.fixture(scope="module")
def plan_of(tiny, tmp_path_factory):
    def make(model_class, way, **training):
        folder = tmp_path_factory.mktemp("plan")
        given = COMMON | WAYS.get(way, {}) | training
        return without_dropout(tiny.plan(model_class, folder, **given))

    return make


@pytest.fixture(scope="module")
def trained(plan_of, tmp_path_factory):
    """Outcomes of trainings in two processes: "model_class/way" -> outcome."""
    plans = {
        f"{name}/{way}": plan_of(name, way)
        for name in TRAINED
        for way in (WAYS if name == "multimodal_bert" else ("ddp", "fsdp"))
    }
    return launch((fit_every, (plans,)), TWO, tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def alone(plan_of):
    """The same global batches in one process."""
    found = {}

    def make(model_class, **training):
        key = (model_class, str(training))
        if key not in found:
            plan = plan_of(model_class, "", accumulate_grad_batches=2, **training)
            found[key] = fit(plan)[1]
        return found[key]

    return make


def losses(outcome):
    keys = ("train/loss", "val/loss", "val/auroc", "rows", "step")
    return [[record[key] for key in keys] for record in outcome.history["records"]]


def largest_difference(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
@pytest.mark.parametrize("model_class", TRAINED)
def test_two_processes_are_one_on_the_same_global_batches(
    trained, alone, model_class, way
):
    got, wanted = trained[f"{model_class}/{way}"], alone(model_class)
    tolerance = 1e-5
    if ARCHITECTURES[model_class].fusion == "moe":
        tolerance = 1e-2  # the balance of the experts is that of each batch
    np.testing.assert_allclose(losses(got), losses(wanted), rtol=0, atol=tolerance)
    one, other = (model_weights(o.checkpoint) for o in (got, wanted))
    assert one.keys() == other.keys()
    assert largest_difference(one, other) < tolerance


@pytest.mark.parametrize("way", ["grad_op", "none", "in parts"])
def test_every_way_to_split_gives_the_same(trained, way):
    got, wanted = trained[f"multimodal_bert/{way}"], trained["multimodal_bert/fsdp"]
    np.testing.assert_allclose(losses(got), losses(wanted), rtol=0, atol=1e-6)
    one, other = (model_weights(o.checkpoint) for o in (got, wanted))
    assert largest_difference(one, other) < 1e-6
    assert got.checkpoint.resolve().is_dir() == (way == "in parts")


def test_class_weights_count_over_all_processes(trained, alone):
    got = trained["multimodal_bert/weighted"]
    wanted = alone("multimodal_bert", class_weights=(1.0, 3.0))
    one, other = (model_weights(o.checkpoint) for o in (got, wanted))
    assert largest_difference(one, other) < 1e-5
    plain = model_weights(alone("multimodal_bert").checkpoint)
    assert largest_difference(one, plain) > 1e-4


@pytest.mark.parametrize("way", ["bf16 gradients", "not clipped"])
def test_options_that_change_the_numbers_do(trained, way):
    got, plain = (trained[f"multimodal_bert/{w}"] for w in (way, "ddp"))
    moved = largest_difference(
        model_weights(got.checkpoint), model_weights(plain.checkpoint)
    )
    assert moved > 1e-8
    if way == "bf16 gradients":
        assert moved < 1e-2
    assert all(math.isfinite(value) for value in np.ravel(losses(got)))


def test_predictions_of_two_processes_are_those_of_one(tiny, tmp_path):
    cases, wanted = [], []
    for name in TRAINED:
        model = tiny.model(name)
        save_model(model, tmp_path / name)
        # 23 and 1 rows: neither goes into batches for two without remainder.
        splits = [tiny.rows(name, rows=23), tiny.rows(name, rows=1)]
        wanted.append([predict_probabilities(model, rows) for rows in splits])
        cases += [
            (tmp_path / name, splits, "fp32", fsdp) for fsdp in (None, FsdpConfig())
        ]
    found = launch((predict_every, (cases,)), TWO, tmp_path / "logs")
    for name, one, shares, sharded in zip(
        TRAINED, wanted, found[::2], found[1::2], strict=True
    ):
        for several in (shares, sharded):
            for got, expected in zip(several, one, strict=True):
                np.testing.assert_allclose(got, expected, atol=1e-6, err_msg=name)


def test_the_pieces_of_one_process_are_not_those_of_another(tiny):
    """Rows really are shared: what is compared above is no copy of one process."""
    from tabweave.batching.sampling import SortedBatches

    counts = tiny.rows("bert", rows=23).token_counts()
    shares = [SortedBatches(counts, 4, rank=n, world=2) for n in (0, 1)]
    rows = [np.concatenate(share.batches[: share.real]) for share in shares]
    assert not set(rows[0]) & set(rows[1])
    assert torch.equal(
        torch.from_numpy(np.sort(np.concatenate(rows))), torch.arange(23)
    )
