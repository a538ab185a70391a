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
from tabweave.tables import TableFile
from tabweave.text.chunking import pack_messages
from tabweave.text.cleaning import message_cleaner
from tabweave.text.config import TextConfig, TextField
from tabweave.text.dialogue import Dialogue, read_dialogue
from tabweave.text.encoder_files import encoder_digest, tokenizer_digest
from tabweave.text.tokenization import FieldTokenizer, load_tokenizer_json
from tabweave.text.vocabulary import learn_vocabulary

ROWS_PER_BATCH = 8192


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
                f"{schema.names}. Re-run the text stage."
            )
        try:
            return cls(**json.loads(found))
        except TypeError as error:
            raise ArtifactError(
                f"What the token table says about text field {name!r} is of another "
                f"version ({error}). Re-run the text stage."
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


def tokenize_table(
    table: TableFile, fields: Sequence[TextField], tokenizers: Mapping[str, str]
) -> TokenizedText:
    """Tokenises every text field of a table; row i of the result is row i of the table.

    Memory is bounded by one batch of rows and the token ids themselves.

    Raises:
        ArtifactError: A field has no tokenizer.
    """
    missing = [one.name for one in fields if one.name not in tokenizers]
    if missing:
        raise ArtifactError(
            f"There is no tokenizer for text field {missing}, only for "
            f"{sorted(tokenizers)}. Re-run the text stage."
        )
    columns: dict[str, pa.Array] = {}
    metadata: dict[str, str] = {}
    report: dict[str, dict[str, Any]] = {}
    for one in fields:
        tokenizer = FieldTokenizer(tokenizers[one.name])
        run = _FieldRun(one, tokenizer)
        for texts in _texts(table, one):
            run.add(texts)
        columns[one.name] = run.to_arrow()
        metadata[one.name] = json.dumps(
            asdict(_info(one, tokenizer, tokenizers[one.name])), sort_keys=True
        )
        report[one.name] = run.report()
    if not columns:
        # A table without columns still knows how many rows it has.
        rows = pa.array([{}] * table.num_rows, pa.struct([]))
        return TokenizedText(pa.Table.from_struct_array(rows), report)
    result = pa.table(columns).replace_schema_metadata(metadata)
    return TokenizedText(result, report)


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


@dataclass(frozen=True)
class _Texts:
    """Capped raw texts of some rows, and how many the cap shortened."""

    values: list[str]
    capped: int


def _texts(table: TableFile, one: TextField) -> Iterator[_Texts]:
    cap = one.max_characters
    for batch in table.batches(one.columns, ROWS_PER_BATCH):
        columns = [pc.fill_null(batch.column(name), "") for name in one.columns]
        lengths = [pc.utf8_length(column).to_numpy() for column in columns]
        length = np.sum(lengths, axis=0, dtype=np.int64) + len(columns) - 1
        capped = int((length > cap).sum())
        if capped:
            # Sliced before it is joined: a huge cell never becomes part of a larger one.
            columns = [pc.utf8_slice_codeunits(column, 0, cap) for column in columns]
        joined = columns[0]
        if len(columns) > 1:
            joined = pc.binary_join_element_wise(*columns, " ")
        if capped:
            joined = pc.utf8_slice_codeunits(joined, 0, cap)
        yield _Texts(joined.to_pylist(), capped)


def _dialogues(texts: Sequence[str], one: TextField) -> list[Dialogue]:
    if "dialogue_splitter" in one.steps:
        return list(map(read_dialogue, texts))
    return [Dialogue([text], False, False) for text in texts]


def _train_messages(train: TableFile, one: TextField) -> Iterator[str]:
    clean = message_cleaner(one.steps, tokenizer_cleans=True)
    for texts in _texts(train, one):
        for dialogue in _dialogues(texts.values, one):
            yield from map(clean, dialogue.messages)


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
        dtype = self.tokenizer.dtype
        self._before = np.array([self.tokenizer.cls_id], dtype).tobytes()
        self._behind = np.array([self.tokenizer.sep_id], dtype).tobytes()
        self._clean = message_cleaner(
            self.settings.steps, tokenizer_cleans=self.tokenizer.cleans
        )
        self._checked = False

    def add(self, texts: _Texts) -> None:
        """Cleans, encodes and packs some rows."""
        dialogues = _dialogues(texts.values, self.settings)
        messages = [self._clean(m) for dialogue in dialogues for m in dialogue.messages]
        if not self._checked:
            self._checked = True
            self.tokenizer.check(messages)
        encoded = iter(self.tokenizer.encode(messages))
        for dialogue in dialogues:
            self._add_row([next(encoded) for _ in dialogue.messages])
        self.counts["rows_capped"] += texts.capped
        self.counts["rows_without_markers"] += sum(
            not dialogue.has_markers and bool(text.strip())
            for text, dialogue in zip(texts.values, dialogues, strict=True)
        )
        self.counts["rows_with_text_outside"] += sum(
            dialogue.has_text_outside for dialogue in dialogues
        )

    def _add_row(self, messages: list[bytes]) -> None:
        one, width = self.settings, self.tokenizer.dtype.itemsize
        packed = pack_messages(
            messages,
            one.max_sen_len - 2,
            one.max_total_chunks,
            truncate=one.chunk_truncate,
            width=width,
        )
        for chunk in packed.chunks:
            self.tokens += self._before + chunk + self._behind
            self.chunk_bytes.append(len(chunk) + 2 * width)
        self.row_chunks.append(len(packed.chunks))
        self.counts["dropped_tokens"] += packed.dropped
        self.counts["rows_with_dropped_tokens"] += packed.dropped > 0

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
