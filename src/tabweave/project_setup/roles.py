"""Proposes a role for every column of a user's train file, with what speaks for it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import MissingDataError, Problems, SchemaError, shorten
from tabweave.project_setup.columns import (
    ID_NAME,
    SampledColumn,
    sample_columns,
    whole_column,
)
from tabweave.project_setup.leakage import leakage_doubt
from tabweave.schema import DataConfig, Quoting, default_positive, ordered_classes
from tabweave.tables.cells import NUMBER
from tabweave.tables.headers import check_header
from tabweave.tables.lookup import find_split
from tabweave.tables.parted_tables import (
    Source,
    open_table,
    parts_of,
    unread_sentence,
    with_options,
)
from tabweave.tables.quotes import AmbiguousQuotesError

logger = logging.getLogger(__name__)

MAX_CLASSES = 50
MAX_CATEGORIES = 5_000
FEW_VALUES = 10
CHARACTERS_PER_TOKEN = 4
SEN_LENS = (64, 128, 256, 512)

Role = Literal["id", "label", "text", "categorical", "numeric", "left out"]


@dataclass(frozen=True)
class ColumnRole:
    """The role proposed for one column.

    Attributes:
        name: Name in the header.
        role: What the column is for, or "left out".
        seen: What the sample showed, on one line.
        doubt: What a person must decide before trusting a result, or "".
        null_values: Cells that mean 'missing' in an otherwise numeric column.
    """

    name: str
    role: Role
    seen: str
    doubt: str = ""
    null_values: tuple[str, ...] = ()


@dataclass(frozen=True)
class InferredRoles:
    """The roles proposed for all columns of a train file.

    Attributes:
        source: The train file.
        rows: Its number of rows.
        sampled: How many of them, the first of each file, were looked at.
        columns: All its columns in file order, but text in the order the user gave.
        classes: Label -> rows of train, in the order of the classes.
        max_sen_len: Tokens per chunk that hold about 95% of the sampled texts.
        files: Number of files that the rows of train are in.
        quoting: How the files are read, where that is said or was found out.
        quoting_seen: What showed it, where nobody said it.
    """

    source: Path
    rows: int
    sampled: int
    columns: tuple[ColumnRole, ...]
    classes: dict[str, int]
    max_sen_len: int
    files: int = 1
    quoting: Quoting | None = None
    quoting_seen: str = ""

    def having(self, role: Role) -> tuple[ColumnRole, ...]:
        """The columns that were given a role."""
        return tuple(column for column in self.columns if column.role == role)

    @property
    def data(self) -> DataConfig:
        """The proposal as parameter group ``data``."""
        nulls = {word for column in self.columns for word in column.null_values}
        return DataConfig(
            id=self.having("id")[0].name,
            label=self.having("label")[0].name,
            text=tuple(column.name for column in self.having("text")),
            categorical=tuple(column.name for column in self.having("categorical")),
            numeric=tuple(column.name for column in self.having("numeric")),
            classes=tuple(self.classes),
            positive_label=default_positive(tuple(self.classes)),
            null_values=("", *sorted(nulls)),
            quoting=self.quoting,
        )


def infer_roles(
    data_dir: Path,
    *,
    label: str,
    text: Sequence[str],
    id_column: str | None = None,
    quoting: Quoting | None = None,
) -> InferredRoles:
    """Proposes a role for every column of the train file of a folder.

    Args:
        data_dir: The folder.
        label: Column to predict.
        text: Columns of free text.
        id_column: Column that names a row; None looks for one.
        quoting: As ``data.quoting``; None finds it out where both would do.

    Raises:
        SchemaError: A named column is not there or cannot have its role, or no column
            can be the id; the message lists what can be chosen.
        MissingDataError: The folder has no train file.
    """
    source = open_table(find_split(data_dir, "train"), "train", quoting=quoting)
    if unread := unread_sentence(source, "data.train_filename"):
        logger.warning("train: %s.", unread)
    given = [] if id_column is None else [id_column]
    named = [*given, label, *text]
    _check_named(source, named, text)
    source, quoting_seen = _readable(source)
    header = source.columns()
    columns = sample_columns(source, [n for n in header if header.count(n) == 1])
    _check_types(source, [columns[name] for name in named])
    classes = _count_classes(source, label)
    others = [c for c in columns.values() if c.name not in named]
    key = _choose_id(source, others) if id_column is None else id_column
    if id_column is not None and (fault := _id_fault(source, key)):
        raise SchemaError(
            f"{source.path}: column {key!r} cannot be the id: it {fault}."
        )
    rows = sum(classes.values())
    roles = {
        name: ColumnRole(name, "left out", reason)
        for name, reason in _not_everywhere(data_dir, header, source.quoting).items()
    }
    roles |= {c.name: _judge(c, columns[label]) for c in others if c.name not in roles}
    roles[key] = ColumnRole(key, "id", f"unique and never empty in {rows:,} rows")
    roles[label] = _judge_label(columns[label], classes)
    roles |= {name: ColumnRole(name, "text", columns[name].summary) for name in text}
    rest = [name for name in dict.fromkeys(header) if name not in text]
    return InferredRoles(
        source=source.path,
        rows=rows,
        sampled=len(columns[label].cells),
        columns=tuple(roles[name] for name in [*text, *rest]),
        classes=classes,
        max_sen_len=_choose_max_sen_len([columns[name] for name in text]),
        files=len(parts_of(source)),
        quoting=source.quoting,
        quoting_seen=quoting_seen,
    )


def _readable(source: Source) -> tuple[Source, str]:
    """The file without quotes, and why, where it fits its header so and with them, too.

    A reading that loses no line is the better proposal.
    """
    try:
        for part in parts_of(source):
            next(part.table.batches(), None)
    except AmbiguousQuotesError as error:
        return with_options(source, quoting="none"), error.seen
    return source, ""


def _check_named(source: Source, named: Sequence[str], text: Sequence[str]) -> None:
    problems = Problems("The columns that were named do not fit the file")
    check_header(source, named, problems)
    if not text:
        problems.add(
            "No text column is named. Name one with --text; the file has "
            f"{shorten(source.columns(), 300)}."
        )
    for name, count in Counter(named).items():
        if count > 1:
            problems.add(
                f"Column {name!r} is named {count} times; the id, the label and each "
                "text need columns of their own."
            )
    problems.raise_as(SchemaError)


def _check_types(source: Source, columns: Iterable[SampledColumn]) -> None:
    problems = Problems("The columns that were named have types of other roles")
    for column in columns:
        if not column.is_wordlike:
            problems.add(
                f"{source.path}: column {column.name!r} has type {column.kind}; ids, "
                "labels and texts are strings, whole numbers or booleans. Convert the "
                "column, or name another one."
            )
    problems.raise_as(SchemaError)


def _count_classes(source: Source, label: str) -> dict[str, int]:
    """Rows of every class in the whole file."""
    found = pc.value_counts(whole_column(source, label)).to_pylist()
    counts = {item["values"]: item["counts"] for item in found}
    where = f"{source.path}: label column {label!r}"
    if "" in counts:
        raise SchemaError(
            f"{where} is empty in {counts['']:,} rows. Label these rows, or take them "
            "out of the file."
        )
    if len(counts) > MAX_CLASSES:
        raise SchemaError(
            f"{where} has {len(counts):,} distinct values, such as "
            f"{shorten(list(counts)[:3])}; at most {MAX_CLASSES} classes are taken. It "
            "looks like a regression target or an id. Choose another --label, or bin "
            "its values."
        )
    if len(counts) < 2:
        raise SchemaError(
            f"{where} holds only {shorten(next(iter(counts)))}; a classifier needs at "
            "least two classes. Choose another --label."
        )
    return {name: counts[name] for name in ordered_classes(set(counts))}


def _id_fault(source: Source, name: str) -> str:
    """Why a column cannot be the id, judged on the whole file; "" when it can."""
    cells = whole_column(source, name)
    empty = pc.sum(pc.equal(cells, "")).as_py()
    if empty:
        return f"is empty in {empty:,} rows"
    repeats = len(cells) - pc.count_distinct(cells).as_py()
    return f"repeats earlier values in {repeats:,} rows" if repeats else ""


def _choose_id(source: Source, others: Sequence[SampledColumn]) -> str:
    keys = [c for c in others if c.is_wordlike and not (c.is_date or c.is_long_text)]
    named = [c for c in keys if ID_NAME.search(c.name)]
    strings = [c for c in keys if c.is_unique and (c.numbers is None or c.is_code)]
    faults: dict[str, str] = {}
    for name in dict.fromkeys(column.name for column in [*named, *strings]):
        faults[name] = _id_fault(source, name)
        if not faults[name]:
            return name
    for column in keys:
        if column.is_unique:
            faults.setdefault(column.name, "is unique among the rows that were sampled")
    candidates = "; ".join(f"{name!r} {fault}" for name, fault in faults.items())
    raise SchemaError(
        f"{source.path}: no column is clearly the id of a row. Candidates: "
        f"{candidates or 'none'}. Pass --id with a column that is unique and never "
        "empty, or add one to the files."
    )


def _not_everywhere(
    data_dir: Path, header: Sequence[str], quoting: Quoting | None
) -> dict[str, str]:
    """Columns that cannot be read by name in every split, with the reason."""
    reasons = {
        name: f"its name stands {count} times in the header"
        for name, count in Counter(header).items()
        if count > 1
    }
    for split in ("val", "test"):
        try:
            found = find_split(data_dir, split)
        except MissingDataError:
            continue  # Loading asks for it, unless it is to be split off train.
        there = open_table(found, split, quoting=quoting).columns()
        reasons |= {
            n: f"the file of {split} lacks it" for n in header if n not in there
        }
    return reasons


def _judge_label(label: SampledColumn, classes: dict[str, int]) -> ColumnRole:
    doubt = ""
    if label.distinct < len(classes):
        doubt = (
            f"the first {len(label.cells):,} rows hold {label.distinct} of "
            f"{len(classes)} classes: the file looks sorted, so what is said about "
            "columns may not hold for the rest"
        )
    return ColumnRole(label.name, "label", f"{len(classes)} classes", doubt)


def _judge(column: SampledColumn, label: SampledColumn) -> ColumnRole:
    """The role of a column that the user did not name."""
    if reason := _reason_against_any_role(column):
        return ColumnRole(column.name, "left out", reason)
    numeric = column.numbers is not None and not column.is_code
    found = _judge_number(column) if numeric else _judge_words(column)
    if found.role == "left out":
        return found
    return replace(found, doubt=leakage_doubt(column, label))


def _reason_against_any_role(column: SampledColumn) -> str:
    if column.is_date:
        return "dates: add a number, such as the days since then, to use them"
    if not (column.is_wordlike or column.is_numeric_type):
        return f"type {shorten(str(column.kind))}, which no role can read"
    if len(pc.unique(column.cells)) == 1:
        return f"constant: every sampled cell is {shorten(column.cells[0].as_py())}"
    if column.is_numeric_type and column.numbers is None:
        return "some values are infinite as float32"
    return ""


def _judge_number(column: SampledColumn) -> ColumnRole:
    seen = column.summary
    if column.counts_rows:
        return ColumnRole(column.name, "left out", f"{seen}: it counts the rows")
    if column.is_whole and column.distinct <= FEW_VALUES:
        seen += "; might be a category: move it to categorical if these are codes"
    words = column.not_numbers
    if words:
        seen += f"; {shorten(list(words))} mean missing (null_values)"
    return ColumnRole(column.name, "numeric", seen, null_values=words)


def _judge_words(column: SampledColumn) -> ColumnRole:
    seen = column.summary
    limited = column.distinct <= MAX_CATEGORIES and column.unique_share < 0.5
    if limited or pa.types.is_boolean(column.kind):
        return ColumnRole(column.name, "categorical", seen + _caution(column))
    if column.is_long_text:
        hint = "reads like free text: add --text to use it"
    elif column.distinct == len(column.present):
        hint = "a value of its own in every row: looks like an id"
    else:
        hint = "too varied for a category: add --text if people wrote it"
    return ColumnRole(column.name, "left out", f"{seen}; {hint}{_caution(column)}")


def _caution(column: SampledColumn) -> str:
    """What else a person should know about a column that is read as words."""
    if column.is_code:
        return "; whole numbers that look like codes, so compared as text"
    numbers = column.share(NUMBER) if column.is_string else 0.0
    if numbers == 1.0 and column.typed:
        return (
            "; every cell is a number stored as text: move it to numeric if an amount"
        )
    if 0.9 < numbers < 1.0:
        words = shorten(list(column.not_numbers[:3]))
        return f"; {numbers:.1%} of the cells are numbers, but not {words}"
    return ""


def _choose_max_sen_len(texts: Sequence[SampledColumn]) -> int:
    """The smallest usual length that holds 95% of the texts, joined per row."""
    lengths = sum(np.asarray(pc.utf8_length(column.cells)) for column in texts)
    written = np.asarray(lengths)[np.asarray(lengths) > 0]
    if not len(written):
        return SEN_LENS[0]
    tokens = float(np.percentile(written, 95)) / CHARACTERS_PER_TOKEN
    return next((size for size in SEN_LENS if tokens <= size), SEN_LENS[-1])
