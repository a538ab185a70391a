import json

import numpy as np
import pytest

from tabweave.storage.artifacts import dump_json
from tabweave.training.engine import train_model
from tabweave.training.measures.figure import kept_step, training_figure


@pytest.fixture(scope="module")
def history(tiny, tmp_path_factory):
    """A history as it comes back from its file."""
    plan = tiny.plan("multimodal_bert", tmp_path_factory.mktemp("run"))
    return json.loads(dump_json(train_model(plan).history))


def panel(figure, title):
    (found,) = (axes for axes in figure.axes if axes.get_title() == title)
    return found


def lines(axes):
    """Label -> steps and heights."""
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def of(history, name):
    return [record[name] for record in history["records"]]


def test_the_lines_are_the_records(history):
    figure = training_figure(history)
    steps = of(history, "step")
    assert lines(panel(figure, "Loss")) == {
        "train": (steps, of(history, "train/loss")),
        "val": (steps, of(history, "val/loss")),
    }
    metrics = lines(panel(figure, "Metrics of val"))
    assert metrics["auroc"] == (steps, of(history, "val/auroc"))
    assert metrics["accuracy"] == (steps, of(history, "val/accuracy"))
    assert not any("class 0" in name for name in metrics)
    memory = lines(panel(figure, "Memory (MiB)"))
    assert memory["peak"] == (steps, of(history, "peak_memory_mib"))
    share = lines(panel(figure, "Share of"))["tokens that are padding"]
    assert share == (steps, [0.0] * 4)


def test_the_bars_are_the_seconds_between_validations(history):
    axes = panel(training_figure(history), "Seconds between validations")
    assert len(axes.patches) == 3 * len(history["records"])
    ends = [bar.get_y() + bar.get_height() for bar in axes.patches[-4:]]
    total = [
        r["step_seconds"] + r["data_seconds"] + r["validation_seconds"]
        for r in history["records"]
    ]
    assert ends == pytest.approx(total)
    middles = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches[:4]]
    assert middles == [1.5, 4.5, 7.5, 10.5]  # of the steps to 3, 6, 9 and 12


def test_what_was_kept_is_marked(history):
    best = history["best"]["checkpoint"]
    assert best.endswith(f"step={kept_step(history)}.ckpt")
    axes = panel(training_figure(history), "Loss")
    (mark,) = (line for line in axes.lines if line.get_linestyle() == ":")
    assert set(mark.get_xdata()) == {kept_step(history)}


def drawn(figure):
    """The pixels, which must not fail: fonts, formulas, infinities."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).std()


def test_undefined_values_leave_a_gap_and_class_names_are_text(history):
    record = history["records"][0]
    name = "val/average_precision/$\\frac{"
    changed = {
        **history,
        "records": [
            {**record, "val/f1_score": None, name: 0.5, "step": 3},
            {**record, "val/f1_score": 0.5, name: 0.6, "step": 6},
        ],
        "best": {"metric": name, "value": 0.6, "checkpoint": "epoch=0-step=6.ckpt"},
    }
    figure = training_figure(changed)
    heights = lines(panel(figure, "Metrics of val"))["f1_score"][1]
    assert np.isnan(heights[0])
    assert heights[1] == 0.5
    assert kept_step(changed) == 6
    assert drawn(figure) > 0


def test_a_table_alone_has_no_tokens_to_draw(tiny, tmp_path):
    history = train_model(tiny.plan("tabular", tmp_path)).history
    figure = training_figure(history)
    assert "tokens / s" not in lines(panel(figure, "Throughput"))
    assert lines(panel(figure, "Share of")) == {}
    assert drawn(figure) > 0
