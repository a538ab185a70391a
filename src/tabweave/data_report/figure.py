"""The figure of the data report: classes, missing cells, texts, categories, leaks.

It is made without pyplot, so nothing global is left behind in a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tabweave.data_report.leakage import LEAK_AUROC
from tabweave.data_report.summaries import cut
from tabweave.drawing import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 10
"""Bars of a panel at most: the largest ones."""
LONGEST_NAME = 22
# Okabe and Ito (2008): colours that stay apart for colour-blind readers.
COLOURS = {"train": "#0072B2", "val": "#D55E00", "test": "#009E73"}
OTHER_COLOUR = "#56B4E9"
WARNING_COLOUR = "#CC3311"

Draw = Callable[["Axes"], None]


def data_report_figure(report: Mapping[str, Any]) -> Figure:
    """Draws a data report on one page.

    Args:
        report: As `tabweave.data_report.data_report` gives it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(report)
    rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(11, 0.9 + 3.3 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for place, draw in enumerate(panels):
        axes = figure.add_subplot(rows, 2, place + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        draw(axes)
    figure.suptitle(_title(report), fontsize=12, fontweight="bold")
    colours = {split: _colour(split) for split in report["splits"]}
    handles = [_patch(colour, split) for split, colour in colours.items()]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False
    )
    return figure


def _title(report: Mapping[str, Any]) -> str:
    rows = [f"{split} {about['rows']:,}" for split, about in report["splits"].items()]
    severities = [finding["severity"] for finding in report["findings"]]
    found = ", ".join(
        f"{severities.count(kind)} {kind}{'s' * (severities.count(kind) != 1)}"
        for kind in ("error", "warning", "info")
    )
    return f"Rows: {', '.join(rows)}. Findings: {found}"


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=drawable(label))


def _colour(split: str) -> str:
    return COLOURS.get(split, OTHER_COLOUR)


def _panels(report: Mapping[str, Any]) -> list[Draw]:
    """What is drawn, in reading order."""
    panels: list[Draw] = [partial(_classes, report), partial(_missing, report)]
    panels += [partial(_lengths, report, name) for name in report["text_length_edges"]]
    if any(about["distinct"] for about in report["splits"].values()):
        panels.append(partial(_cardinalities, report))
    if report["leak_probe"].get("columns"):
        panels.append(partial(_leaks, report))
    return panels


def _classes(report: Mapping[str, Any], axes: Axes) -> None:
    shares = _by_name(report, "class_shares")
    _bars(axes, "Share of each class", shares, percent=True)


def _missing(report: Mapping[str, Any], axes: Axes) -> None:
    rates = _by_name(report, "missing_rates")
    rates = {name: found for name, found in rates.items() if any(found.values())}
    if rates:
        _bars(axes, "Missing cells", rates, percent=True)
        return
    axes.set_title("Missing cells", fontsize=10)
    axes.text(0.5, 0.5, "no cell is missing", ha="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])


def _cardinalities(report: Mapping[str, Any], axes: Axes) -> None:
    _bars(axes, "Distinct categories", _by_name(report, "distinct"), percent=False)
    axes.set_xscale("log")
    axes.set_xlim(left=0.8)


def _by_name(report: Mapping[str, Any], key: str) -> dict[str, dict[str, float]]:
    """Column or class -> split -> figure."""
    found: dict[str, dict[str, float]] = {}
    for split, about in report["splits"].items():
        for name, value in about[key].items():
            found.setdefault(name, {})[split] = value
    return found


def _bars(
    axes: Axes, title: str, values: Mapping[str, Mapping[str, float]], *, percent: bool
) -> None:
    """One group of bars per name, one bar per split, the largest names above."""
    largest = sorted(values, key=lambda name: -max(values[name].values()))[:SHOWN]
    splits = list(next(iter(values.values())))
    height = 0.8 / len(splits)
    places = np.arange(len(largest))
    for number, split in enumerate(splits):
        widths = [values[name][split] for name in largest]
        offset = (number - (len(splits) - 1) / 2) * height
        bars = axes.barh(places + offset, widths, height, color=_colour(split))
        if len(largest) * len(splits) <= 18:
            form = "{:.1%}" if percent else "{:,.0f}"
            axes.bar_label(
                bars, [form.format(w) for w in widths], fontsize=7, padding=2
            )
    _name_bars(axes, title, largest, len(values))
    if percent:
        _as_percent(axes)
    axes.margins(x=0.12)


def _as_percent(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.xaxis.set_major_formatter(PercentFormatter(1))


def _name_bars(axes: Axes, title: str, names: Sequence[str], of: int) -> None:
    drawn = [drawable(cut(name, LONGEST_NAME)) for name in names]
    axes.set_yticks(range(len(drawn)), drawn, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.6)
    more = f" ({len(names)} largest of {of})" if of > len(names) else ""
    axes.set_title(f"{title}{more}", fontsize=10)


def _lengths(report: Mapping[str, Any], name: str, axes: Axes) -> None:
    edges = report["text_length_edges"][name]
    for split, about in report["splits"].items():
        counts = np.array(about["text_lengths"][name]["histogram"], float)
        shares = counts / max(1, counts.sum())
        axes.stairs(shares, edges, color=_colour(split), linewidth=1.5)
    axes.set_xscale("log")
    axes.set_xlim(_occupied(report, name), edges[-1] * 1.1)
    axes.set_xlabel("characters of a text that is there", fontsize=8)
    axes.set_ylabel("share of the texts", fontsize=8)
    axes.grid(color="#E5E5E5", linewidth=0.6)
    axes.set_title(f"Length of {drawable(cut(name, 40))}", fontsize=10)


def _occupied(report: Mapping[str, Any], name: str) -> float:
    """Left border of the first bar that is not empty in every split."""
    found = [s["text_lengths"][name]["histogram"] for s in report["splits"].values()]
    first = np.flatnonzero(np.sum(found, axis=0))[:1]
    return float(report["text_length_edges"][name][int(first.sum())])


def _leaks(report: Mapping[str, Any], axes: Axes) -> None:
    probed = report["leak_probe"]["columns"]
    judged = {name: found["auroc"] for name, found in probed.items() if found}
    largest = sorted(judged, key=lambda name: -judged[name])[:SHOWN]
    values = [judged[name] for name in largest]
    colours = [WARNING_COLOUR if v > LEAK_AUROC else _colour("train") for v in values]
    # A column below 0.5 says nothing; its bar would point backwards.
    bars = axes.barh(range(len(values)), [max(0, v - 0.5) for v in values], left=0.5)
    for bar, colour in zip(bars, colours, strict=True):
        bar.set_color(colour)
    axes.axvline(LEAK_AUROC, color=WARNING_COLOUR, linestyle=":", linewidth=1)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    texts = [f"{v:.3f}" for v in values]
    axes.bar_label(bars, texts, fontsize=7, padding=2, bbox=box)
    axes.set_xlim(0.5, 1.06)
    _name_bars(axes, "AUROC of a column alone on train", largest, len(judged))
