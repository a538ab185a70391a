import pytest

from tabweave.errors import TrainingError
from tabweave.training.measures.progress import TrainingBar


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
