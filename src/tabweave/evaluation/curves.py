"""ROC and precision-recall figures of val and test, with a baseline and chance beside.

Figures are made without pyplot, so nothing global is left behind in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from tabweave.drawing import legible
from tabweave.schema import DataSchema
from tabweave.statistics.classification import check_predictions
from tabweave.statistics.ranking import Flags, Floats, auroc, average_precision
from tabweave.statistics.resampling import Integers, Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = np.linspace(0, 1, 1001)

# Colours that stay apart for colour-blind readers: Okabe and Ito (2008) for the splits,
# the muted scheme of Paul Tol (2021) for the classes.
SPLIT_COLOURS = ("#0072B2", "#D55E00", "#009E73")
CLASS_COLOURS = (
    *("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE"),
    *("#882255", "#44AA99", "#999933", "#AA4499", "#661100"),
)
BASELINE_COLOUR = "#444444"
CHANCE_COLOUR = "#999999"


@dataclass(frozen=True)
class CurveData:
    """Predictions of one split.

    Attributes:
        name: Name in the legend, such as ``test``.
        probabilities: Shape [rows, classes].
        labels: Shape [rows]: number of the true class.
    """

    name: str
    probabilities: Floats
    labels: Integers


@dataclass(frozen=True)
class _Line:
    x: Values
    y: Values
    area: float


@dataclass(frozen=True)
class _Kind:
    """What tells the two figures apart."""

    title: str
    x_label: str
    y_label: str
    area: str
    steps: bool
    curve: Callable[[Floats, Flags], _Line]
    macro: Callable[[Sequence[_Line]], _Line]
    chance: Callable[[float], tuple[list[float], str]]


def roc_figure(
    data: Sequence[CurveData], schema: DataSchema, baseline: Floats | None = None
) -> Figure:
    """True against false positive rate, one line per split, AUC in the legend.

    Two classes: the curve of the positive label. More: the mean over the classes that
    occur, each against the rest, and thin lines for the ten most frequent ones of the
    last split. A curve that is not defined is named in the figure.

    Args:
        data: The splits; the last one is what the baseline and the classes are of.
        schema: Classes and the positive label.
        baseline: Shape [rows, classes]: a baseline's probabilities for the last split.

    Raises:
        ArtifactError: A shape, a probability or a label is not usable.
    """
    kind = _Kind(
        title="ROC curve",
        x_label="False positive rate (fraction of negatives)",
        y_label="True positive rate (fraction of positives)",
        area="AUC",
        steps=False,
        curve=_roc,
        macro=_macro_roc,
        chance=lambda share: ([0, 1], "chance: AUC 0.500"),
    )
    return _figure(kind, data, schema, baseline)


def pr_figure(
    data: Sequence[CurveData], schema: DataSchema, baseline: Floats | None = None
) -> Figure:
    """Precision against recall, one line per split, average precision in the legend.

    Arguments, errors and the treatment of many classes are those of `roc_figure`.
    Chance is the share of positive rows in the last split.
    """
    kind = _Kind(
        title="Precision-recall curve",
        x_label="Recall (fraction of positives that are found)",
        y_label="Precision (fraction of finds that are positive)",
        area="AP",
        steps=True,
        curve=_precision_recall,
        macro=_macro_precision_recall,
        chance=lambda share: ([share, share], f"chance: AP {share:.3f}"),
    )
    return _figure(kind, data, schema, baseline)


def _roc(scores: Floats, positive: Flags) -> _Line:
    from sklearn.metrics import roc_curve

    x, y, _ = roc_curve(positive, scores)
    return _Line(x, y, auroc(scores, positive, ~positive))


def _macro_roc(lines: Sequence[_Line]) -> _Line:
    """The mean height of the lines; its area is the mean of theirs."""
    heights = np.mean([np.interp(GRID, line.x, line.y) for line in lines], axis=0)
    area = float(np.mean([line.area for line in lines]))
    return _Line(np.r_[0.0, GRID], np.r_[0.0, heights], area)


def _precision_recall(scores: Floats, positive: Flags) -> _Line:
    from sklearn.metrics import precision_recall_curve

    y, x, _ = precision_recall_curve(positive, scores, drop_intermediate=True)
    return _Line(x, y, average_precision(scores, positive))


def _macro_precision_recall(lines: Sequence[_Line]) -> _Line:
    """The mean height of the steps; its area is the mean of theirs."""
    # Recall 0 is asked just above 0: scikit-learn ends each curve at precision 1 there.
    asked = np.maximum(GRID, 1e-12)
    heights = [
        line.y[::-1][np.searchsorted(line.x[::-1], asked, side="left")]
        for line in lines
    ]
    area = float(np.mean([line.area for line in lines]))
    return _Line(GRID[::-1], np.mean(heights, axis=0)[::-1], area)


def _figure(
    kind: _Kind, data: Sequence[CurveData], schema: DataSchema, baseline: Floats | None
) -> Figure:
    figure, axes = _empty_figure(kind, schema)
    undefined = []
    for one, colour in zip(data, cycle(SPLIT_COLOURS), strict=False):
        lines = _class_lines(kind, one, schema)
        if lines:
            label = f"{one.name} ({len(one.labels):,} rows)"
            _draw(axes, kind, _main_line(kind, lines), label, color=colour, zorder=3)
        else:
            undefined.append(f"{one.name}: no curve, {_why_undefined(one, schema)}")
    if data:
        _draw_beside(axes, kind, data[-1], schema, baseline)
    if undefined:
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": CHANCE_COLOUR}
        axes.text(0.5, 0.3, "\n".join(undefined), ha="center", va="center", bbox=box)
    if axes.lines:
        columns = 2 if schema.task == "multiclass" else 1
        figure.legend(
            loc="outside lower center", ncols=columns, frameon=False, fontsize=9
        )
    return figure


def _empty_figure(kind: _Kind, schema: DataSchema) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    many = schema.task == "multiclass"
    figure = Figure(figsize=(6.4, 8.0 if many else 7.1), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    about = "mean over the classes, each against the rest"
    if not many:
        about = f"positive label: {legible(schema.positive_label)}"
    figure.suptitle(kind.title, fontsize=13, fontweight="bold")
    axes.set_title(about, fontsize=10)
    axes.set(xlabel=kind.x_label, ylabel=kind.y_label)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.grid(color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _class_lines(kind: _Kind, data: CurveData, schema: DataSchema) -> dict[int, _Line]:
    """Number of each class that has a curve -> its curve against the rest."""
    check_predictions(data.probabilities, data.labels, len(schema.classes))
    present = np.unique(data.labels).tolist()
    if len(present) < 2:
        return {}
    if schema.task == "binary":
        present = [schema.positive_index]
    return {
        index: kind.curve(data.probabilities[:, index], data.labels == index)
        for index in present
    }


def _main_line(kind: _Kind, lines: dict[int, _Line]) -> _Line:
    found = list(lines.values())
    return found[0] if len(found) == 1 else kind.macro(found)


def _why_undefined(data: CurveData, schema: DataSchema) -> str:
    if not len(data.labels):
        return "there are no rows"
    return f"every row has the label {legible(schema.classes[data.labels[0]])}"


def _draw_beside(
    axes: Axes,
    kind: _Kind,
    data: CurveData,
    schema: DataSchema,
    baseline: Floats | None,
) -> None:
    """The baseline, chance and single classes of one split."""
    lines = _class_lines(kind, data, schema)
    if not lines:
        return
    if baseline is not None:
        other = _class_lines(kind, CurveData("", baseline, data.labels), schema)
        dashed = {"color": BASELINE_COLOUR, "linewidth": 1.1, "linestyle": "--"}
        label = f"logistic regression on {data.name}"
        _draw(axes, kind, _main_line(kind, other), label, zorder=2.5, **dashed)
    counts = np.bincount(data.labels, minlength=len(schema.classes))
    share = float(np.mean([counts[index] for index in lines]) / len(data.labels))
    heights, label = kind.chance(share)
    axes.plot([0, 1], heights, color=CHANCE_COLOUR, linestyle=":", label=label)
    if schema.task == "binary":
        return
    frequent = sorted(lines, key=lambda index: (-counts[index], index))
    for index, colour in zip(frequent, CLASS_COLOURS, strict=False):
        label = f"{legible(schema.classes[index])} on {data.name}"
        _draw(axes, kind, lines[index], label, color=colour, linewidth=0.8, alpha=0.8)
    if len(frequent) > len(CLASS_COLOURS):
        note = f"{len(CLASS_COLOURS)} most frequent of {len(frequent)} classes shown"
        axes.plot([], [], linestyle="none", label=note)


def _draw(axes: Axes, kind: _Kind, line: _Line, label: str, **style: Any) -> None:
    axes.plot(
        line.x,
        line.y,
        drawstyle="steps-post" if kind.steps else "default",
        label=f"{label}: {kind.area} {line.area:.3f}",
        **{"linewidth": 1.8, **style},
    )
