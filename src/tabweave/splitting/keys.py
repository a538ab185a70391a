"""Reads the few columns that decide where a row goes, or says what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import ConfigError, Problems, SchemaError, shorten
from tabweave.schema import DataConfig
from tabweave.splitting.config import SplitConfig
from tabweave.splitting.duplicates import row_texts
from tabweave.splitting.times import Times, Where, read_times
from tabweave.tables.headers import check_header
from tabweave.tables.parted_tables import Source, named_rows

SHOWN = 3


@dataclass(frozen=True)
class RowKeys:
    """What decides where each row goes; every member has one entry per row.

    Attributes:
        ids: Unique and present, as text.
        labels: Present, as text.
        groups: As text, empty where missing; None unless rows are split by group.
        times: None unless rows are split by time.
        written_times: The times as the file has them.
        texts: All text columns of a row as one normalised text; None unless duplicates
            stay together.
        doubts: Sentences about quotes that may join rows; none per row.
    """

    ids: pa.ChunkedArray
    labels: pa.ChunkedArray
    groups: pa.ChunkedArray | None = None
    times: Times | None = None
    written_times: pa.ChunkedArray | None = None
    texts: pa.ChunkedArray | None = None
    doubts: tuple[str, ...] = ()


def read_keys(source: Source, data: DataConfig, config: SplitConfig) -> RowKeys:
    """Reads and checks the ids, labels, groups, times and texts of a file.

    Raises:
        SchemaError: Columns are missing, or values are missing, repeated or unreadable;
            one error lists all that was found.
        ConfigError: The embargo does not fit the times, or there is no text to compare.
    """
    if config.keep_duplicates_together and not data.text:
        raise ConfigError(
            "split.keep_duplicates_together compares texts, but data.text names no "
            "column. Name one, or set split.keep_duplicates_together to false."
        )
    problems = Problems("The file cannot be split")
    _check_columns(source, data, config, problems)
    problems.raise_as(SchemaError)
    keys = _read(source, data, config, problems)
    problems.raise_as(SchemaError)
    _check_embargo(keys.times, config)
    return keys


def _named(*columns: str | None) -> list[str]:
    return list(dict.fromkeys(name for name in columns if name is not None))


def _compared(data: DataConfig, config: SplitConfig) -> tuple[str, ...]:
    return data.text if config.keep_duplicates_together else ()


def _check_columns(
    source: Source, data: DataConfig, config: SplitConfig, problems: Problems
) -> None:
    decisive = (config.group_column, config.time_column, *_compared(data, config))
    wanted = _named(data.id, data.label, *decisive)
    check_header(source, wanted, problems)
    columns = source.columns()
    others = {c for c in columns if columns.count(c) > 1} - set(wanted)
    for name in sorted(others):
        # All columns are written again, and a table has one column of a name.
        problems.add(f"{source.path}: column {name!r} appears more than once.")


def _read(
    source: Source, data: DataConfig, config: SplitConfig, problems: Problems
) -> RowKeys:
    doubts: list[str] = []
    table, texts = _columns(source, data, config, problems, doubts)
    for name in (data.id, data.label):
        _check_present(table[name], name, source, problems)
    _check_unique(table[data.id], data.id, source, problems)
    time = config.time_column
    times = None
    if time is not None:
        where = Where(f"{source.path}: time column '{time}'", source.place)
        times = read_times(table[time], where, problems)
    return RowKeys(
        ids=table[data.id],
        labels=table[data.label],
        groups=None if config.group_column is None else table[config.group_column],
        times=times,
        written_times=None if time is None else table[time],
        texts=texts,
        doubts=tuple(doubts),
    )


def _columns(
    source: Source,
    data: DataConfig,
    config: SplitConfig,
    problems: Problems,
    doubts: list[str],
) -> tuple[pa.Table, pa.ChunkedArray | None]:
    """The short columns of the file, and its texts in normalised form."""
    compared = _compared(data, config)
    written = _named(data.id, data.label, config.group_column)
    short = _named(*written, config.time_column)
    tables: list[pa.Table] = []
    texts: list[pa.Array] = []
    for batch in source.batches(_named(*short, *compared), doubts=doubts):
        table = _decoded(batch)
        if not tables:
            _check_types(table.schema, [*written, *compared], source, problems)
            problems.raise_as(SchemaError)
        table = _as_text(table, [*written, *compared])
        tables.append(table.select(short))
        if compared:
            texts.append(row_texts(table.select(list(compared))))
    if not any(table.num_rows for table in tables):
        raise SchemaError(f"{source.path}: there are no rows below the header.")
    return pa.concat_tables(tables), pa.chunked_array(texts) if compared else None


def _decoded(batch: pa.RecordBatch) -> pa.Table:
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.table(columns, names=batch.schema.names)


def _check_types(
    schema: pa.Schema, columns: Sequence[str], source: Source, problems: Problems
) -> None:
    allowed = ("string", "large_string", "integer", "boolean", "null")
    for name in columns:
        kind = schema.field(name).type
        if not any(getattr(pa.types, f"is_{a}")(kind) for a in allowed):
            problems.add(
                f"{source.path}: column '{name}' has type {kind}, but its role wants "
                "text; write whole numbers or strings."
            )


def _as_text(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The table with these columns as written; null is the empty string."""
    for name in dict.fromkeys(columns):
        text = pc.fill_null(table[name].cast(pa.string()), "")
        table = table.set_column(table.column_names.index(name), name, text)
    return table


def _check_present(
    values: pa.ChunkedArray, name: str, source: Source, problems: Problems
) -> None:
    missing = np.flatnonzero(np.asarray(pc.equal(values, "")))
    if len(missing):
        rows = named_rows(source, missing[:SHOWN] + 1)
        problems.add(
            f"{source.path}: column '{name}' is empty in {len(missing)} rows, first "
            f"{rows}; every row needs a value to be placed."
        )


def _check_unique(
    ids: pa.ChunkedArray, name: str, source: Source, problems: Problems
) -> None:
    counts = pc.value_counts(ids.filter(pc.not_equal(ids, "")))
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if not len(repeated):
        return
    shown = []
    for value in repeated[:SHOWN]:
        rows = np.flatnonzero(np.asarray(pc.equal(ids, value))) + 1
        shown.append(f"{shorten(value.as_py())} in {named_rows(source, rows)}")
    problems.add(
        f"{source.path}: id column '{name}' must be unique, but {len(repeated)} ids "
        f"repeat: {'; '.join(shown)}."
    )


def _check_embargo(times: Times | None, config: SplitConfig) -> None:
    if times is None or config.embargo is None:
        return
    is_number = times.kind == "number"
    if is_number == isinstance(config.embargo, str):
        wanted = "a number" if is_number else "a duration such as 7d or 12h"
        raise ConfigError(
            f"split.embargo is {config.embargo!r}, but split.time_column "
            f"'{config.time_column}' holds {'numbers' if is_number else 'times'}; the "
            f"embargo must be {wanted}."
        )
