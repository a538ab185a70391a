"""The figure of a training: loss, metrics, speed, seconds, memory and efficiency.

It is made without pyplot, so nothing global is left behind in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tabweave.drawing import COLOURS, QUIET, drawable, legible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = Sequence[Mapping[str, Any]]


def training_figure(history: Mapping[str, Any]) -> Figure:
    """Draws a training on one page; a dotted line marks the weights that were kept.

    Args:
        history: As `tabweave.training.engine.train_model` gives it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 10), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[Callable[[Axes, Mapping[str, Any]], None]] = [
        *(_losses, _metrics, _speed, _seconds, _memory, _efficiency)
    ]
    kept = kept_step(history)
    for place, draw in enumerate(panels):
        axes = figure.add_subplot(3, 2, place + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel("Step")
        draw(axes, history)
        if kept is not None:
            axes.axvline(kept, color=QUIET, linestyle=":", linewidth=1.2)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(_title(history), fontsize=12, fontweight="bold")
    return figure


def kept_step(history: Mapping[str, Any]) -> int | None:
    """The step whose weights were kept: the first with the best value."""
    best = history["best"]
    for record in history["records"]:
        value = record.get(best["metric"])
        if value is not None and value == best["value"]:
            return int(record["step"])
    return None


def _title(history: Mapping[str, Any]) -> str:
    best = history["best"]
    value = "" if best["value"] is None else f" {best['value']:.4f}"
    return (
        f"{history['model_class']}: best {drawable(best['metric'])}{value} in "
        f"{history['seconds']:.0f} s ({history['precision']}, {history['batching']})"
    )


def _line(axes: Axes, records: Records, name: str, label: str, **style: Any) -> None:
    """One line over the steps, with a gap where there is no value."""
    values = [record.get(name) for record in records]
    if all(value is None for value in values):
        return
    heights = [float("nan") if value is None else value for value in values]
    steps = [record["step"] for record in records]
    axes.plot(steps, heights, marker=".", label=label, **style)


def _losses(axes: Axes, history: Mapping[str, Any]) -> None:
    axes.set_title("Loss", fontsize=10)
    for name, colour in zip(("train/loss", "val/loss"), COLOURS, strict=False):
        label = name.partition("/")[0]
        _line(axes, history["records"], name, label, color=colour)


def _metrics(axes: Axes, history: Mapping[str, Any]) -> None:
    """Metrics of val, the deciding one thick; of single classes only if it decides."""
    axes.set_title("Metrics of val", fontsize=10)
    records, decisive = history["records"], history["best"]["metric"]
    names = {name for record in records for name in record if name.count("/") == 1}
    names -= {"train/loss", "val/loss"}
    if decisive != "val/loss":
        names.add(decisive)
    ordered = sorted(names, key=lambda name: (name != decisive, name))
    for name, colour in zip(ordered, COLOURS, strict=False):
        width = 2.2 if name == decisive else 0.9
        label = legible(name.partition("/")[2]).strip("'")
        _line(axes, records, name, label, color=colour, linewidth=width)


def _speed(axes: Axes, history: Mapping[str, Any]) -> None:
    axes.set_title("Throughput", fontsize=10)
    records = history["records"]
    _line(axes, records, "samples_per_second", "rows / s", color=COLOURS[0])
    axes.set_ylabel("Rows per second")
    axes.set_ylim(bottom=0)
    if not any(record["tokens"] for record in records):
        return
    tokens = axes.twinx()
    tokens.spines["top"].set_visible(False)
    _line(tokens, records, "tokens_per_second", "tokens / s", color=COLOURS[1])
    tokens.set_ylabel("Tokens per second, without padding")
    tokens.set_ylim(bottom=0)
    axes.plot([], [], color=COLOURS[1], marker=".", label="tokens / s")


def _seconds(axes: Axes, history: Mapping[str, Any]) -> None:
    """Seconds between two validations, one bar each, stacked by what they went into."""
    axes.set_title("Seconds between validations", fontsize=10)
    records = history["records"]
    steps = [record["step"] for record in records]
    widths = [b - a for a, b in zip([0, *steps], steps, strict=False)]
    bottom = [0.0] * len(records)
    for name, colour in zip(("step", "data", "validation"), COLOURS, strict=False):
        heights = [record[f"{name}_seconds"] for record in records]
        places = [step - width / 2 for step, width in zip(steps, widths, strict=True)]
        shown = [0.9 * width for width in widths]
        axes.bar(places, heights, shown, bottom, color=colour, label=name)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]


def _memory(axes: Axes, history: Mapping[str, Any]) -> None:
    axes.set_title("Memory (MiB)", fontsize=10)
    names = {
        "resident_memory_mib": "resident",
        "peak_memory_mib": "peak",
        "cuda_allocated_mib": "GPU allocated",
        "cuda_reserved_mib": "GPU reserved",
        "cuda_peak_mib": "GPU peak",
    }
    for (name, label), colour in zip(names.items(), COLOURS, strict=False):
        _line(axes, history["records"], name, label, color=colour)
    axes.set_ylim(bottom=0)


def _efficiency(axes: Axes, history: Mapping[str, Any]) -> None:
    axes.set_title("Share of", fontsize=10)
    names = {
        "padding_share": "tokens that are padding",
        "matmul_peak_share": "the matmul peak",
    }
    for (name, label), colour in zip(names.items(), COLOURS, strict=False):
        _line(axes, history["records"], name, label, color=colour)
    axes.set_ylim(-0.02, 1.02)
