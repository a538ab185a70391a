"""Turns what an upstream step has computed into an imputer, risk tables and columns.

Three shapes are read, and nothing else:

* ``impute_dict``: ``{column: number}``
* ``risk_table_map``: ``{column: {"bins": {category: rate}, "default_bin": rate}}``, and
  for K > 2 classes ``{column: {class: {"bins": ..., "default_bin": ...}}}``
* ``selected_features``: ``[column, ...]`` or ``{"selected_features": [column, ...]}``

A table is refused when it cannot be about this label: see `_label_faults`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa

from tabweave.errors import ArtifactError, Problems, did_you_mean, shorten, some_of
from tabweave.schema import DataSchema
from tabweave.statistics.ranking import auroc, auroc_error
from tabweave.tabular.category_counts import ColumnCounts, count_categories
from tabweave.tabular.columns import Codes, Floats, numbers
from tabweave.tabular.config import LARGEST, Indicators
from tabweave.tabular.imputation import Imputer, describe
from tabweave.tabular.precomputed_files import PrecomputedFile
from tabweave.tabular.risk_table import RiskTable, RiskTables, target_indices

TABLE_KEYS = {"bins", "default_bin"}
TABLE_SHAPE = '{"bins": {category: rate}, "default_bin": rate}'
# How far the mean rate of a table may be from the rate of train, beyond what smoothing
# explains: this, or half of the rarer side's share where that is more.
RATE_TOLERANCE = 0.02
# An AUROC on train that is so far below 0.5, and four standard errors, is of another label.
WRONG_WAY = 0.1


def select_columns(schema: DataSchema, given: PrecomputedFile | None) -> DataSchema:
    """The schema with only the selected categorical and numeric columns, in its order.

    Raises:
        ArtifactError: The selection names no column, or one that is not there, twice
            there or no column of the table.
    """
    if given is None:
        return schema
    names = given.value
    if isinstance(names, dict) and set(names) == {"selected_features"}:
        names = names["selected_features"]
    if not isinstance(names, list) or not names:
        raise ArtifactError(
            f"{given.path}: must be a list of column names, or "
            f'{{"selected_features": [names]}}, with at least one name, but is '
            f"{shorten(given.value)}."
        )
    problems = Problems(f"{given.path} does not fit the data")
    table = (*schema.categorical, *schema.numeric)
    for place, name in enumerate(names):
        if name not in table:
            problems.add(_not_a_table_column(name, schema))
        elif name in names[:place]:
            problems.add(f"column {name!r} is named more than once.")
    problems.raise_as(ArtifactError)
    return schema.model_copy(
        update={
            "categorical": tuple(c for c in schema.categorical if c in names),
            "numeric": tuple(c for c in schema.numeric if c in names),
        }
    )


def _not_a_table_column(name: object, schema: DataSchema) -> str:
    table = (*schema.categorical, *schema.numeric)
    if name in (schema.id, schema.label, *schema.text):
        return (
            f"{name!r} is the id, the label or a text. The selection is about the "
            "columns beside the text; take it out."
        )
    return (
        f"column {shorten(name)} is neither under data.categorical nor under "
        f"data.numeric.{did_you_mean(str(name), table)} Known: {some_of(table)}."
    )


def precomputed_imputer(
    given: PrecomputedFile,
    train: pa.Table,
    schema: DataSchema,
    indicators: Indicators = "auto",
) -> Imputer:
    """An imputer with the values of ``impute_dict``; train only says where gaps are.

    Raises:
        ArtifactError: Lists every numeric column without a finite number.
        SchemaError: A numeric column is absent from `train`.
    """
    problems = Problems(f"{given.path} does not fit the data")
    columns = {}
    for name, value in _of_columns(given, schema.numeric, problems):
        if not _is_number(value):
            problems.add(f"column {name!r}: must be a number, but is {shorten(value)}.")
        elif not -LARGEST <= value <= LARGEST:
            problems.add(f"column {name!r}: {shorten(value)} is not finite as float32.")
        else:
            found = numbers(train, name)
            columns[name] = describe(found, "precomputed", float(value), indicators)
    problems.raise_as(ArtifactError)
    return Imputer(columns)


def _of_columns(
    given: PrecomputedFile, wanted: tuple[str, ...], problems: Problems
) -> Iterator[tuple[str, Any]]:
    """The entry of every wanted column; those that are not there are noted."""
    if not isinstance(given.value, dict):
        problems.add(f"it must map columns to values, but is {shorten(given.value)}.")
        return
    held = [str(name) for name in given.value]
    for name in wanted:
        if name in given.value:
            yield name, given.value[name]
        else:
            problems.add(
                f"column {name!r} is not in it.{did_you_mean(name, held)} It has "
                f"{some_of(held) or 'nothing'}."
            )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def precomputed_risk_tables(
    given: PrecomputedFile, train: pa.Table, schema: DataSchema
) -> RiskTables:
    """Risk tables with the rates of ``risk_table_map``; train only says what fits.

    Raises:
        ArtifactError: Lists every categorical column that has no table, one of a wrong
            shape, rates outside [0, 1], keys that no train row has, or rates that
            cannot be about this label.
        SchemaError: A categorical column is absent from `train`.
    """
    problems = Problems(f"{given.path} does not fit the data")
    counts = count_categories(train.to_batches(), schema)
    total = counts.rows.sum(axis=0)
    columns = {}
    for name, value in _of_columns(given, schema.categorical, problems):
        found = counts.columns[name]
        reader = _ColumnReader(name, schema, found)
        table = reader.read(value)
        if table is not None:
            columns[name] = table
            reader.faults += _label_faults(schema, table, found, total)
        for fault in reader.faults:
            problems.add(f"column {name!r}: {fault}")
    problems.raise_as(ArtifactError)
    return RiskTables(
        settings=None,
        classes=schema.classes,
        targets=tuple(schema.classes[i] for i in target_indices(schema)),
        class_counts=tuple(total.tolist()),
        columns=columns,
    )


class _ColumnReader:
    """Reads the table of one column, and notes what is wrong with it."""

    def __init__(self, name: str, schema: DataSchema, counts: ColumnCounts) -> None:
        self.name, self.schema, self.counts = name, schema, counts
        self.targets = [schema.classes[i] for i in target_indices(schema)]
        self.faults: list[str] = []

    def read(self, value: Any) -> RiskTable | None:
        """The table, or None with the faults noted."""
        by_target = self._by_target(value)
        for target, table in by_target.items():
            where = f" of class {target!r}" if len(self.targets) > 1 else ""
            self._check_table(table, where)
        if self.faults:
            return None
        first = by_target[self.targets[0]]["bins"]
        for target, table in by_target.items():
            if set(table["bins"]) != set(first):
                odd = sorted(set(table["bins"]) ^ set(first))
                self.faults.append(
                    f"its tables of classes {self.targets[0]!r} and {target!r} have "
                    f"different categories: {some_of(odd, 3)} is in one of them only."
                )
                return None
        rates = [[float(t["bins"][key]) for t in by_target.values()] for key in first]
        return RiskTable(
            bins=dict(zip(first, map(tuple, rates), strict=True)),
            default=tuple(float(t["default_bin"]) for t in by_target.values()),
            counts=self.counts.per_class(),
        )

    def _by_target(self, value: Any) -> dict[str, Any]:
        """Target class -> its table, in the order of the classes."""
        if len(self.targets) == 1:
            if isinstance(value, dict) and set(value) == set(self.schema.classes):
                self.faults.append(
                    f"it has one table per class, but label {self.schema.label!r} has "
                    f"two classes, which take one: that of {self.targets[0]!r}."
                )
                return {}
            return {self.targets[0]: value}
        if isinstance(value, dict) and set(value) == set(self.targets):
            return {target: value[target] for target in self.targets}
        held = some_of(value) if isinstance(value, dict) else shorten(value)
        self.faults.append(
            f"it must have one table for each class of label {self.schema.label!r}, "
            f"{some_of(self.targets)}, but has {held}: it may be of another label."
        )
        return {}

    def _check_table(self, table: Any, where: str) -> None:
        if not isinstance(table, dict) or set(table) != TABLE_KEYS:
            self.faults.append(
                f"its table{where} must be {TABLE_SHAPE}, but is {shorten(table)}."
            )
            return
        rates = table["bins"]
        if not isinstance(rates, dict):
            self.faults.append(f"bins{where} must map categories to rates.")
            return
        wrong = {key: rate for key, rate in rates.items() if not _is_rate(rate)}
        if not _is_rate(table["default_bin"]):
            wrong["default_bin"] = table["default_bin"]
        if wrong:
            shown = some_of((f"{k}: {v}" for k, v in list(wrong.items())[:3]), 3)
            self.faults.append(
                f"{len(wrong)} rates{where} are not finite numbers from 0 to 1: {shown}."
            )
        self._check_keys(rates, where)

    def _check_keys(self, rates: Mapping[Any, Any], where: str) -> None:
        known = [key for key in self.counts.categories.to_pylist() if key]
        foreign = [key for key in rates if not isinstance(key, str)]
        if foreign:
            kinds = sorted({type(key).__name__ for key in foreign})
            self.faults.append(
                f"{len(foreign)} keys of bins{where} are {', '.join(kinds)}, such as "
                f"{some_of(foreign, 3)}, and never match: categories are text, in train "
                f"{some_of(known, 3)}. Write the keys as text, a missing category as ''."
            )
        elif known and not any(key in rates for key in known):
            self.faults.append(
                f"no category of train is among the keys of bins{where}. Train has "
                f"{some_of(known, 5)}; bins has {some_of(rates, 5) or 'nothing'}. "
                "Categories compare as text, exactly as written."
            )


def _is_rate(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _label_faults(
    schema: DataSchema, table: RiskTable, counts: ColumnCounts, total: Codes
) -> list[str]:
    """Says what shows that a table is not about this label, in two ways.

    The mean rate over the rows of train must be the rate of train. Smoothing moves each
    category from its own rate towards the rate of all, so for a table of these rows the
    mean lies between two sums that train itself gives; `RATE_TOLERANCE` is added for a
    table of other rows. And a table of these rows never ranks them the wrong way round.
    """
    rows = counts.rows.sum(axis=1)
    keys = counts.categories.to_pylist()
    values = np.array([table.bins.get(key, table.default) for key in keys])
    faults = []
    for place, target in enumerate(target_indices(schema)):
        hits, misses = rows[:, target], rows.sum(axis=1) - rows[:, target]
        rate = float(total[target] / total.sum())
        label = f"{schema.label!r} = {schema.classes[target]!r}"
        of_target = values.reshape(len(keys), -1)[:, place]
        faults += _rate_faults(of_target, hits, misses, rate, label)
        faults += _order_faults(of_target, hits, misses, label)
    return faults


def _rate_faults(
    values: Floats, hits: Codes, misses: Codes, rate: float, label: str
) -> list[str]:
    n = hits + misses
    mean = math.fsum((n * values).tolist()) / n.sum()
    least = math.fsum(np.minimum(hits, n * rate).tolist()) / n.sum()
    most = math.fsum(np.maximum(hits, n * rate).tolist()) / n.sum()
    tolerance = max(RATE_TOLERANCE, min(rate, 1 - rate) / 2)
    if least - tolerance <= mean <= most + tolerance:
        return []
    return [
        f"its rates have the mean {mean:.4f} over the rows of train, but the share of "
        f"{label} in train is {rate:.4f}, and no smoothing explains more than "
        f"{max(0.0, least - tolerance):.4f} to {min(1.0, most + tolerance):.4f}. It is "
        "the table of another label or of very different rows."
    ]


def _order_faults(values: Floats, hits: Codes, misses: Codes, label: str) -> list[str]:
    found = auroc(values, hits, misses)
    error = auroc_error(float(hits.sum()), float(misses.sum()))
    # Written so that an undefined AUROC is no fault.
    if not found < 0.5 - max(WRONG_WAY, 4 * error):
        return []
    return [
        f"its rates rank the rows of train the wrong way round for {label} (AUROC "
        f"{found:.3f}, where 0.5 is chance): it is the table of another label."
    ]
