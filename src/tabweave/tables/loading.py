"""Reads the three splits into typed tables, or says everything that is wrong with them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from tabweave.tables.cells import (
    SHOWN,
    CellRules,
    FoundFaults,
    readable_text,
    typed_numbers,
    typed_text,
)
from tabweave.tables.headers import check_header
from tabweave.tables.parted_tables import (
    PartedTable,
    Source,
    named_rows,
    unread_sentence,
    with_options,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedData:
    """Typed tables of all splits, their schema, and what was found on the way.

    Attributes:
        tables: Split -> its typed table.
        schema: Roles and classes, as settled.
        sources: Split -> file name, format, replaced byte sequences per column, and the
            rows of each file where there are several.
        notes: Findings of the data report about the files themselves.
    """

    tables: dict[str, pa.Table]
    schema: DataSchema
    sources: dict[str, dict[str, Any]]
    notes: list[dict[str, Any]]


def load_splits(raw: Mapping[str, Source], config: DataConfig) -> LoadedData:
    """Reads, types and checks every split.

    Every row in is one row out, in the order of the file. Ids, categories, labels and
    texts keep the characters that were written; numbers become float32.

    Raises:
        SchemaError: Anything does not fit; one error lists all that was found, in all
            files.
        ArtifactError: A file changed while it was read.
    """
    problems = Problems("The data does not fit the configuration")
    notes: list[dict[str, Any]] = []
    tables: dict[str, pa.Table] = {}
    sources: dict[str, dict[str, Any]] = {}
    # In every message that follows, a table is the one that was read.
    raw = {
        split: with_options(table, quoting=config.quoting).pinned()
        for split, table in raw.items()
    }
    for split, source in raw.items():
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

    source: Source
    config: DataConfig
    problems: Problems
    notes: list[dict[str, Any]]
    row: int = 0
    faults: FoundFaults = field(init=False)
    # Columns that cannot take their role: nothing more is said about them.
    unusable: set[str] = field(default_factory=set)
    large_integers: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    doubts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.faults = FoundFaults(place=self.source.place)

    def read(self) -> pa.Table | None:
        """The typed table, or None when its labels cannot be read."""
        unread = unread_sentence(self.source, f"data.{self.source.split}_filename")
        if unread:
            logger.warning("%s: %s.", self.source.split, unread)
            self._note(None, unread)
        if not check_header(self.source, self.config.columns, self.problems):
            return None
        try:
            cells = self.source.unchecked(self.config.columns, self.doubts)
            batches = [self._typed(batch) for batch in cells]
        finally:
            for sentence in self.faults.sentences():
                self.problems.add(f"{self.source.path}: {sentence}")
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
        about = {
            "file": self.source.path.name,
            "format": self.source.format,
            "repaired_utf8": dict(self.repairs),
        }
        if isinstance(self.source, PartedTable):
            about["parts"] = self.source.rows_per_part(self.row)
        return about

    def _note_changes(self) -> None:
        """Notes where a cell is not kept to the last bit, or may hold several rows."""
        changes = [
            (name, f"{count} values exceed 2^24 and lose digits as float32")
            for name, count in self.large_integers.items()
        ] + [
            (name, f"{count} byte sequences are not UTF-8 and became U+FFFD")
            for name, count in self.repairs.items()
        ]
        for name, message in [*changes, *((None, doubt) for doubt in self.doubts)]:
            self._note(name, message)

    def _note(self, column: str | None, message: str) -> None:
        about = {"severity": "warning", "split": self.source.split}
        self.notes.append({**about, "column": column, "message": message})

    def _schema(self) -> pa.Schema:
        config = self.config
        group = () if config.group is None else (config.group,)
        text = (config.id, config.label, *group, *config.text)
        return pa.schema(
            [(name, pa.string()) for name in (*text, *self.config.categorical)]
            + [(name, pa.float32()) for name in self.config.numeric]
        )

    def _typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [
            self._typed_column(name, batch.column(batch.schema.get_field_index(name)))
            for name in self._schema().names
        ]
        self.row += batch.num_rows
        return pa.RecordBatch.from_arrays(columns, schema=self._schema())

    def _typed_column(self, name: str, values: pa.Array) -> pa.Array:
        rules = CellRules.of(self.config)
        text, unreadable, replaced = readable_text(name, values, rules)
        if replaced:
            self.repairs[name] += replaced
        typed = typed_numbers if name in self.config.numeric else typed_text
        cells = typed(name, text, rules)
        for fault in (*unreadable, *cells.faults):
            self.faults.add(fault, text, self.row)
            if fault.kind != "value":
                self.unusable.add(name)
        if cells.inexact:
            self.large_integers[name] += cells.inexact
        return cells.values

    def _check_ids(self, table: pa.Table) -> None:
        ids = table[self.config.id].combine_chunks()
        missing = np.flatnonzero(pc.equal(ids, "").to_numpy(zero_copy_only=False))
        where = f"{self.source.path}: id column '{self.config.id}'"
        if len(missing):
            rows = named_rows(self.source, missing[:SHOWN] + 1)
            self.problems.add(f"{where} is empty in {len(missing)} rows, first {rows}.")
        counts = pc.value_counts(ids.filter(pc.not_equal(ids, "")))
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(repeated):
            some = repeated.field("values")[:SHOWN]
            shown = [_rows_of(ids, value, self.source) for value in some]
            self.problems.add(
                f"{where} must be unique, but {len(repeated)} ids repeat: "
                f"{'; '.join(shown)}."
            )


def _rows_of(ids: pa.Array, value: pa.Scalar, source: Source) -> str:
    rows = np.flatnonzero(pc.equal(ids, value).to_numpy(zero_copy_only=False)) + 1
    return f"{shorten(value.as_py())} in {named_rows(source, rows)}"


def _labels(table: pa.Table, name: str) -> dict[str, int]:
    counts = pc.value_counts(table[name].combine_chunks())
    return {v["values"]: v["counts"] for v in counts.to_pylist()}


def _settle_schema(
    tables: Mapping[str, pa.Table],
    config: DataConfig,
    raw: Mapping[str, Source],
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
            place = raw[split].place(first)
            problems.add(
                f"{path}: label column '{config.label}' is empty in {counts['']} rows, "
                f"first {place}."
            )
        unknown = sorted(set(counts) - {"", *classes})
        if unknown:
            source = "data.classes" if config.classes else "the labels of train"
            problems.add(
                f"{path}: labels {some_of(unknown)} are not among {source}, "
                f"{some_of(classes)}."
            )
    for split in ("train", "val"):
        seen = set(found.get(split, {})) - {""}
        # On a val of one class no model is better than another.
        if split in found and len(seen) < 2 and tables[split].num_rows:
            problems.add(
                f"{raw[split].path}: {split} needs at least two classes in "
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
