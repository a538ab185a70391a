"""Risk tables: a category becomes the share of each class among its train rows.

For a category with n rows, p of them of the class, and a train set in which the class
has the share `prior`::

    value = (p + k * prior) / (n + k)   if n >= count_threshold, else prior
    k     = int(rows * smooth_factor)

A train row takes its value from the rows of the other folds, so its own label never
reaches its own features. All other rows take theirs from the table of all train rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from tabweave.errors import ArtifactError, SchemaError
from tabweave.schema import DataSchema
from tabweave.tabular.category_counts import CategoryCounts, ColumnCounts, count_table
from tabweave.tabular.columns import Codes, Floats, categories
from tabweave.tabular.config import RiskSettings
from tabweave.tabular.folds import assign_folds


@dataclass(frozen=True)
class RiskTable:
    """The fitted table of one column.

    Attributes:
        bins: Category -> one value per target class; '' is a missing category.
        default: Values of a category that train never showed: the priors.
        counts: Category -> rows of train per class.
    """

    bins: dict[str, tuple[float, ...]]
    default: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class RiskTables:
    """The tables of all categorical columns, fitted on all rows of train.

    Attributes:
        settings: What they were fitted with, and how train rows are cross-fitted; None
            for tables of an upstream step, which does not say.
        classes: Classes in the order of the schema.
        targets: Classes that have a value: the positive one of two, else every class.
        class_counts: Rows of train per class.
        columns: Categorical column -> its table.
    """

    settings: RiskSettings | None
    classes: tuple[str, ...]
    targets: tuple[str, ...]
    class_counts: tuple[int, ...]
    columns: dict[str, RiskTable]

    @property
    def rows(self) -> int:
        """Rows of train."""
        return sum(self.class_counts)

    @property
    def group(self) -> str | None:
        """Column whose equal values stay in one fold of train, if there is one."""
        return None if self.settings is None else self.settings.group

    @property
    def smoothing_rows(self) -> int | None:
        """Rows of prior that were added to every category: k of the formula."""
        if self.settings is None:
            return None
        return int(self.rows * self.settings.smooth_factor)

    @property
    def prior(self) -> dict[str, float]:
        """Target class -> its share of the rows of train."""
        counts = dict(zip(self.classes, self.class_counts, strict=True))
        return {target: counts[target] / self.rows for target in self.targets}

    def transform(self, table: pa.Table) -> dict[str, Floats]:
        """Column -> values [rows, targets], for rows that are not train rows.

        On train these values would hold the rows' own labels: `cross_fitted` is for
        train.

        Raises:
            SchemaError: A column is absent or does not hold text.
        """
        values = {}
        for name, fitted in self.columns.items():
            codes, found = categories(table, name)
            known = [fitted.bins.get(key, fitted.default) for key in found.to_pylist()]
            values[name] = np.array(known).reshape(-1, len(self.targets))[codes]
        return values

    def to_map(self) -> dict[str, Any]:
        """The interchange form, ``risk_table_map``.

        Two classes: ``{column: {"bins": {category: value}, "default_bin": value}}``;
        more: ``{column: {class: {"bins": ..., "default_bin": ...}}}``.
        """
        maps = {
            name: {
                target: {
                    "bins": {key: values[i] for key, values in table.bins.items()},
                    "default_bin": table.default[i],
                }
                for i, target in enumerate(self.targets)
            }
            for name, table in self.columns.items()
        }
        if len(self.targets) > 1:
            return maps
        return {name: by_target[self.targets[0]] for name, by_target in maps.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values: the map under ``tables``, beside all it was computed from."""
        return {
            "settings": self.settings and self.settings.model_dump(mode="json"),
            "classes": list(self.classes),
            "targets": list(self.targets),
            "class_counts": list(self.class_counts),
            "rows": self.rows,
            "smoothing_rows": self.smoothing_rows,
            "prior": self.prior,
            "tables": self.to_map(),
            "counts": {
                name: {key: list(rows) for key, rows in table.counts.items()}
                for name, table in self.columns.items()
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RiskTables:
        """Inverse of `to_json`.

        Raises:
            ArtifactError: The value is not a set of risk tables.
        """
        try:
            targets, settings = tuple(value["targets"]), value["settings"]
            return cls(
                settings=None
                if settings is None
                else RiskSettings.model_validate(settings),
                classes=tuple(value["classes"]),
                targets=targets,
                class_counts=tuple(value["class_counts"]),
                columns={
                    name: _read_table(found, targets, value["counts"][name])
                    for name, found in value["tables"].items()
                },
            )
        except (AttributeError, KeyError, TypeError, ValidationError) as error:
            raise ArtifactError(
                f"The risk tables are damaged ({error!r}).",
                stages=("tabular",),
            ) from error


def _read_table(
    found: Mapping[str, Any], targets: tuple[str, ...], counts: Mapping[str, Any]
) -> RiskTable:
    by_target = found if len(targets) > 1 else {targets[0]: found}
    return RiskTable(
        bins={
            key: tuple(by_target[target]["bins"][key] for target in targets)
            for key in by_target[targets[0]]["bins"]
        },
        default=tuple(by_target[target]["default_bin"] for target in targets),
        counts={key: tuple(rows) for key, rows in counts.items()},
    )


def target_indices(schema: DataSchema) -> list[int]:
    """Positions of the classes that get a value: the positive one of two, else all."""
    if schema.task == "binary":
        return [schema.positive_index]
    return list(range(len(schema.classes)))


def _values(
    rows: Codes, total: Codes, targets: list[int], settings: RiskSettings
) -> tuple[Floats, Floats]:
    """Values [categories, targets] and priors [targets] from counts per class.

    `rows` is [categories, classes] and `total`, for all rows, is [classes].
    """
    prior = total[targets] / total.sum()
    k = int(int(total.sum()) * settings.smooth_factor)
    n = rows.sum(axis=1, keepdims=True)
    smoothed = (rows[:, targets] + k * prior) / np.maximum(n + k, 1)
    # Threshold 0 does not make a category known that these rows never showed.
    known = n >= max(settings.count_threshold, 1)
    return np.where(known, smoothed, prior), prior


def fit_risk_tables(
    counts: CategoryCounts, schema: DataSchema, settings: RiskSettings
) -> RiskTables:
    """Turns the counts of train into the tables that val, test and serving use.

    Raises:
        SchemaError: The counts hold no row.
    """
    total = counts.rows.sum(axis=0)
    if total.sum() == 0:
        raise SchemaError("Risk tables need rows, but the train split has none.")
    targets = target_indices(schema)
    columns = {}
    for name, column in counts.columns.items():
        rows = column.rows.sum(axis=1)
        values, prior = _values(rows, total, targets, settings)
        keys = column.categories.to_pylist()
        columns[name] = RiskTable(
            bins=dict(zip(keys, map(tuple, values.tolist()), strict=True)),
            default=tuple(prior.tolist()),
            counts=column.per_class(),
        )
    return RiskTables(
        settings=settings,
        classes=schema.classes,
        targets=tuple(schema.classes[i] for i in targets),
        class_counts=tuple(total.tolist()),
        columns=columns,
    )


def cross_fitted(
    train: pa.Table, schema: DataSchema, fitted: RiskTables
) -> dict[str, Floats]:
    """Column -> values [rows, targets] for the rows that `fitted` was fitted on.

    A row's value, its prior and its smoothing come from the rows of the other folds.
    With ``cross_fit: 1`` they come from all rows, the row itself included, and tables of
    an upstream step give train rows what they give all others.

    Raises:
        SchemaError: `train` is not the table that was fitted on, or one fold has all
            of its rows.
    """
    settings = fitted.settings
    if settings is None:
        _check_same_rows(count_table(train, schema), fitted)
        return fitted.transform(train)
    folds = assign_folds(train, schema, settings)
    counts = count_table(train, schema, folds, settings.cross_fit)
    _check_same_rows(counts, fitted)
    targets = target_indices(schema)
    values = {}
    for name, column in counts.columns.items():
        table = _other_folds(counts.rows, column, targets, settings)
        codes, found = categories(train, name)
        place = pc.index_in(found, value_set=column.categories).to_numpy()
        values[name] = table[folds, place[codes]]
    return values


def _other_folds(
    rows: Codes, column: ColumnCounts, targets: list[int], settings: RiskSettings
) -> Floats:
    """Values [folds, categories, targets] that the rows of each fold receive."""
    total, everywhere = rows.sum(axis=0), column.rows.sum(axis=1)
    if settings.cross_fit == 1:
        return _values(everywhere, total, targets, settings)[0][None]
    table = np.zeros((settings.cross_fit, len(everywhere), len(targets)))
    for fold in np.flatnonzero(rows.sum(axis=1)):
        others = total - rows[fold]
        if others.sum() == 0:
            raise SchemaError(
                f"All {rows.sum()} train rows are in one of {settings.cross_fit} folds "
                f"(group: {settings.group!r}), so no other rows can say their risk. "
                "Use more rows or groups, another seed, or tabular.cross_fit: 1."
            )
        seen = everywhere - column.rows[:, fold]
        table[fold] = _values(seen, others, targets, settings)[0]
    return table


def _check_same_rows(counts: CategoryCounts, fitted: RiskTables) -> None:
    total = tuple(counts.rows.sum(axis=0).tolist())
    wrong = [] if total == fitted.class_counts else ["the labels"]
    wrong += [
        repr(name)
        for name in sorted({*counts.columns, *fitted.columns})
        if name not in counts.columns
        or name not in fitted.columns
        or counts.columns[name].per_class() != fitted.columns[name].counts
    ]
    if wrong:
        raise SchemaError(
            "Only rows that risk tables were fitted on can be cross-fitted, but the "
            f"counts of {', '.join(wrong)} differ. Give the train table of the same "
            "run, or transform other rows with the fitted tables."
        )
