"""Texts of a table -> chunks of token ids, once per split, and what was lost."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import ArtifactError, ConfigError
from tabweave.tables.files import TableFile
from tabweave.text.chunking import ChunkLimits, PackedRows, pack_rows
from tabweave.text.config import TextConfig, TextField
from tabweave.text.encoder_files import encoder_digest, tokenizer_digest
from tabweave.text.messages import MessageReader, Texts, read_texts
from tabweave.text.ragged import byte_offsets, data_of
from tabweave.text.tokenization import FieldTokenizer, load_tokenizer_json
from tabweave.text.vocabulary import learn_vocabulary


@dataclass(frozen=True)
class TokenizedText:
    """The token table of one split and the report about it.

    Attributes:
        table: One column per field, large_list<large_list<uint16 or int32>>: row ->
            chunks -> token ids with [CLS] and [SEP]; one record batch. The schema
            metadata holds a `TokenInfo` per field.
        report: Field name -> what was read, cut and dropped.
    """

    table: pa.Table
    report: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class TokenInfo:
    """What a reader of a token column must know; JSON under the field's name."""

    cls_id: int
    sep_id: int
    pad_id: int
    vocabulary_size: int
    max_sen_len: int
    max_total_chunks: int
    encoder: str
    """Whose tokens these are: scratch, a folder or a hub id."""
    tokenizer_digest: str
    """sha256 of the tokenizer.json that made them."""
    encoder_digest: str | None
    """sha256 over config.json and weights of the folder then; None for no folder."""

    @classmethod
    def read(cls, schema: pa.Schema, name: str) -> TokenInfo:
        """The record of one field, from the schema of a token table.

        Raises:
            ArtifactError: The schema has none, or one of another version.
        """
        found = (schema.metadata or {}).get(name.encode())
        if found is None:
            raise ArtifactError(
                f"The token table says nothing about a text field {name!r}; it has "
                f"{schema.names}.",
                stages=("text",),
            )
        try:
            return cls(**json.loads(found))
        except (TypeError, ValueError, RecursionError) as error:
            raise ArtifactError(
                f"What the token table says about text field {name!r} is of another "
                f"version ({error}).",
                stages=("text",),
            ) from error


def learn_or_load_tokenizers(
    train: TableFile, fields: Sequence[TextField], config: TextConfig
) -> dict[str, str]:
    """The tokenizer.json of every field: learned from train, or the encoder's own.

    Raises:
        ConfigError: An encoder cannot be found or used, or train has no word; the
            message names the field.
    """
    loaded: dict[str, str] = {}
    found: dict[str, str] = {}
    for one in fields:
        try:
            if one.is_learned:
                found[one.name] = learn_vocabulary(_train_messages(train, one), config)
                continue
            if one.encoder not in loaded:
                loaded[one.encoder] = load_tokenizer_json(one.encoder)
                FieldTokenizer(loaded[one.encoder])
            found[one.name] = loaded[one.encoder]
        except ConfigError as error:
            raise ConfigError(f"Text field {one.name!r}: {error}") from error
    return found


def tokenize_tables(
    tables: Sequence[TableFile],
    fields: Sequence[TextField],
    tokenizers: Mapping[str, str],
) -> list[TokenizedText]:
    """Tokenises every text field of several tables, which share what is remembered.

    Row i of a result is row i of its table. Memory is bounded by one batch of rows, the
    words that a tokenizer remembers and the token ids themselves.

    Raises:
        ArtifactError: A field has no tokenizer.
    """
    missing = [one.name for one in fields if one.name not in tokenizers]
    if missing:
        raise ArtifactError(
            f"There is no tokenizer for text field {missing}, only for "
            f"{sorted(tokenizers)}.",
            stages=("text",),
        )
    columns: list[dict[str, pa.Array]] = [{} for _ in tables]
    reports: list[dict[str, dict[str, Any]]] = [{} for _ in tables]
    metadata: dict[str, str] = {}
    for one in fields:
        tokenizer = FieldTokenizer(tokenizers[one.name])
        info = _info(one, tokenizer, tokenizers[one.name])
        metadata[one.name] = json.dumps(asdict(info), sort_keys=True)
        for number, table in enumerate(tables):
            run = _FieldRun(one, tokenizer)
            for texts in read_texts(table, one):
                run.add(texts)
            columns[number][one.name] = run.to_arrow()
            reports[number][one.name] = run.report()
    return [
        TokenizedText(_with_columns(table, found, metadata), report)
        for table, found, report in zip(tables, columns, reports, strict=True)
    ]


def _with_columns(
    table: TableFile, columns: Mapping[str, pa.Array], metadata: Mapping[str, str]
) -> pa.Table:
    if not columns:
        # A table without columns still knows how many rows it has.
        return pa.Table.from_struct_array(
            pa.array([{}] * table.num_rows, pa.struct([]))
        )
    return pa.table(columns).replace_schema_metadata(metadata)


