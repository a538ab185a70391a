"""Divides the rows of one file into train, val and test, and reports what came out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import SchemaError, some_of
from tabweave.schema import SPLITS, DataConfig
from tabweave.splitting.assignment import (
    DROPPED,
    Codes,
    Sides,
    assign_units,
    hash_keys,
    sorted_codes,
)
from tabweave.splitting.config import SplitConfig
from tabweave.splitting.duplicates import duplicate_units, merged_units
from tabweave.splitting.keys import RowKeys, read_keys
from tabweave.splitting.times import split_by_time
from tabweave.tables.parted_tables import (
    PartedTable,
    Source,
    unread_sentence,
    with_options,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Division:
    """A file, the split of each of its rows, and the report about them.

    Attributes:
        source: The file; its rows are read again when they are written.
        sides: Shape [rows]: number of the row's split among train, val and test, or -1
            for a row that the embargo drops.
        report: As ``split_report.json`` holds it.
    """

    source: Source
    sides: Sides
    report: dict[str, Any]

    def batches(self, split: str) -> Iterator[pa.RecordBatch]:
        """All columns of the rows of a split, cells as written, in file order.

        Raises:
            ArtifactError: The file has changed since it was divided.
        """
        chosen, row = self.sides == SPLITS.index(split), 0
        for batch in self.source.batches():
            yield batch.filter(pa.array(chosen[row : row + batch.num_rows]))
            row += batch.num_rows


@dataclass(frozen=True)
class _Units:
    """What stays together, and the numbers of its parts."""

    codes: Codes
    groups: Codes | None = None
    duplicates: Codes | None = None


def divide(source: Source, data: DataConfig, config: SplitConfig) -> Division:
    """The split of every row of a file, by the method of the configuration.

    * stratified: each class is divided by the fractions, up to one row. The hash of the
      seed and the id decides, so row order and file format do not matter.
    * group: no group is in two splits; sizes come as near as whole groups allow. A row
      without a group is placed by itself.
    * time: train is before val and val is before test.

    Raises:
        SchemaError: The columns that decide do not hold what they should, or a split
            would be empty.
        ConfigError: The settings do not fit the columns.
        ArtifactError: The file changed while it was read.
    """
    if unread := unread_sentence(source, "split.source"):
        logger.warning("%s.", unread)
    source = with_options(source, quoting=data.quoting).pinned()
    keys = read_keys(source, data, config)
    for doubt in keys.doubts:
        logger.warning("%s: %s", source.path, doubt)
    units = _units(keys, config)
    sides = _sides(keys, units, config)
    report = _report(source, keys, units, sides, config)
    for split in SPLITS:
        if not report["splits"][split]["rows"]:
            raise SchemaError(_empty(source, split, units, sides, config))
    return Division(source, sides, report)


def _units(keys: RowKeys, config: SplitConfig) -> _Units:
    rows = len(keys.ids)
    codes = np.arange(rows, dtype=np.int64)
    groups = None if keys.groups is None else _group_codes(keys.groups)
    duplicates = None
    if keys.texts is not None:
        duplicates = duplicate_units(keys.texts, config.duplicate_threshold)
    if groups is not None and duplicates is not None:
        codes = merged_units(groups, duplicates)
    elif groups is not None:
        codes = groups
    elif duplicates is not None:
        codes = duplicates
    return _Units(codes, groups, duplicates)


def _group_codes(groups: pa.ChunkedArray) -> Codes:
    """The number [rows] of each row's group; a row without one is a group by itself."""
    codes, values = sorted_codes(groups)
    alone = _without_group(groups)
    codes[alone] = len(values) + np.arange(alone.sum())
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _without_group(groups: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.equal(groups, ""))


def _sides(keys: RowKeys, units: _Units, config: SplitConfig) -> Sides:
    if keys.times is not None:
        return split_by_time(keys.times, config.fractions, config.embargo_length)
    by_id = hash_keys(keys.ids, config.seed)
    if keys.groups is not None:
        strata = np.zeros(len(keys.ids), np.int64)
        by_group = hash_keys(keys.groups, config.seed)
        by_group = np.where(_without_group(keys.groups), by_id, by_group)
        return assign_units(units.codes, strata, by_group, config.fractions)
    strata, _ = sorted_codes(keys.labels)
    return assign_units(units.codes, strata, by_id, config.fractions)


