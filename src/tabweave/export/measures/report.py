"""The report of an export: how equal, how large and how fast its files are; one figure.

The figure is made without pyplot, so nothing global is left behind in a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tabweave.bundle.contents import INT8_MODEL, INT8_PIPELINE, MODEL, PIPELINE
from tabweave.drawing import COLOURS, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INT8, RAW = (INT8_MODEL, INT8_PIPELINE), (PIPELINE, INT8_PIPELINE)
EAGER = "PyTorch"
MODELS = (EAGER, MODEL, PIPELINE, *INT8)
SMALLEST = 1e-9
"""Differences below are drawn as this: an axis of powers of ten has no 0."""


def export_report(
    measured: Mapping[str, Any],
    parity: Mapping[str, Any],
    pipeline: Mapping[str, Any],
    int8: Mapping[str, Any],
) -> dict[str, Any]:
    """What matters first, then every figure.

    Args:
        measured: As `tabweave.export.measures.speed.measure_models` gives it.
        parity: Comparison of model.onnx with PyTorch.
        pipeline: Comparison of pipeline.onnx with the stages before training.
        int8: Verdict on the models of 8-bit integers.
    """
    tokens = list(pipeline.get("tokens", {}).values())
    return {
        "mismatches": sum(one["mismatches"] for one in tokens) if tokens else None,
        "texts": sum(one["texts"] for one in tokens) if tokens else None,
        "largest_difference": _differences(parity, pipeline, int8),
        "tolerance": parity["tolerance"],
        "refused": {
            name: report["refused"]
            for name, report in ((PIPELINE, pipeline), ("int8", int8))
        },
        **measured,
        "comparisons": {
            MODEL: dict(parity),
            PIPELINE: dict(pipeline),
            "int8": dict(int8),
        },
    }


def _differences(
    parity: Mapping[str, Any], pipeline: Mapping[str, Any], int8: Mapping[str, Any]
) -> dict[str, float | None]:
    """File -> largest difference of a probability from PyTorch, where it was compared."""
    found = {MODEL: parity["largest_difference"]}
    if "probabilities" in pipeline:
        found[PIPELINE] = max(pipeline["probabilities"].values())
    return found | {
        name: int8[name]["largest_difference"] for name in INT8 if name in int8
    }


def export_figure(report: Mapping[str, Any]) -> Figure:
    """Draws an export on one page: equality, size, latency, throughput.

    Args:
        report: As `export_report` gives it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = (_equality, _sizes, _latency, _throughput)
    for place, draw in enumerate(panels):
        axes = figure.add_subplot(2, 2, place + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        draw(axes, report)
        axes.invert_yaxis()
    figure.suptitle(_title(report), fontsize=12, fontweight="bold")
    return figure


def _title(report: Mapping[str, Any]) -> str:
    if report["refused"][PIPELINE]:
        return f"Export without {PIPELINE}, see export_report.json"
    if report["mismatches"] is None:
        return "Export of a model without text"
    return (
        f"Export: {report['mismatches']} of {report['texts']:,} texts differ in a token"
    )


def _bars(
    axes: Axes,
    values: Mapping[str, float],
    form: str,
    tails: Mapping[str, float] | None = None,
    given: Mapping[str, str] | None = None,
) -> None:
    """One bar per model with its value behind it; a line goes on to the tail.

    `given` says below a name what the model is asked about.
    """
    names = [name for name in MODELS if name in values]
    lengths = [values[name] for name in names]
    shown = [f"{name}\n{given[name]}" for name in names] if given else names
    bars = axes.barh(shown, lengths, color=[COLOURS[MODELS.index(n)] for n in names])
    labels = [form.format(value) for value in lengths]
    if tails is None:
        axes.bar_label(bars, labels, padding=3, fontsize=8)
    else:
        for place, (name, label) in enumerate(zip(names, labels, strict=True)):
            tail = tails[name]
            axes.plot([values[name], tail], [place, place], color=QUIET, linewidth=1.5)
            text = f" {label}, {form.format(tail)}"
            axes.text(tail, place, text, va="center", fontsize=8)
    axes.margins(x=0.25)


def _equality(axes: Axes, report: Mapping[str, Any]) -> None:
    axes.set_title("Largest difference of a probability from PyTorch", fontsize=10)
    found = {n: v for n, v in report["largest_difference"].items() if v is not None}
    _bars(axes, {n: max(v, SMALLEST) for n, v in found.items()}, "{:.1e}")
    axes.set_xscale("log")
    axes.axvline(report["tolerance"], color=QUIET, linestyle=":", linewidth=1.2)
    axes.set_xlabel("dotted: tolerance of the fp32 files")


def _sizes(axes: Axes, report: Mapping[str, Any]) -> None:
    axes.set_title("Size", fontsize=10)
    sizes = {name: one["bytes"] / 1e6 for name, one in report["models"].items()}
    _bars(axes, sizes, "{:,.1f}")
    axes.set_xlabel("MB")


def _timed(report: Mapping[str, Any], figure: str) -> dict[str, float]:
    return {
        name: one[figure] for name, one in report["models"].items() if figure in one
    }


def _latency(axes: Axes, report: Mapping[str, Any]) -> None:
    axes.set_title("One row: 50 and 95 of 100 answers take at most", fontsize=10)
    median, tail = _timed(report, "p50_ms"), _timed(report, "p95_ms")
    if not median:
        _not_timed(axes)
        return
    given = {name: one["given"] for name, one in report["models"].items()}
    _bars(axes, median, "{:,.1f}", tail, given)
    axes.set_xlabel(f"milliseconds, {_calls(report, 'single_calls')} answers each")


def _throughput(axes: Axes, report: Mapping[str, Any]) -> None:
    axes.set_title(f"Batches of {report['batch_rows']} rows at most", fontsize=10)
    rate = _timed(report, "rows_per_second")
    if not rate:
        _not_timed(axes)
        return
    _bars(axes, rate, "{:,.0f}")
    calls = _calls(report, "batch_calls")
    axes.set_xlabel(
        f"rows per second, {report['threads']} threads, {calls} batches each"
    )


def _calls(report: Mapping[str, Any], figure: str) -> int:
    return int(min(_timed(report, figure).values()))


def _not_timed(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not timed: export.timing_seconds is 0", ha="center")
    axes.set_axis_off()
