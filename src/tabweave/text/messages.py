"""The raw texts of rows -> their messages, cleaned; most rows need no look of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.tables.files import TableFile
from tabweave.text.cleaning import changeable, message_cleaner
from tabweave.text.config import Step, TextField
from tabweave.text.dialogue import BEGIN, Dialogue, read_dialogue
from tabweave.text.ragged import spliced

ROWS_PER_BATCH = 8192
BYTES_TOGETHER = 2**24
"""Texts that are handled at once: the more, the more often a word is among them again."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Capped raw texts of some rows, and how many of them the cap shortened."""

    values: pa.LargeStringArray
    capped: int


def read_texts(table: TableFile, one: TextField) -> Iterator[Texts]:
    """The texts of a field in row order, `BYTES_TOGETHER` or a little more at a time."""
    held: list[Texts] = []
    size = 0
    for texts in _batches(table, one):
        held.append(texts)
        size += texts.values.nbytes
        if size >= BYTES_TOGETHER:
            yield _joined(held)
            held, size = [], 0
    if held:
        yield _joined(held)


def _joined(held: Sequence[Texts]) -> Texts:
    values = pa.concat_arrays([texts.values for texts in held])
    return Texts(values, sum(texts.capped for texts in held))


def _batches(table: TableFile, one: TextField) -> Iterator[Texts]:
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
        yield Texts(joined.cast(pa.large_string()), capped)


@dataclass(frozen=True, slots=True)
class Messages:
    """The cleaned messages of some rows.

    Attributes:
        texts: The messages of all rows, one after the other.
        offsets: Row i has those from offsets[i] to offsets[i + 1].
        rows_without_markers: Rows with text and without any message marker.
        rows_with_text_outside: Rows of which something outside messages is not read.
    """

    texts: pa.LargeStringArray
    offsets: np.ndarray
    rows_without_markers: int
    rows_with_text_outside: int


class MessageReader:
    """Splits and cleans the texts of one field."""

    def __init__(self, steps: Sequence[Step], *, tokenizer_cleans: bool) -> None:
        """Takes what `tabweave.text.cleaning.message_cleaner` takes."""
        self._splits = "dialogue_splitter" in steps
        self._clean = message_cleaner(steps, tokenizer_cleans=tokenizer_cleans)
        patterns = changeable(steps, tokenizer_cleans=tokenizer_cleans)
        if self._splits:
            patterns.append(BEGIN.replace("[", r"\["))
        self._changeable = "|".join(patterns)

    def read(self, texts: pa.LargeStringArray) -> Messages:
        """The messages of some rows; a row that holds nothing special is one message."""
        plain = self._are_plain(texts)
        others = np.flatnonzero(~plain)
        rest = texts.take(pa.array(others)).to_pylist()
        dialogues = list(map(self._dialogue, rest))
        counts = [len(found.messages) for found in dialogues]
        cleaned = [self._clean(m) for found in dialogues for m in found.messages]
        messages, offsets = spliced(texts, others, counts, cleaned)
        unmarked = sum(
            not found.has_markers and bool(text.strip())
            for text, found in zip(rest, dialogues, strict=True)
        )
        return Messages(
            messages,
            offsets,
            rows_without_markers=int(plain.sum()) + unmarked,
            rows_with_text_outside=sum(found.has_text_outside for found in dialogues),
        )

    def _are_plain(self, texts: pa.LargeStringArray) -> np.ndarray:
        """Which rows are one message of some text that no step changes."""
        plain = pc.match_substring_regex(texts, "[!-~]")
        if self._changeable:
            special = pc.match_substring_regex(texts, self._changeable)
            plain = pc.and_not(plain, special)
        return plain.to_numpy(zero_copy_only=False)

    def _dialogue(self, text: str) -> Dialogue:
        if self._splits:
            return read_dialogue(text)
        return Dialogue([text], has_markers=False, has_text_outside=False)