def _empty(
    source: Source, split: str, units: _Units, sides: Sides, config: SplitConfig
) -> str:
    largest = int(np.bincount(units.codes).max())
    dropped = int((sides == DROPPED).sum())
    reason = f"The file has {len(sides)} rows"
    if dropped:
        reason += f", of which the embargo of {config.embargo} drops {dropped}"
    if largest > 1:
        reason += f"; the largest set of rows that stays together has {largest}"
    return (
        f"{source.path}: {split} would get no rows. {reason}. Use a larger fraction, "
        "more rows, a shorter embargo or another method."
    )


def _report(
    source: Source, keys: RowKeys, units: _Units, sides: Sides, config: SplitConfig
) -> dict[str, Any]:
    labels, classes = sorted_codes(keys.labels)
    splits = {
        split: _about(sides == number, keys, units, labels, classes)
        for number, split in enumerate(SPLITS)
    }
    report: dict[str, Any] = {
        "source": source.path.name,
        "format": source.format,
        "method": config.method,
        "seed": config.seed,
        "rows": len(sides),
        **(
            {"parts": source.rows_per_part(len(sides))}
            if isinstance(source, PartedTable)
            else {}
        ),
        "dropped_by_embargo": int((sides == DROPPED).sum()),
        "splits": splits,
    }
    if units.groups is not None:
        missing = int(_without_group(keys.groups).sum())
        report["groups"] = {**_sizes(units.groups), "rows_without_group": missing}
    if units.duplicates is not None:
        report["duplicates"] = _sizes(units.duplicates)
    if units.groups is not None and units.duplicates is not None:
        report["kept_together"] = _sizes(units.codes)
    for split, share in zip(SPLITS, config.fractions, strict=True):
        splits[split]["wanted_share"] = float(share)
    sentences = [*filter(None, [unread_sentence(source, "split.source")]), *keys.doubts]
    doubts = [{"severity": "warning", "message": sentence} for sentence in sentences]
    report["findings"] = [*doubts, *_findings(report, config)]
    return report


def _about(
    here: npt.NDArray[np.bool_],
    keys: RowKeys,
    units: _Units,
    labels: Codes,
    classes: list[str],
) -> dict[str, Any]:
    rows = int(here.sum())
    counts = np.bincount(labels[here], minlength=len(classes)).tolist()
    about: dict[str, Any] = {
        "rows": rows,
        "share": rows / len(here),
        "classes": dict(zip(classes, counts, strict=True)),
        "class_shares": {
            name: count / rows if rows else None
            for name, count in zip(classes, counts, strict=True)
        },
    }
    if units.groups is not None:
        about["groups"] = len(np.unique(units.groups[here]))
    if keys.times is not None and keys.written_times is not None and rows:
        there = np.flatnonzero(here)
        values = keys.times.values[there]
        for name, at in (
            ("first_time", values.argmin()),
            ("last_time", values.argmax()),
        ):
            about[name] = str(keys.written_times[int(there[at])].as_py())
    return about


def _sizes(units: Codes) -> dict[str, int]:
    """How many units there are, and how many rows are in units of several."""
    sizes = np.bincount(units)
    return {
        "units": len(sizes),
        "units_of_several_rows": int((sizes > 1).sum()),
        "rows_in_units_of_several": int(sizes[sizes > 1].sum()),
        "largest_unit": int(sizes.max()),
    }


def _findings(report: dict[str, Any], config: SplitConfig) -> Iterator[dict[str, str]]:
    """What a reader should know before training on these splits."""
    for split, about in report["splits"].items():
        absent = [name for name, rows in about["classes"].items() if not rows]
        if absent:
            yield {
                "severity": "warning",
                "split": split,
                "message": f"{split} has no row of the classes {some_of(absent)}",
            }
        off = abs(about["share"] - about["wanted_share"])
        if off > max(0.1 * about["wanted_share"], 1 / report["rows"]):
            yield {
                "severity": "warning",
                "split": split,
                "message": f"{split} has {about['share']:.1%} of the rows; "
                f"{about['wanted_share']:.1%} were wanted",
            }
    if report.get("groups", {}).get("rows_without_group"):
        yield {
            "severity": "info",
            "message": f"{report['groups']['rows_without_group']} rows have no "
            f"'{config.group_column}' and were placed one by one",
        }
    if config.embargo is not None and not report["dropped_by_embargo"]:
        yield {
            "severity": "warning",
            "message": f"the embargo of {config.embargo} drops no row: the times leave "
            "such gaps anyway, or it is too short to matter",
        }
