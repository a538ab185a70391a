import pytest
import torch

from tabweave.errors import TrainingError
from tabweave.training.engine import train_model


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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