def tokenize_table(
    table: TableFile, fields: Sequence[TextField], tokenizers: Mapping[str, str]
) -> TokenizedText:
    """Does what `tokenize_tables` does with a single table."""
    (found,) = tokenize_tables([table], fields, tokenizers)
    return found


def _info(one: TextField, tokenizer: FieldTokenizer, tokenizer_json: str) -> TokenInfo:
    return TokenInfo(
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
        vocabulary_size=tokenizer.vocabulary_size,
        max_sen_len=one.max_sen_len,
        max_total_chunks=one.max_total_chunks,
        encoder=one.encoder,
        tokenizer_digest=tokenizer_digest(tokenizer_json),
        encoder_digest=encoder_digest(one.encoder),
    )


def _train_messages(train: TableFile, one: TextField) -> Iterator[str]:
    reader = MessageReader(one.steps, tokenizer_cleans=True)
    for texts in read_texts(train, one):
        yield from reader.read(texts.values).texts.to_pylist()


@dataclass
class _FieldRun:
    """Grows the column of one text field, batch by batch, and counts what is lost."""

    settings: TextField
    tokenizer: FieldTokenizer
    tokens: bytearray = field(default_factory=bytearray)
    chunk_bytes: array[int] = field(default_factory=lambda: array("q", [0]))
    row_chunks: array[int] = field(default_factory=lambda: array("q", [0]))
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        one, tokenizer = self.settings, self.tokenizer
        self._reader = MessageReader(one.steps, tokenizer_cleans=tokenizer.cleans)
        self._limits = ChunkLimits(
            one.max_sen_len - 2,
            one.max_total_chunks,
            one.chunk_truncate,
            tokenizer.dtype.itemsize,
        )
        self._checked = False

    def add(self, texts: Texts) -> None:
        """Cleans, encodes and packs some rows."""
        messages = self._reader.read(texts.values)
        if not self._checked:
            self._checked = True
            self.tokenizer.check(messages.texts.to_pylist())
        encoded = self.tokenizer.encode_texts(messages.texts)
        self._add_chunks(pack_rows(encoded, messages.offsets, self._limits))
        self.counts["rows_capped"] += texts.capped
        self.counts["rows_without_markers"] += messages.rows_without_markers
        self.counts["rows_with_text_outside"] += messages.rows_with_text_outside

    def _add_chunks(self, packed: PackedRows) -> None:
        before, behind, nothing = (
            pa.scalar(np.array(ids, self.tokenizer.dtype).tobytes(), pa.large_binary())
            for ids in (self.tokenizer.cls_id, self.tokenizer.sep_id, ())
        )
        chunks = pc.binary_join_element_wise(before, packed.chunks, behind, nothing)
        self.tokens += memoryview(data_of(chunks))
        self.chunk_bytes.frombytes(np.diff(byte_offsets(chunks)).tobytes())
        self.row_chunks.frombytes(np.diff(packed.offsets).tobytes())
        self.counts["dropped_tokens"] += int(packed.dropped.sum())
        self.counts["rows_with_dropped_tokens"] += int((packed.dropped > 0).sum())

    def to_arrow(self) -> pa.Array:
        """The column: row -> chunks -> token ids."""
        tokens = pa.array(np.frombuffer(self.tokens, self.tokenizer.dtype))
        sizes = np.frombuffer(self.chunk_bytes, np.int64)
        chunk_ends = np.cumsum(sizes) // self.tokenizer.dtype.itemsize
        row_ends = np.cumsum(np.frombuffer(self.row_chunks, np.int64))
        chunks = pa.LargeListArray.from_arrays(pa.array(chunk_ends), tokens)
        return pa.LargeListArray.from_arrays(pa.array(row_ends), chunks)

    def report(self) -> dict[str, Any]:
        """What was read, cut and dropped, as JSON can say it."""
        per_row = np.frombuffer(self.row_chunks, np.int64)[1:]
        tokens = np.frombuffer(self.tokens, self.tokenizer.dtype)
        distribution = np.bincount(per_row)
        found: dict[str, Any] = {
            "rows": len(per_row),
            "rows_without_tokens": int((per_row == 0).sum()),
            "rows_truncated_by_max_characters": self.counts["rows_capped"],
            "tokens": len(tokens) - 2 * int(per_row.sum()),
            "unknown_tokens": (
                None
                if self.tokenizer.unk_id is None
                else int((tokens == self.tokenizer.unk_id).sum())
            ),
            "dropped_tokens": self.counts["dropped_tokens"],
            "rows_with_dropped_tokens": self.counts["rows_with_dropped_tokens"],
            "chunks_per_row": {str(n): int(c) for n, c in enumerate(distribution) if c},
            "vocabulary_size": self.tokenizer.vocabulary_size,
            "encoded_by": self.tokenizer.method,
        }
        if self.tokenizer.reason:
            found["encoded_by_reason"] = self.tokenizer.reason
        if "dialogue_splitter" in self.settings.steps:
            for name in ("rows_without_markers", "rows_with_text_outside"):
                found[name] = self.counts[name]
        return found
