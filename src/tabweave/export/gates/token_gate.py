"""Compares the tokens of a graph with those of training, text by text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import shorten
from tabweave.export.gates.edge_texts import EDGE_TEXTS, code_point_texts, fuzzed_texts
from tabweave.export.graph.preprocessing_session import (
    FieldTokens,
    PreprocessingSession,
)
from tabweave.preparation.reference import Preparation, reference_tokens, text_table
from tabweave.text import TextField

FUZZED = 2000
CODE_POINTS = "code points"
CHARACTERS_TOGETHER = 2**17
"""Characters of a run, that of the longest text counted for each of its rows."""
ROWS_TOGETHER = 1024
ENDLESS = 2**31 - 1

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mismatch:
    """A text whose tokens differ, with both, cut to a readable length."""

    field: str
    text: str
    expected: str
    got: str


@dataclass(frozen=True)
class TokenReport:
    """What a comparison found.

    Attributes:
        texts: Texts compared, over all fields.
        mismatches: How many of them differ.
        first: The first of those.
    """

    texts: int
    mismatches: int
    first: Mismatch | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def in_all_columns(preparation: Preparation, texts: Sequence[str]) -> pa.Table:
    """Every text in every text column; a row has different texts in its columns."""
    names = [name for name, kind in preparation.columns() if kind == "text"]
    shifted = [[*texts[number:], *texts[:number]] for number in range(len(names))]
    return text_table(dict(zip(names, shifted, strict=True)))


def compare_tokens(
    session: PreprocessingSession,
    preparation: Preparation,
    texts: pa.Table | Mapping[str, Sequence[str]],
    *,
    rows_together: int = ROWS_TOGETHER,
) -> TokenReport:
    """Compares ids, borders of chunks and counts of what was dropped.

    Args:
        session: Runs the graph.
        preparation: What the graph was made from.
        texts: The text columns; row i is compared with row i.
        rows_together: Rows of a run at most; rows of like length run together.
    """
    table = text_table(texts)
    columns = _reference(preparation, table)
    wrong: dict[str, list[int]] = {one.name: [] for one in preparation.fields}
    first: dict[str, Mismatch] = {}
    for rows in _batches(table, rows_together):
        found = session(table.take(pa.array(rows)))
        for one in preparation.fields:
            expected = columns[one.name].rows(rows)
            got = _RowTokens.read(found[one.name])
            bad = expected.differing(got)
            wrong[one.name] += rows[bad].tolist()
            if len(bad) and one.name not in first:
                text = _joined(table, one)[int(rows[bad[0]])].as_py()
                shown = expected.show(bad[0]), got.show(bad[0])
                first[one.name] = Mismatch(one.name, shorten(text, 200), *shown)
    return TokenReport(
        texts=table.num_rows * len(preparation.fields),
        mismatches=sum(map(len, wrong.values())),
        first=next(iter(first.values()), None),
    )


def _joined(table: pa.Table, one: TextField) -> pa.Array:
    columns = [pc.fill_null(table.column(n), "").combine_chunks() for n in one.columns]
    return pc.binary_join_element_wise(*columns, " ") if columns[1:] else columns[0]


def _batches(table: pa.Table, rows_together: int) -> Iterator[Ints]:
    """Rows of like length together, as many as `CHARACTERS_TOGETHER` allows."""
    lengths = [
        pc.fill_null(pc.utf8_length(column), 0).to_numpy() for column in table.columns
    ]
    length = np.max(lengths, axis=0)
    order = np.argsort(length, kind="stable")
    start = 0
    while start < len(order):
        stop = min(start + rows_together, len(order))
        room = max(1, CHARACTERS_TOGETHER // (int(length[order[stop - 1]]) + 1))
        stop = min(stop, start + room)
        yield order[start:stop]
        start = stop


@dataclass(frozen=True)
class _RowTokens:
    """The tokens of some rows, one behind the other.

    Attributes:
        ids: Token ids of all chunks.
        lengths: Tokens of every chunk.
        chunks: Chunks of every row; -1 where chunks or padding are not well-formed.
        dropped: Shape [rows, 2]: dropped tokens and characters.
    """

    ids: Ints
    lengths: Ints
    chunks: Ints
    dropped: Ints

    @classmethod
    def read(cls, found: FieldTokens) -> _RowTokens:
        """What a graph gave: tokens come first in a chunk, and chunks in a row."""
        lengths = found.mask.sum(axis=2)
        chunks = (lengths > 0).sum(axis=1)
        places = np.arange(found.mask.shape[2])
        tokens_first = found.mask == (places < lengths[:, :, None])
        chunks_first = (lengths > 0) == (np.arange(lengths.shape[1]) < chunks[:, None])
        good = tokens_first.all(axis=(1, 2)) & chunks_first.all(axis=1)
        return cls(
            ids=found.ids[found.mask > 0],
            lengths=lengths[lengths > 0],
            chunks=np.where(good, chunks, -1 - chunks),
            dropped=np.stack([found.dropped_tokens, found.dropped_characters], axis=1),
        )

    def differing(self, other: _RowTokens) -> Ints:
        """The rows that are not equal."""
        if all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("ids", "lengths", "chunks", "dropped")
        ):
            return np.empty(0, np.int64)
        mine, others = self._by_row(), other._by_row()
        pairs = enumerate(zip(mine, others, strict=True))
        return np.array([row for row, (a, b) in pairs if a != b], np.int64)

    def _by_row(self) -> list[tuple[list[list[int]], bool, list[int]]]:
        chunks = np.split(self.ids, np.cumsum(self.lengths)[:-1])
        counts = np.where(self.chunks < 0, -1 - self.chunks, self.chunks)
        ends = np.cumsum(counts)
        return [
            (
                [chunk.tolist() for chunk in chunks[end - count : end]],
                bool(self.chunks[row] >= 0),
                self.dropped[row].tolist(),
            )
            for row, (count, end) in enumerate(zip(counts, ends, strict=True))
        ]

    def show(self, row: int) -> str:
        """The tokens of one row for a reader."""
        chunks, good, dropped = self._by_row()[row]
        malformed = "" if good else ", chunks or padding are not well-formed"
        return (
            f"{shorten(chunks, 400)}, {dropped[0]} tokens and {dropped[1]} characters "
            f"dropped{malformed}"
        )


@dataclass(frozen=True)
class _ReferenceColumn:
    """What the text stage makes of a field; rows can be taken in any order."""

    tokens: pa.Array
    dropped: Ints

    def rows(self, rows: Ints) -> _RowTokens:
        taken = self.tokens.take(pa.array(rows))
        chunks = taken.flatten()
        return _RowTokens(
            ids=chunks.flatten().to_numpy().astype(np.int64),
            lengths=pc.list_value_length(chunks).to_numpy(),
            chunks=pc.list_value_length(taken).to_numpy(),
            dropped=self.dropped[rows],
        )


def _reference(
    preparation: Preparation, table: pa.Table
) -> dict[str, _ReferenceColumn]:
    endless = tuple(
        one.model_copy(update={"max_total_chunks": ENDLESS, "chunk_truncate": False})
        for one in preparation.fields
    )
    kept = reference_tokens(preparation, table)
    everything = reference_tokens(replace(preparation, fields=endless), table)
    found = {}
    for one in preparation.fields:
        column = kept.column(one.name).combine_chunks()
        tokens = _count(everything.column(one.name).combine_chunks()) - _count(column)
        length = pc.utf8_length(_joined(table, one)).to_numpy()
        beyond = np.maximum(length.astype(np.int64) - one.max_characters, 0)
        found[one.name] = _ReferenceColumn(column, np.stack([tokens, beyond], axis=1))
    return found


def _count(column: pa.Array) -> Ints:
    """Tokens of each row without those before and behind a chunk."""
    chunk_ends = column.values.offsets.to_numpy()
    row_ends = column.offsets.to_numpy()
    return np.diff(chunk_ends[row_ends]) - 2 * np.diff(row_ends)


def proof_key(preparation: Preparation, one: TextField) -> str:
    """Changes whenever anything changes that the tokens of a field depend on.

    That is the tokenizer, steps and options of the field, the code on both sides, and
    the libraries that run them.
    """
    package = Path(__file__).parents[2]
    code = [
        path
        for room in ("export", "preparation", "text")
        for path in sorted((package / room).rglob("*.py"))
    ]
    settings = one.model_dump(mode="json", exclude={"name", "columns", "encoder"})
    parts = [
        preparation.tokenizers[one.name],
        json.dumps(settings, sort_keys=True),
        *(hashlib.sha256(path.read_bytes()).hexdigest() for path in code),
        *(version(name) for name in ("onnxruntime", "tokenizers")),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def prove_tokens(
    session: PreprocessingSession,
    preparation: Preparation,
    val: pa.Table,
    *,
    with_code_points: bool,
) -> dict[str, TokenReport]:
    """Compares all rows of val and all texts that are made up for the purpose.

    Args:
        session: Runs the graph.
        preparation: What the graph was made from.
        val: The text columns of val.
        with_code_points: Whether every assigned code point is compared too.
    """
    edges = in_all_columns(preparation, EDGE_TEXTS)
    fuzzed = in_all_columns(preparation, fuzzed_texts(0, FUZZED))
    reports = {
        "val": compare_tokens(session, preparation, val),
        "edge texts": compare_tokens(session, preparation, edges),
        "edge texts one by one": compare_tokens(
            session, preparation, edges, rows_together=1
        ),
        "fuzzed texts": compare_tokens(session, preparation, fuzzed),
    }
    if with_code_points:
        points = in_all_columns(preparation, code_point_texts())
        reports[CODE_POINTS] = compare_tokens(session, preparation, points)
    return reports
