import math
from pathlib import Path

import pytest

from tabweave.errors import TrainingError
from tabweave.training.progress import History, TrainingBar, peak_memory_mib

STATUS = Path("/proc/self/status")


@pytest.fixture
def history(fit):
    """A history over two epochs, and rows, tokens and loss of every step."""
    found, steps = History(), []

    def after(module, batch, outputs):
        steps.append((len(batch), batch.tokens, float(outputs["loss"])))

    trainer, _ = fit(callbacks=[found], after=after, batch_size=7, max_epochs=2)
    return found, steps, trainer


def test_there_is_one_record_per_validation(history):
    found, _, trainer = history
    assert [r["epoch"] for r in found.records] == [0, 1]
    assert [r["step"] for r in found.records] == [7, 14]
    last = found.records[-1]
    values = {
        k: float(v) for k, v in trainer.callback_metrics.items() if k[:4] == "val/"
    }
    assert {name: last[name] for name in values} == values
    assert "val/loss" in values
    assert "val/auroc" in values
    assert set(last) - set(values) == {
        *("epoch", "step", "train/loss", "rows", "peak_memory_mib"),
        *("samples_per_second", "tokens_per_second"),
        *("train_seconds", "validation_seconds"),
    }


def test_the_loss_of_a_record_is_the_mean_over_its_rows(history):
    found, steps, _ = history
    assert len(steps) == 14
    for record, its in zip(found.records, (steps[:7], steps[7:]), strict=True):
        rows = sum(count for count, _, _ in its)
        assert record["rows"] == rows == 48
        total = sum(count * loss for count, _, loss in its)
        assert record["train/loss"] == pytest.approx(total / rows)


def test_throughput_is_rows_and_tokens_by_training_seconds(history):
    found, steps, _ = history
    for record, its in zip(found.records, (steps[:7], steps[7:]), strict=True):
        seconds = record["train_seconds"]
        tokens = sum(count for _, count, _ in its)
        assert record["samples_per_second"] * seconds == pytest.approx(48)
        assert record["tokens_per_second"] * seconds == pytest.approx(tokens)
        assert seconds > 0
        assert record["validation_seconds"] > 0


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_training(fit, loss):
    def poison(module, batch):
        module.model.head.bias.data.fill_(loss)

    with pytest.raises(TrainingError, match=r"loss is nan at step 1, epoch 0\. Lower"):
        fit("tabular", callbacks=[History()], before=poison)


def test_peak_memory_is_in_mib():
    if not STATUS.exists():
        pytest.skip("needs the kernel's own figure")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    kib = int(lines["VmHWM"].removesuffix("kB"))
    assert peak_memory_mib() == pytest.approx(kib / 1024, rel=0.1)


def test_the_bar_counts_steps_and_shows_what_decides(fit, capsys):
    bar = TrainingBar("val/auroc")
    fit(callbacks=[bar])
    assert (bar.bar.n, bar.bar.total) == (12, 12)
    assert bar.rows == 96
    shown = capsys.readouterr().err
    assert "training: 100%" in shown
    assert "12/12" in shown
    for name in ("loss=", "val/auroc=0.", "rows/s="):
        assert name in shown


def test_the_bar_is_closed_when_training_fails(fit, scripted, capsys):
    bar = TrainingBar("val/score")
    with pytest.raises(TrainingError):
        fit(callbacks=[bar], metric=scripted(None), early_stop_metric="val/score")
    assert capsys.readouterr().err.endswith("\n")
    bar.bar.refresh()
    assert bar.bar.disable  # a closed bar draws no more
    assert capsys.readouterr().err == ""


def test_a_disabled_bar_shows_nothing(fit, capsys):
    bar = TrainingBar("val/auroc")
    bar.disable()
    fit(callbacks=[bar], max_epochs=1)
    assert "training" not in capsys.readouterr().err.replace("Loading `train", "")
