"""Reads the three splits into typed tables, or says everything that is wrong with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import Problems, SchemaError, shorten, some_of
from tabweave.schema import (
    DataConfig,
    DataSchema,
    default_positive,
    ordered_classes,
)
from tabweave.tables import RawTable, check_header

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
EXACT_INTEGERS = 2**24
SHOWN = 3


@dataclass(frozen=True)
class LoadedData:
    """Typed tables of all splits, their schema, and what was found on the way.

    Attributes:
        tables: Split -> its typed table.
        schema: Roles and classes, as settled.
        sources: Split -> file name, format, and replaced byte sequences per column.
        notes: Findings of the data report about the files themselves.
    """

    tables: dict[str, pa.Table]
    schema: DataSchema
    sources: dict[str, dict[str, Any]]
    notes: list[dict[str, Any]]


def load_splits(raw: Mapping[str, RawTable], config: DataConfig) -> LoadedData:
    """Reads, types and checks every split.

    Every row in is one row out, in the order of the file. Ids, categories, labels and
    texts keep the characters that were written; numbers become float32.

    Raises:
        SchemaError: Anything does not fit; one error lists all that was found, in all
            files.
    """
    problems = Problems("The data does not fit the configuration")
    notes: list[dict[str, Any]] = []
    tables: dict[str, pa.Table] = {}
    sources: dict[str, dict[str, Any]] = {}
    for split, table in raw.items():
        source = replace(table, invalid_utf8=config.invalid_utf8)
        reader = _Reader(source, config, problems, notes)
        try:
            loaded = reader.read()
        except SchemaError as error:
            problems.add(str(error))
            continue
        if loaded is not None:
            tables[split] = loaded
            sources[split] = reader.about()
    schema = _settle_schema(tables, config, raw, problems)
    problems.raise_as(SchemaError)
    assert schema is not None
    return LoadedData(tables, schema, sources, notes)


@dataclass
class _Reader:
    """Turns one file into a typed table and notes what does not fit."""

    source: RawTable
    config: DataConfig
    problems: Problems
    notes: list[dict[str, Any]]
    row: int = 0
    bad: dict[str, list[str]] = field(default_factory=dict)
    bad_count: Counter[str] = field(default_factory=Counter)
    # Columns that cannot take their role: nothing more is said about them.
    unusable: set[str] = field(default_factory=set)
    large_integers: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)

    def read(self) -> pa.Table | None:
        """The typed table, or None when its labels cannot be read."""
        if not check_header(self.source, self.config.columns, self.problems):
            return None
        try:
            cells = self.source.batches(self.config.columns, self.repairs)
            batches = [self._typed(batch) for batch in cells]
        finally:
            self._add_bad_cells()
        table = pa.Table.from_batches(batches, schema=self._schema())
        if table.num_rows == 0:
            self.problems.add(
                f"{self.source.path}: there are no rows below the header."
            )
            return None
        if self.config.id not in self.unusable:
            self._check_ids(table)
        self._note_changes()
        return None if self.config.label in self.unusable else table

    def about(self) -> dict[str, Any]:
        """What the data report says of the file itself."""
        return {
            "file": self.source.path.name,
            "format": self.source.format,
            "repaired_utf8": dict(self.repairs),
        }

    def _note_changes(self) -> None:
        """Notes where a cell is not kept to the last bit."""
        changes = [
            (name, f"{count} values exceed 2^24 and lose digits as float32")
            for name, count in self.large_integers.items()
        ] + [
            (name, f"{count} byte sequences are not UTF-8 and became U+FFFD")
            for name, count in self.repairs.items()
        ]
        about = {"severity": "warning", "split": self.source.split}
        for name, message in changes:
            self.notes.append({**about, "column": name, "message": message})

    def _add_bad_cells(self) -> None:
        for reason, rows in self.bad.items():
            count = self.bad_count[reason]
            more = f" and {count - len(rows)} more" if count > len(rows) else ""
            self.problems.add(f"{self.source.path}: {reason}: {'; '.join(rows)}{more}.")

    def _schema(self) -> pa.Schema:
        config = self.config
        group = () if config.group is None else (config.group,)
        text = (config.id, config.label, *group, *config.text)
        return pa.schema(
            [(name, pa.string()) for name in (*text, *self.config.categorical)]
            + [(name, pa.float32()) for name in self.config.numeric]
        )

    def _typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = []
        for column in self._schema():
            values = batch.column(batch.schema.get_field_index(column.name))
            if self._has_long_cells(column.name, values):
                values = pa.nulls(len(values))
            if pa.types.is_dictionary(values.type):
                values = values.dictionary_decode()
            if values.null_count == len(values):
                values = pa.nulls(len(values))
            if column.name in self.config.numeric:
                columns.append(self._number(column.name, values))
            else:
                columns.append(self._text(column.name, values))
        self.row += batch.num_rows
        return pa.RecordBatch.from_arrays(columns, schema=self._schema())

    def _has_long_cells(self, name: str, values: pa.Array) -> bool:
        """Notes cells above the cap; one cell could fill the memory of later stages."""
        lengths = _byte_lengths(values)
        if lengths is None:
            return False
        cap = self.config.max_cell_bytes
        long = np.asarray(pc.fill_null(pc.greater(lengths, cap), False))
        reason = f"column '{name}' holds cells above data.max_cell_bytes ({cap} bytes)"
        self._refuse(name, reason, long, values)
        return bool(long.any())

    def _note(self, reason: str, wrong: np.ndarray, values: pa.Array) -> None:
        self.bad_count[reason] += len(wrong)
        shown = self.bad.setdefault(reason, [])
        for index in wrong[: max(0, SHOWN - len(shown))]:
            # Row 1 is the first row below the header.
            value = shorten(values[int(index)].as_py())
            shown.append(f"row {self.row + int(index) + 1}: {value}")

    def _text(self, name: str, values: pa.Array) -> pa.Array:
        """Text exactly as written; null becomes the empty string, which is 'missing'."""
        if _is_any(values.type, "string large_string integer boolean null"):
            return pc.fill_null(values.cast(pa.string()), "")
        present = pc.invert(pc.is_null(values, nan_is_null=True))
        if pa.types.is_floating(values.type):
            reason = (
                f"column '{name}' holds floating-point numbers, but its role wants text; "
                "write whole numbers or strings"
            )
        else:
            reason = f"column '{name}' has type {values.type}, but its role wants text"
        self._refuse(name, reason, np.asarray(present), values)
        return pa.array([""] * len(values), pa.string())

    def _number(self, name: str, values: pa.Array) -> pa.Array:
        if _is_any(values.type, "string large_string"):
            wide = self._parse(name, values)
        elif pa.types.is_boolean(values.type):
            wide = values.cast(pa.uint8()).cast(pa.float64())
        elif _is_any(values.type, "integer floating decimal null"):
            # float32 is the aim, so digits beyond 2^53 may already go here.
            wide = values.cast(pa.float64(), safe=False)
            declared = [float(v) for v in self.config.null_values if _is_number(v)]
            wide = _emptied(wide, pc.is_in(wide, pa.array(declared, pa.float64())))
        else:
            reason = f"numeric column '{name}' has type {values.type}"
            self._refuse(name, reason, np.asarray(values.is_valid()), values)
            wide = pa.nulls(len(values), pa.float64())
        numbers = wide.to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            narrow = numbers.astype(np.float32)
        self._note_if(
            f"numeric column '{name}' holds values that are infinite as float32",
            np.isinf(narrow),
            values,
        )
        large = (np.abs(numbers) > EXACT_INTEGERS) & (narrow != numbers)
        if large.any():
            self.large_integers[name] += int(large.sum())
        return pa.array(narrow, pa.float32(), mask=np.isnan(narrow))

    def _parse(self, name: str, values: pa.Array) -> pa.Array:
        empty = pc.is_in(values, value_set=pa.array(["", *self.config.null_values]))
        number = pc.fill_null(pc.match_substring_regex(values, NUMBER), False)
        wrong = pc.and_not(pc.invert(number), pc.or_(empty, values.is_null()))
        self._note_if(
            f"numeric column '{name}' holds cells that are not numbers (declare them "
            "under data.null_values if they mean 'missing')",
            wrong.to_numpy(zero_copy_only=False),
            values,
        )
        unusable = pc.invert(pc.and_not(number, empty))
        return _emptied(values, unusable).cast(pa.float64())

    def _refuse(
        self, name: str, reason: str, wrong: np.ndarray, values: pa.Array
    ) -> None:
        """Notes a column that cannot take its role."""
        self._note_if(reason, wrong, values)
        if reason in self.bad:
            self.unusable.add(name)

    def _note_if(self, reason: str, wrong: np.ndarray, values: pa.Array) -> None:
        found = np.flatnonzero(wrong)
        if len(found):
            self._note(reason, found, values)

    def _check_ids(self, table: pa.Table) -> None:
        ids = table[self.config.id].combine_chunks()
        missing = np.flatnonzero(pc.equal(ids, "").to_numpy(zero_copy_only=False))
        where = f"{self.source.path}: id column '{self.config.id}'"
        if len(missing):
            rows = [int(row) + 1 for row in missing[:SHOWN]]
            self.problems.add(f"{where} is empty in {len(missing)} rows, first {rows}.")
        counts = pc.value_counts(ids.filter(pc.not_equal(ids, "")))
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(repeated):
            shown = [_rows_of(ids, value) for value in repeated.field("values")[:SHOWN]]
            self.problems.add(
                f"{where} must be unique, but {len(repeated)} ids repeat: "
                f"{'; '.join(shown)}."
            )


def _rows_of(ids: pa.Array, value: pa.Scalar) -> str:
    rows = np.flatnonzero(pc.equal(ids, value).to_numpy(zero_copy_only=False)) + 1
    return f"{shorten(value.as_py())} in rows {some_of(rows.tolist(), SHOWN)}"


def _byte_lengths(values: pa.Array) -> pa.Array | None:
    """Bytes of each cell of a text column, without writing a dictionary out."""
    if pa.types.is_dictionary(values.type):
        lengths = _byte_lengths(values.dictionary)
        return None if lengths is None else lengths.take(values.indices)
    if _is_any(values.type, "string large_string"):
        return pc.binary_length(values)
    return None


def _emptied(values: pa.Array, empty: pa.Array) -> pa.Array:
    return pc.if_else(empty, pa.scalar(None, values.type), values)


def _is_any(kind: pa.DataType, names: str) -> bool:
    return any(getattr(pa.types, f"is_{name}")(kind) for name in names.split())


def _is_number(cell: str) -> bool:
    return re.fullmatch(NUMBER, cell) is not None


def _labels(table: pa.Table, name: str) -> dict[str, int]:
    counts = pc.value_counts(table[name].combine_chunks())
    return {v["values"]: v["counts"] for v in counts.to_pylist()}


def _settle_schema(
    tables: Mapping[str, pa.Table],
    config: DataConfig,
    raw: Mapping[str, RawTable],
    problems: Problems,
) -> DataSchema | None:
    """Classes come from the configuration, or from train; every label must be one."""
    if config.classes is None and "train" not in tables:
        return None
    found = {split: _labels(table, config.label) for split, table in tables.items()}
    classes = config.classes or ordered_classes(set(found["train"]) - {""})
    for split, counts in found.items():
        path = raw[split].path
        if "" in counts:
            first = pc.index(tables[split][config.label], "").as_py() + 1
            problems.add(
                f"{path}: label column '{config.label}' is empty in {counts['']} rows, "
                f"first row {first}."
            )
        unknown = sorted(set(counts) - {"", *classes})
        if unknown:
            source = "data.classes" if config.classes else "the labels of train"
            problems.add(
                f"{path}: labels {some_of(unknown)} are not among {source}, "
                f"{some_of(classes)}."
            )
    seen = set(found.get("train", {})) - {""}
    if "train" in found and len(seen) < 2:
        problems.add(
            f"{raw['train'].path}: train needs at least two classes in "
            f"'{config.label}', but holds {some_of(seen) or 'none'}."
        )
    if config.num_classes not in (None, len(classes)):
        problems.add(
            f"data.num_classes is {config.num_classes}, but '{config.label}' has "
            f"{len(classes)} labels in {raw['train'].path}: {some_of(classes)}."
        )
    if config.positive_label is not None and config.positive_label not in classes:
        problems.add(
            f"data.positive_label {config.positive_label!r} is not among the labels "
            f"{some_of(classes)}."
        )
    if problems:
        return None
    return DataSchema(
        id=config.id,
        label=config.label,
        group=config.group,
        text=config.text,
        categorical=config.categorical,
        numeric=config.numeric,
        classes=classes,
        positive_label=config.positive_label or default_positive(classes),
    )
