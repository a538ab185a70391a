"""What the tabular stage has done, and whether a feature of train knows its own label.

A value that was computed with a row's own label ranks the rows of train better than
rows that it never saw. So each risk feature is judged alone, on train and on val.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tabweave.schema import DataSchema
from tabweave.statistics.ranking import auroc, auroc_error
from tabweave.tabular.imputation import Imputer
from tabweave.tabular.precomputed_files import PrecomputedFile
from tabweave.tabular.risk_table import RiskTables

# A gap between train and val is reported above this, and above four standard errors.
GAP = 0.05
# Share of train rows whose category a pre-computed table should know.
MATCHED = 0.5


@dataclass(frozen=True)
class Probe:
    """A risk feature judged alone.

    Attributes:
        train: AUROC on the rows of train, for the class that the feature is about.
        val: AUROC on the rows of val.
        error: Standard error of their difference.
    """

    train: float
    val: float
    error: float

    @property
    def defined(self) -> bool:
        """Whether both splits have rows of the class and of another."""
        return math.isfinite(self.gap)

    @property
    def gap(self) -> float:
        """How much better the feature ranks the rows of train."""
        return self.train - self.val

    def to_json(self) -> dict[str, float | None]:
        """Plain values; None where a split has rows of one side only."""
        values = {"train": self.train, "val": self.val, "gap": self.gap}
        return {k: v if math.isfinite(v) else None for k, v in values.items()}

    def __str__(self) -> str:
        return f"AUROC {self.train:.3f} on train, {self.val:.3f} on val"


def probe_feature(train: pa.Table, val: pa.Table, name: str, target: int) -> Probe:
    """A feature of the feature tables, judged alone.

    Args:
        train: Features and labels of train.
        val: The same of val.
        name: The feature.
        target: Position of the class that it is about.
    """
    found, errors = [], []
    for table in (train, val):
        positive = table["label"].to_numpy() == target
        found.append(auroc(table[name].to_numpy(), positive, ~positive))
        errors.append(auroc_error(float(positive.sum()), float((~positive).sum())))
    return Probe(train=found[0], val=found[1], error=math.hypot(*errors))


def tabular_report(
    probes: Mapping[str, Probe],
    schema: DataSchema,
    imputer: Imputer,
    risk_tables: RiskTables,
    files: Sequence[PrecomputedFile | None],
) -> dict[str, Any]:
    """Where the fitted parts came from, the leak probe, and what a reader must know.

    Args:
        probes: Risk feature -> how it ranks train and val.
        schema: The columns that were used.
        imputer: As used.
        risk_tables: As used.
        files: The files that replaced fitting; None for each that was not used.
    """
    given = {file.path.stem: file for file in files if file is not None}
    used = {*imputer.columns, *risk_tables.columns}
    settings = risk_tables.settings
    matched = _matched(risk_tables) if settings is None else {}
    return {
        "numeric": list(schema.numeric),
        "categorical": list(schema.categorical),
        "precomputed": {name: file.path.name for name, file in given.items()},
        "cross_fit": None if settings is None else settings.cross_fit,
        "train_rows_with_known_category": matched,
        "leak_probe": {name: probe.to_json() for name, probe in probes.items()},
        "findings": [
            *_not_cross_fitted(risk_tables, probes),
            *_gaps(probes),
            *_unmatched(matched),
            *_unused(given, used),
        ],
    }


def _finding(severity: str, column: str | None, message: str) -> dict[str, Any]:
    return {
        "severity": severity,
        "split": "train",
        "column": column,
        "message": message,
    }


def _not_cross_fitted(
    risk_tables: RiskTables, probes: Mapping[str, Probe]
) -> list[dict[str, Any]]:
    settings = risk_tables.settings
    if not probes or (settings is not None and settings.cross_fit > 1):
        return []
    source = "pre-computed risk tables" if settings is None else "tabular.cross_fit 1"
    known = {name: probe for name, probe in probes.items() if probe.defined}
    worst = max(known, key=lambda name: known[name].gap, default=None)
    seen = f"{worst}: {known[worst]}" if worst else "no feature could be judged"
    return [
        _finding(
            "warning",
            None,
            f"{source}: train rows are not cross-fitted, so if the tables were made from "
            "these rows, the features of train know their own labels. Largest gap of "
            f"the leak probe: {seen}",
        )
    ]


def _gaps(probes: Mapping[str, Probe]) -> list[dict[str, Any]]:
    message = "the feature ranks train rows much better than others, as one that knows "
    return [
        _finding("warning", name, f"{message}their labels does: {probe}")
        for name, probe in probes.items()
        if probe.defined and probe.gap > max(GAP, 4 * probe.error)
    ]


def _matched(risk_tables: RiskTables) -> dict[str, float]:
    """Column -> share of train rows whose category is in the table."""
    return {
        name: sum(sum(rows) for key, rows in table.counts.items() if key in table.bins)
        / risk_tables.rows
        for name, table in risk_tables.columns.items()
    }


def _unmatched(matched: Mapping[str, float]) -> list[dict[str, Any]]:
    return [
        _finding(
            "warning",
            name,
            f"the pre-computed table knows the category of {share:.1%} of the train "
            "rows; the others get its default_bin",
        )
        for name, share in matched.items()
        if share < MATCHED
    ]


def _unused(
    given: Mapping[str, PrecomputedFile], used: set[str]
) -> list[dict[str, Any]]:
    return [
        _finding("info", str(column), f"{file.path.name} holds it, but it is not used")
        for file in given.values()
        if isinstance(file.value, dict) and file.path.stem != "selected_features"
        for column in file.value
        if column not in used
    ]
