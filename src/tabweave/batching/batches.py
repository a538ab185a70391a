"""From mapped tables to batches without padding.

All chunks of a batch lie one after the other in one row of token ids. Any set of rows is
gathered from the memory map with index arithmetic, without a Python loop over rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch

from tabweave.errors import ArtifactError
from tabweave.tables.files import ArrowFile

LABEL, ROW_ID = "label", "id"


@dataclass(frozen=True)
class PackedText:
    """The chunks of one text field of a batch, concatenated.

    Shapes: T tokens, n chunks. A row has 0..n chunks; a chunk begins with [CLS] and ends
    with [SEP].

    Attributes:
        ids: int64 [T], token ids.
        positions: int64 [T], position of each token inside its chunk.
        token_chunk: int64 [T], chunk of each token.
        chunk_row: int64 [n], row of each chunk inside the batch.
        lengths: Tokens of each chunk; a list, because ``Tensor.split`` wants one.
        rows: Rows of the batch, those without text included.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    token_chunk: torch.Tensor
    chunk_row: torch.Tensor
    lengths: list[int]
    rows: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """A copy on `device`."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=non_blocking)
            for name in ("ids", "positions", "token_chunk", "chunk_row")
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class RowVectors:
    """One text field of a batch as vectors that a frozen encoder gave before.

    Attributes:
        vectors: float32 [B, d].
        has_text: bool [B]; the vector of a row without text means nothing.
    """

    vectors: torch.Tensor
    has_text: torch.Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """A copy on `device`."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=non_blocking)
            for name in ("vectors", "has_text")
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Batch:
    """Rows of a split, ready for a model.

    Attributes:
        texts: One entry per text field.
        features: float32 [B, F], the scaled table.
        labels: int64 [B].
        index: int64 [B], row numbers in the split: predictions are put back by it.
    """

    texts: tuple[PackedText | RowVectors, ...]
    features: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def tokens(self) -> int:
        """Tokens of all text fields; those of row vectors are not read."""
        packed = (text for text in self.texts if isinstance(text, PackedText))
        return sum(len(text.ids) for text in packed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """A copy on `device`."""
        return replace(
            self,
            texts=tuple(text.to(device, non_blocking) for text in self.texts),
            features=self.features.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
        )


def _ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """[start0, start0+1, .., start0+length0-1, start1, ..] without a loop."""
    before = np.cumsum(length) - length
    return np.repeat(start - before, length) + np.arange(length.sum())


class TokenColumn:
    """The token ids of one text field, as views of the mapped file."""

    def __init__(self, column: Any) -> None:
        if column.num_chunks > 1:
            raise ArtifactError(
                "A token table must be one record batch: joining several would copy it "
                "into memory.",
                stages=("text",),
            )
        if column.num_chunks == 0:
            empty = np.zeros(1, np.int64)
            self.row_offsets, self.chunk_offsets = empty, empty
            self.tokens = np.zeros(0, np.int32)
            return
        rows = column.chunk(0)
        self.row_offsets = rows.offsets.to_numpy()
        self.chunk_offsets = rows.values.offsets.to_numpy()
        self.tokens = rows.values.values.to_numpy()

    def token_counts(self) -> np.ndarray:
        """Tokens of every row, special tokens included."""
        return np.diff(self.chunk_offsets[self.row_offsets])

    def gather(self, index: np.ndarray) -> PackedText:
        """The chunks of the rows `index`, packed."""
        first = self.row_offsets[index]
        count = self.row_offsets[index + 1] - first
        chunk = _ranges(first, count)
        start = self.chunk_offsets[chunk]
        length = self.chunk_offsets[chunk + 1] - start
        ids = self.tokens[_ranges(start, length)].astype(np.int64)
        return PackedText(
            ids=torch.from_numpy(ids),
            positions=torch.from_numpy(_ranges(np.zeros_like(start), length)),
            token_chunk=torch.from_numpy(np.repeat(np.arange(len(length)), length)),
            chunk_row=torch.from_numpy(np.repeat(np.arange(len(index)), count)),
            lengths=length.tolist(),
            rows=len(index),
        )


def _mapped(column: Any) -> np.ndarray:
    """A column as numpy; without a copy where it is one chunk without gaps."""
    if column.num_chunks != 1:
        return column.to_numpy()
    return column.chunk(0).to_numpy(zero_copy_only=False)


class Rows(torch.utils.data.Dataset[Batch]):
    """The rows of one split: tokens of the chosen fields and the feature table.

    Pickles as paths, so that another process maps the same pages.

    Args:
        tokens: Token table.
        features: Feature table.
        fields: The text fields to read.
        vectors: Text fields whose row vectors were computed before -> .npy files.
    """

    def __init__(
        self,
        tokens: ArrowFile,
        features: ArrowFile,
        fields: Sequence[str],
        vectors: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self.token_file, self.feature_file = tokens, features
        self.fields, self.vector_files = tuple(fields), dict(vectors)
        text, table = tokens.open(), features.open()
        if fields and text.num_rows != table.num_rows:
            raise ArtifactError(
                f"{tokens.path} has {text.num_rows} rows and {features.path} has "
                f"{table.num_rows}. They come from different runs.",
                stages=("text", "tabular"),
            )
        missing = [name for name in self.fields if name not in text.column_names]
        if missing:
            raise ArtifactError(
                f"{tokens.path} has no text field {missing}; it has {text.column_names}.",
                stages=("text",),
            )
        self.columns = [TokenColumn(text[name]) for name in self.fields]
        self.vectors = {
            name: np.load(path, mmap_mode="r") for name, path in vectors.items()
        }
        self.feature_names = [n for n in table.column_names if n not in (ROW_ID, LABEL)]
        self.labels = _mapped(table[LABEL])
        self.ids = table[ROW_ID]
        # Views of the file: a matrix of them would be a copy in every rank.
        self._features = [_mapped(table[name]) for name in self.feature_names]

    def __reduce__(self) -> tuple[Any, ...]:
        return Rows, (
            self.token_file,
            self.feature_file,
            self.fields,
            self.vector_files,
        )

    def with_vectors(self, files: Mapping[str, Path]) -> Rows:
        """The same rows, with the vectors [rows, d] of text fields read from files."""
        return Rows(self.token_file, self.feature_file, self.fields, files)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return self.batch(np.array([index]))

    def __getitems__(self, index: list[int]) -> Batch:
        """A whole batch at once: what a DataLoader calls for a batch of indices."""
        return self.batch(np.asarray(index))

    def batch(self, index: np.ndarray) -> Batch:
        """The rows `index` as one batch."""
        return Batch(
            texts=tuple(
                self._text(name, column, index)
                for name, column in zip(self.fields, self.columns, strict=True)
            ),
            features=torch.from_numpy(self._rows_of_table(index)),
            labels=torch.from_numpy(self.labels[index]),
            index=torch.from_numpy(index),
        )

    def _text(
        self, name: str, column: TokenColumn, index: np.ndarray
    ) -> PackedText | RowVectors:
        if name not in self.vectors:
            return column.gather(index)
        has_text = column.row_offsets[index + 1] > column.row_offsets[index]
        return RowVectors(
            vectors=torch.from_numpy(self.vectors[name][index]),
            has_text=torch.from_numpy(has_text),
        )

    def features(self, names: Sequence[str]) -> np.ndarray:
        """Columns of the feature table: float32 [rows, names]."""
        places = [self.feature_names.index(name) for name in names]
        found = np.empty((len(self), len(places)), np.float32)
        for n, place in enumerate(places):
            found[:, n] = self._features[place]
        return found

    def _rows_of_table(self, index: np.ndarray) -> np.ndarray:
        found = np.empty((len(index), len(self._features)), np.float32)
        for place, column in enumerate(self._features):
            found[:, place] = column[index]
        return found

    def token_counts(self) -> np.ndarray:
        """Tokens of every row over all text fields; zeros when there is no text."""
        total = np.zeros(len(self), np.int64)
        for column in self.columns:
            total += column.token_counts()
        return total


def as_is(batch: Any) -> Any:
    """The collate function: a batch is gathered whole, there is nothing to collate."""
    return batch


def pad(text: PackedText, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same chunks padded: ids and mask, int64 [B, C, S].

    C and S are the largest counts of the batch, at least 1; a missing chunk is all
    padding.
    """
    per_row = torch.bincount(text.chunk_row, minlength=text.rows)
    chunks = max(1, int(per_row.max()) if text.rows else 1)
    length = max([1, *text.lengths])
    ids = torch.full((text.rows, chunks, length), pad_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    first = torch.cumsum(per_row, 0) - per_row
    chunk = torch.arange(len(text.lengths)) - first[text.chunk_row]
    where = (text.chunk_row[text.token_chunk], chunk[text.token_chunk], text.positions)
    ids[where] = text.ids
    mask[where] = 1
    return ids, mask
