"""The end of a run in a few lines: the model's metrics beside the baselines'."""

from __future__ import annotations

from collections.abc import Mapping

MODEL = "model"
BASELINE = "baseline/"
COLUMN = 10
SHORT = {"average_precision": "avg prec", "f1_score": "f1"}


def summary_lines(metrics: Mapping[str, float | None]) -> list[str]:
    r"""A table of flat metrics: one line per split and model.

    Example:
        >>> print("\n".join(summary_lines({"val/auroc": 0.9, "test/auroc": None})))
                                       auroc
        val   model                   0.9000
        test  model                undefined
    """
    lines: dict[tuple[str, str], dict[str, float | None]] = {}
    for name, value in metrics.items():
        split, model, metric = _parse(name)
        if metric is not None:
            lines.setdefault((split, model), {})[metric] = value
    columns = list(dict.fromkeys(metric for line in lines.values() for metric in line))
    order = sorted(lines, key=lambda key: (key[0] != "val", key[1] != MODEL, key[1]))
    head = "".join(f"{SHORT.get(c, c):>{COLUMN}}" for c in columns)
    rows = [
        f"{split:<6}{model:<20}"
        + "".join(_cell(lines[split, model].get(c)) for c in columns)
        for split, model in order
    ]
    return [f"{'':<26}{head}".rstrip(), *rows]


def _parse(name: str) -> tuple[str, str, str | None]:
    """Split, model and metric of a flat name; no metric for one of a single class."""
    model = MODEL
    if name.startswith(BASELINE):
        _, model, name = name.split("/", 2)
    split, _, metric = name.partition("/")
    return split, model.replace("_", " "), None if "/" in metric else metric


def _cell(value: float | None) -> str:
    return f"{'undefined':>{COLUMN}}" if value is None else f"{value:>{COLUMN}.4f}"
