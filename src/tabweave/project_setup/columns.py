"""What the head of a file shows about each of its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import SchemaError
from tabweave.tables.cells import NUMBER
from tabweave.tables.parted_tables import Source, sampled_batches

SAMPLE_ROWS = 20_000
LONG_TEXT = 30
NULL_WORDS = frozenset(
    ("na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "-", "--", "?")
)
ID_NAME = re.compile(
    r"(?i:(?:^|[^a-z])(?:id|uid|uuid|guid|key|code|zip)$|number$|^key[^a-z]"
    r"|(?:^|[^a-z])id[^a-z]|[a-z]{3}(?<!pa)(?<!val)id$)|[a-z]I[dD]$"
)
ISO_DATE = (
    r"^(19|20)[0-9]{2}-?(0[1-9]|1[0-2])-?(0[1-9]|[12][0-9]|3[01])([T ][0-9]{2}.*)?$"
)


@dataclass(frozen=True)
class SampledColumn:
    """The sampled cells of one column, as loading would write them.

    Attributes:
        name: Name in the header.
        kind: Arrow type in the file; string for every column of a CSV or TSV.
        typed: Whether the file knows types (Parquet), so that a string means a string.
        cells: The cells as text; "" is a missing cell.
    """

    name: str
    kind: pa.DataType
    typed: bool
    cells: pa.Array

    @cached_property
    def present(self) -> pa.Array:
        """The cells that are not missing."""
        return self.cells.filter(pc.not_equal(self.cells, ""))

    @cached_property
    def distinct(self) -> int:
        """Number of distinct cells that are not missing."""
        return int(pc.count_distinct(self.present).as_py())

    @property
    def is_unique(self) -> bool:
        """Whether no cell is missing or repeated."""
        return self.distinct == len(self.cells)

    @property
    def unique_share(self) -> float:
        """Distinct cells over present cells."""
        return self.distinct / max(1, len(self.present))

    @property
    def summary(self) -> str:
        """Counts for a comment."""
        missing = len(self.cells) - len(self.present)
        share = f"{missing / len(self.cells):.1%}" if missing else "none"
        return f"{self.distinct:,} distinct, {share} missing"

    @property
    def is_string(self) -> bool:
        """Whether the file holds the cells as text."""
        return pa.types.is_string(self.kind) or pa.types.is_large_string(self.kind)

    @property
    def is_wordlike(self) -> bool:
        """Whether loading accepts the type for ids, labels, texts and categories."""
        return (
            self.is_string
            or pa.types.is_integer(self.kind)
            or pa.types.is_boolean(self.kind)
            or pa.types.is_null(self.kind)
        )

    @property
    def is_numeric_type(self) -> bool:
        """Whether the file itself says that the cells are numbers."""
        return (
            pa.types.is_integer(self.kind)
            or pa.types.is_floating(self.kind)
            or pa.types.is_decimal(self.kind)
        )

    def share(self, pattern: str) -> float:
        """Share of the present cells that match a pattern."""
        matched = pc.sum(pc.match_substring_regex(self.present, pattern)).as_py() or 0
        return float(matched / max(1, len(self.present)))

    @cached_property
    def is_date(self) -> bool:
        """Whether every present cell is a date, or a date and a time."""
        return pa.types.is_temporal(self.kind) or self.share(ISO_DATE) == 1.0

    @cached_property
    def is_long_text(self) -> bool:
        """Long and varied, and not one ASCII word per cell as hashes and links are."""
        length = pc.mean(pc.utf8_length(self.present)).as_py() or 0.0
        one_word = self.share(r"^[\x21-\x7e]+$")
        return length > LONG_TEXT and self.unique_share > 0.5 and one_word < 0.5

    @cached_property
    def not_numbers(self) -> tuple[str, ...]:
        """Distinct cells that loading would not read as a number."""
        if not self.is_string:
            return ()
        wrong = pc.invert(pc.match_substring_regex(self.present, NUMBER))
        return tuple(pc.unique(self.present.filter(wrong)).to_pylist())

    @cached_property
    def numbers(self) -> np.ndarray | None:
        """float64 [rows], NaN where missing; None for a column that is not numeric.

        Words that usually mean 'missing', such as NA, do not keep a CSV column from
        being numeric.
        """
        words = self.not_numbers
        if pa.types.is_boolean(self.kind) or (self.is_string and self.typed):
            return None
        if any(word.strip().lower() not in NULL_WORDS for word in words):
            return None
        missing = pc.is_in(self.cells, value_set=pa.array(["", *words], pa.string()))
        usable = pc.if_else(missing, pa.scalar(None, pa.string()), self.cells)
        values: np.ndarray = usable.cast(pa.float64()).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            infinite = np.isinf(values.astype(np.float32)).any()
        return None if infinite or np.isnan(values).all() else values

    @cached_property
    def is_whole(self) -> bool:
        """Whether every number of a numeric column is a whole one."""
        if self.numbers is None:
            return False
        present = self.numbers[~np.isnan(self.numbers)]
        return bool((present == np.floor(present)).all())

    @property
    def counts_rows(self) -> bool:
        """Whether the cells are n, n + 1, n + 2 and so on, as a written index is."""
        steps = np.diff(self.numbers) if self.numbers is not None else np.empty(0)
        return len(steps) > 0 and bool((steps == 1).all())

    @cached_property
    def is_code(self) -> bool:
        """Whether the cells are whole numbers that name things, not amounts.

        Either the name says so, or cells with leading zeros do.
        """
        if not (self.is_whole and self.is_wordlike):
            return False
        padded = self.share(r"^0[0-9]") > 0
        return padded or bool(ID_NAME.search(self.name) and self.share(r"[.eE]") == 0)


def sample_columns(source: Source, names: Sequence[str]) -> dict[str, SampledColumn]:
    """`SAMPLE_ROWS` rows, the first of a file or of each of many, column by column.

    Raises:
        SchemaError: There is no row below the header, or a row does not fit it.
    """
    batches = list(sampled_batches(source, names, SAMPLE_ROWS))
    rows = sum(batch.num_rows for batch in batches)
    if rows == 0:
        raise SchemaError(f"{source.path}: there are no rows below the header.")
    table = pa.Table.from_batches(batches).combine_chunks()
    columns = {}
    for name in names:
        values = table[name].combine_chunks()
        coded = pa.types.is_dictionary(values.type)
        kind = values.type.value_type if coded else values.type
        columns[name] = SampledColumn(
            name, kind, source.format == "parquet", _as_text(values)
        )
    return columns


def whole_column(source: Source, name: str) -> pa.ChunkedArray:
    """All cells of one column, as text; "" is a missing cell."""
    batches = source.batches([name])
    return pa.chunked_array([_as_text(b.column(0)) for b in batches], pa.string())


def _as_text(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    try:
        return pc.fill_null(values.cast(pa.string()), "")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        # Lists, structs, bytes: no role reads them, so their cells are never shown.
        return pa.array([""] * len(values), pa.string())
