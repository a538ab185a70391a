"""Raw texts to token ids, in a graph: characters, words, longest matches.

All rows of all fields that share a vocabulary lie one behind the other in one vector. So
a batch pays for the characters that it has, not for the longest of its texts, and the
tables of a vocabulary are there once for all of its fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabweave.export.graph.character_tables import (
    BLANK,
    END_OF_ROW,
    MESSAGE,
    OTHER,
    PADDING,
    REMOVED,
    ROW_END,
    CharacterTables,
)
from tabweave.export.graph.graph_builder import (
    CONTRIB,
    STRING,
    Graph,
    Tensor,
)
from tabweave.export.graph.markup_graph import resolve_markup
from tabweave.export.graph.wordpiece import WordPiece
from tabweave.text.config import TextField

_END = np.iinfo(np.int64).max
BLOCK = 64
"""Characters that are split together: a text has blocks, and a block has characters."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of all rows of some text fields, field by field.

    Attributes:
        ids: Token ids of all rows, one row behind the other.
        row_ends: Number of tokens up to the end of each row.
        message_begins: Number of tokens before each message that a marker opens.
        dropped_characters: For each field, characters behind its cap for each row.
    """

    ids: Tensor
    row_ends: Tensor
    message_begins: Tensor
    dropped_characters: list[Tensor]


def tokenize(
    graph: Graph,
    fields: Sequence[TextField],
    columns: Mapping[str, Tensor],
    tables: WordPiece,
) -> Tokens:
    """Token ids of text fields that share a vocabulary.

    Args:
        graph: Where the nodes go.
        fields: The text fields.
        columns: The raw texts [batch] of every text column.
        tables: The vocabulary.
    """
    codes, dropped = [], []
    for field, kinds, beyond in _classes(graph, fields, columns, tables.characters):
        codes.append(_codes(graph, field, kinds, tables.characters))
        dropped.append(beyond)
    written = graph.concat(*codes)
    ids, before = _word_pieces(graph, written, tables)
    return Tokens(
        ids=ids,
        row_ends=before[written.equals(ROW_END).places()],
        message_begins=before[written.equals(MESSAGE).places()],
        dropped_characters=dropped,
    )


def _classes(
    graph: Graph,
    fields: Sequence[TextField],
    columns: Mapping[str, Tensor],
    tables: CharacterTables,
) -> Iterator[tuple[TextField, Tensor, Tensor]]:
    """Each field, its classes of characters and how many lie behind its cap.

    The classes are those of the joined raw texts up to the cap, one row behind the
    other, each ended by END_OF_ROW.
    """
    blocks = [_blocks(graph, field, columns) for field in fields]
    characters = _split(graph, graph.concat(*(one.texts for one in blocks)), [""])
    keys, values = list(tables.classes), list(tables.classes.values())
    kinds = graph.lookup(characters, keys, values, OTHER)
    start = graph.constant([0])
    for field, one in zip(fields, blocks, strict=True):
        stop = start + one.texts.size().reshape(1)
        part = kinds if len(fields) == 1 else kinds.cut(start, stop)
        yield field, _flat(graph, part, one, field.max_characters), one.beyond
        start = stop


@dataclass(frozen=True)
class _Blocks:
    """The texts of a field in blocks of characters, those behind the cap left out.

    So a batch holds the characters that it has, and no row is as wide as the longest.

    Attributes:
        texts: The blocks of all rows, one row behind the other.
        number: Place of each block in its row, from 0.
        is_last: Which blocks are the last of their row.
        beyond: Characters behind the cap, for each row [batch].
    """

    texts: Tensor
    number: Tensor
    is_last: Tensor
    beyond: Tensor


def _blocks(graph: Graph, field: TextField, columns: Mapping[str, Tensor]) -> _Blocks:
    """Columns joined by one blank, divided into blocks.

    A further blank behind each text gives every row a block.
    """
    blank = np.array([" "], object)
    text = columns[field.columns[0]]
    for name in field.columns[1:]:
        joined = graph.op("StringConcat", text, blank)
        text = graph.op("StringConcat", joined, columns[name])
    text = graph.op("StringConcat", text, blank)
    every = _split(graph, text, expression=f"(?s).{{1,{BLOCK}}}")
    count = _is_there(graph, every).row_sum()
    most = -(-field.max_characters // BLOCK)
    kept = every.cut([0], [most], axis=1)
    there = _is_there(graph, kept)
    chosen = (there > 0).reshape(-1)
    number = there.running_sum(axis=1)
    last = graph.op("Equal", number, graph.least(count, most).column())
    return _Blocks(
        texts=kept.reshape(-1).where(chosen),
        number=number.reshape(-1).where(chosen) - 1,
        is_last=last.reshape(-1).where(chosen),
        beyond=_beyond(graph, every, count, field.max_characters),
    )


def _is_there(graph: Graph, texts: Tensor) -> Tensor:
    """1 for each text that is not empty, else 0."""
    return graph.lookup(texts, [""], [0], 1)


def _beyond(graph: Graph, every: Tensor, count: Tensor, most: int) -> Tensor:
    """How many characters of each row lie behind the cap, the added blank aside."""
    at = (count - 1).column()
    last = graph.op("GatherElements", every, at, axis=1).reshape(-1)
    length = _is_there(graph, _split(graph, last, [""])).row_sum()
    return graph.most((count - 1) * BLOCK + length - (most + 1), 0)


def _split(
    graph: Graph,
    texts: Tensor,
    separators: Sequence[str] = (),
    expression: str = "",
) -> Tensor:
    """Texts [n] divided: [n, most parts], where "" fills up.

    An empty separator gives the single characters.
    """
    way: dict[str, Any] = {"tokenexp": expression} if expression else {}
    if separators:
        way = {"separators": list(separators)}
    parts = graph.op(
        "Tokenizer", texts, domain=CONTRIB, mark=0, pad_value="", mincharnum=1, **way
    )
    graph.state_type(parts, STRING, [f"{parts.name}_rows", parts.name])
    return parts


def _flat(graph: Graph, kinds: Tensor, blocks: _Blocks, most: int) -> Tensor:
    """Classes [blocks, characters] up to the cap, with an END_OF_ROW after each row."""
    if most % BLOCK:
        width = graph.op("Shape", kinds, start=1).reshape()
        place = (blocks.number * BLOCK).column() + graph.count_up(width)
        kinds = graph.select(place < most, kinds, PADDING)
    ends = graph.select(blocks.is_last, END_OF_ROW, PADDING).column()
    flat = graph.concat(kinds, ends, axis=1).reshape(-1)
    return flat.where(~flat.equals(PADDING))


def _codes(
    graph: Graph, field: TextField, kinds: Tensor, tables: CharacterTables
) -> Tensor:
    """The normalised characters of a field behind all cleaning steps."""
    splits, cleans = (
        step in field.steps for step in ("dialogue_splitter", "html_normalizer")
    )
    if splits or cleans:
        kinds = resolve_markup(graph, kinds, tables, splits=splits, cleans=cleans)
    removes_emoji = "emoji_remover" in field.steps
    codes = graph.constant(tables.codes_for(removes_emoji=removes_emoji))
    written = codes[kinds].reshape(-1)
    return written.where(written > REMOVED)


def _word_pieces(
    graph: Graph, codes: Tensor, tables: WordPiece
) -> tuple[Tensor, Tensor]:
    """The tokens of normalised characters, and how many there are up to each of them."""
    solid = codes > BLANK
    alone = graph.constant(tables.characters.stands_alone)[codes]
    ends_word = graph.op("Or", ~solid, alone)
    after_end = graph.concat(np.array([True]), ends_word.cut([0], [-1]))
    starts = solid & (after_end | alone)
    states = _longest_matches(graph, codes, starts, tables)
    spans = graph.constant(tables.trie.lengths)[states]
    reached = _reached(graph, starts, solid & ~starts, spans, tables.longest_word)
    start_at, bad = _unknown_words(graph, (solid, starts), (reached, spans), tables)
    word_of = starts.number().running_sum() - 1
    known_at = reached.where(~bad[word_of[reached]])
    unknown_at = start_at.where(bad)
    tokens = graph.constant(tables.trie.tokens)[states[known_at]]
    # One more than the token id, so that 0 says that no token begins here.
    written = graph.zeros(codes.size()).with_entries(
        graph.concat(known_at, unknown_at),
        graph.concat(tokens + 1, unknown_at * 0 + (tables.unk_id + 1)),
    )
    begins = written > 0
    return written.where(begins) - 1, begins.number().running_sum()


def _longest_matches(
    graph: Graph, codes: Tensor, starts: Tensor, tables: WordPiece
) -> Tensor:
    """The trie state of the longest entry that begins at each character, or 0.

    All characters walk at once; those for which there is no longer entry drop out.
    """
    trie, alphabet = tables.trie, tables.alphabet
    offset = graph.select(starts, 0, alphabet)
    state = graph.constant(trie.first)[codes + offset]
    accepts = graph.constant(trie.tokens >= 0)
    best = graph.select(accepts[state], state, 0)
    # An entry never goes on into the next word.
    ahead = graph.concat(
        graph.select(graph.op("Or", starts, codes <= BLANK), 0, codes),
        [0] * trie.longest,
    )
    keys, values = list(trie.edges), list(trie.edges.values())

    def step(
        number: Tensor, at: Tensor, state: Tensor, best: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        key = state * alphabet + ahead[at + number + 1]
        state = graph.lookup(key, keys, values, 0)
        lives = state > 0
        at, state = at.where(lives), state.where(lives)
        accepted = accepts[state]
        best = best.with_entries(at.where(accepted), state.where(accepted))
        return at.size() > 0, [at, state, best], []

    at = (state > 0).places()
    if not keys:
        return best
    *_, best = graph.loop(trie.longest - 1, at.size() > 0, [at, state[at], best], step)
    return best


def _reached(
    graph: Graph, starts: Tensor, inner: Tensor, spans: Tensor, longest_word: int
) -> Tensor:
    """Where the pieces of words begin, if every piece is the longest possible."""

    def step(
        number: Tensor, at: Tensor, found: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        span = spans[at]
        behind = at + span
        at = behind.where((span > 0) & inner[behind])
        return at.size() > 0, [at, graph.concat(found, at)], []

    at = starts.places()
    *_, found = graph.loop(longest_word, at.size() > 0, [at, at], step)
    return found


def _unknown_words(
    graph: Graph,
    flags: tuple[Tensor, Tensor],
    pieces: tuple[Tensor, Tensor],
    tables: WordPiece,
) -> tuple[Tensor, Tensor]:
    """Where words begin, and which of them are unknown as a whole.

    A word is if it is too long, or if some place in it is reached where no entry of the
    vocabulary begins.
    """
    (solid, starts), (reached, spans) = flags, pieces
    border_at = (starts | ~solid).places()
    following = graph.concat(border_at.cut([1], [_END]), solid.size().reshape(1))
    is_start = starts[border_at]
    length = (following - border_at).where(is_start)
    start_at = border_at.where(is_start)
    stuck = reached.where(spans[reached].equals(0))
    word_of = starts.number().running_sum() - 1
    too_long = (length > tables.longest_word).number()
    stuck_words = word_of[stuck]
    bad = too_long.with_entries(stuck_words, stuck_words * 0 + 1) > 0
    return start_at, bad
