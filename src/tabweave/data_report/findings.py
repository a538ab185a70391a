"""What a reader of the data report must know, as sentences with a severity.

An error means that a part of the data cannot be learned from; a warning, that results may
be worse or better than they look; an info is good to know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tabweave.data_report.leakage import LEAK_AUROC
from tabweave.data_report.summaries import share_error
from tabweave.errors import shorten, some_of

FEW_ROWS = 20
"""Rows of a class below which it is reported."""
MISSING = 0.5
"""Share of missing cells of a column above which it is reported."""
REPEATED = 0.01
"""Share of duplicates between two splits above which they are reported."""
REPEATED_WITHIN = 0.05
"""Share of duplicates within a split above which they are reported."""
UNSEEN = 0.05
"""Share of rows with an unseen category above which the column is reported."""
SHIFT = 0.05
"""Difference of a class's share from train above which it is reported."""
CERTAIN = 4.0
"""Standard errors that such a difference must exceed."""
NAMED = 5


Finding = dict[str, Any]


def findings(report: dict[str, Any]) -> list[Finding]:
    """The findings of a report, errors first."""
    rules = (_classes, _shifts, _columns, _ids, _duplicates, _leaks, _unseen)
    found = [finding for rule in rules for finding in rule(report)]
    order = ("error", "warning", "info")
    return sorted(found, key=lambda finding: order.index(finding["severity"]))


def _finding(severity: str, split: str, column: str | None, message: str) -> Finding:
    return {
        "severity": severity,
        "split": split,
        "column": column,
        "message": message,
    }


def _classes(report: dict[str, Any]) -> Iterator[Finding]:
    label = report["schema"]["label"]
    for split, about in report["splits"].items():
        rows = about["classes"]
        absent = [name for name in rows if rows[name] == 0]
        few = {name: n for name, n in rows.items() if 0 < n < FEW_ROWS}
        if absent:
            train = split == "train"
            effect = (
                "they cannot be learned" if train else "their metrics are undefined"
            )
            yield _finding(
                "error" if train else "warning",
                split,
                label,
                f"no row has the classes {some_of(absent, NAMED)}; {effect}",
            )
        if few:
            least = min(few.values())
            yield _finding(
                "warning",
                split,
                label,
                f"the classes {some_of(few, NAMED)} have fewer than {FEW_ROWS} rows, the "
                f"least {least}; what is learned or measured of them is uncertain",
            )


def _shifts(report: dict[str, Any]) -> Iterator[Finding]:
    splits = report["splits"]
    for split in (s for s in splits if s != "train" and "train" in splits):
        known, here = splits["train"], splits[split]
        for name, share in here["class_shares"].items():
            then = known["class_shares"][name]
            error = math.hypot(
                share_error(then, known["rows"]), share_error(share, here["rows"])
            )
            if abs(share - then) > max(SHIFT, CERTAIN * error):
                message = (
                    f"{share:.1%} of the rows have the class {shorten(name)}, but "
                    f"{then:.1%} of train have it; probabilities and thresholds may not "
                    "carry over"
                )
                yield _finding("warning", split, report["schema"]["label"], message)


def _columns(report: dict[str, Any]) -> Iterator[Finding]:
    for split, about in report["splits"].items():
        for name, rate in about["missing_rates"].items():
            if rate == 1:
                severity = "error" if split == "train" else "warning"
                yield _finding(severity, split, name, "every cell is missing")
            elif rate > MISSING:
                yield _finding(
                    "warning", split, name, f"{rate:.1%} of the cells are missing"
                )
    train = report["splits"].get("train", {"constant": ()})
    for name in train["constant"]:
        if train["missing_rates"][name] < 1:
            message = "every row holds the same value; nothing can be learned from it"
            yield _finding("warning", "train", name, message)


def _ids(report: dict[str, Any]) -> Iterator[Finding]:
    for pair in (p for p in report["shared_ids"] if p["rows"]):
        split, of = pair["split"], pair["of"]
        yield _finding(
            "warning",
            split,
            report["schema"]["id"],
            f"{pair['rows']} ids are also in {of}, such as {some_of(pair['examples'])}. If "
            f"these are the same cases, results on {split} may be better than on new ones; "
            "if every file numbers its rows anew, all is well",
        )


def _duplicates(report: dict[str, Any]) -> Iterator[Finding]:
    """Near duplicates are reported where there are clearly more of them than exact."""
    known: dict[tuple[str, str], float] = {}
    for kind, about in report["duplicates"].items():
        equal = "nearly equal" if kind == "near" else "equal"
        least, rows = ("at least ", "the rows of a sample")
        if not about.get("sampled", False):
            least, rows = "", "the rows"
        for pair in about["across"]:
            place = (pair["split"], pair["of"])
            if pair["share"] - known.get(place, 0) > REPEATED:
                message = (
                    f"{least}{pair['share']:.1%} of {rows} have a text that is {equal} to "
                    f"one of {pair['of']}; results on {pair['split']} may be better than "
                    "on new texts"
                )
                yield _finding("warning", pair["split"], None, message)
            known[place] = pair["share"]
        for split, within in about["within"].items():
            if within["share"] - known.get((split, split), 0) > REPEATED_WITHIN:
                message = (
                    f"{least}{within['share']:.1%} of {rows} have a text that is {equal} "
                    "to an earlier one of the split"
                )
                yield _finding("info", split, None, message)
            known[split, split] = within["share"]


def _leaks(report: dict[str, Any]) -> Iterator[Finding]:
    for name, found in report["leak_probe"].get("columns", {}).items():
        if found is not None and found["auroc"] > LEAK_AUROC:
            yield _finding(
                "warning",
                "train",
                name,
                f"alone it tells the class {shorten(found['class'])} from the rest (AUROC "
                f"{found['auroc']:.3f}). Is it known when a prediction is made? If not, "
                "remove it",
            )


def _unseen(report: dict[str, Any]) -> Iterator[Finding]:
    for split, about in report["splits"].items():
        for name, unseen in about.get("unseen_categories", {}).items():
            if unseen["share"] > UNSEEN:
                yield _finding(
                    "info",
                    split,
                    name,
                    f"{unseen['rows']} rows ({unseen['share']:.1%}) hold a category that "
                    "train never showed",
                )
