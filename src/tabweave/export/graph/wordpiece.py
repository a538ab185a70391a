"""A WordPiece vocabulary as a trie of whole numbers, and which tokenizers have one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabweave.errors import ConfigError, shorten
from tabweave.export.graph.character_tables import CharacterTables, character_tables
from tabweave.text.tokenization import FieldTokenizer

CONTINUES = "##"
DEAD, WORD, CONTINUATION = range(3)
"""States of the trie: no entry, begin of a word, begin of a continuation."""

Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Trie:
    """The entries of a vocabulary by their characters.

    Attributes:
        first: Shape [2 * alphabet]: state behind one character, at the begin of a word
            and, from `alphabet` on, of a continuation.
        edges: state * alphabet + code -> next state, for all further characters.
        tokens: Token id of each state, -1 where no entry ends.
        lengths: Characters of each state's entry, 0 where none ends.
    """

    first: Integers
    edges: dict[int, int]
    tokens: Integers
    lengths: Integers

    @property
    def longest(self) -> int:
        """Characters of the longest entry."""
        return int(self.lengths.max())


@dataclass(frozen=True)
class WordPiece:
    """A WordPiece tokenizer as tables.

    Attributes:
        characters: What becomes of single characters.
        trie: The entries of the vocabulary.
        alphabet: Number of codes.
        longest_word: Characters of a word; a longer one is unknown.
        unk_id: Token of an unknown word.
        cls_id: Token before a chunk.
        sep_id: Token behind a chunk.
        pad_id: Token that fills up.
    """

    characters: CharacterTables
    trie: Trie
    alphabet: int
    longest_word: int
    unk_id: int
    cls_id: int
    sep_id: int
    pad_id: int


def why_not(tokenizer_json: str) -> str:
    """Why a graph cannot compute a tokenizer; empty when it can.

    Example:
        >>> why_not("{}")[:35]
        'it is not a tokenizer that is known'
    """
    try:
        FieldTokenizer(tokenizer_json)
    except ConfigError as error:
        return f"it is not a tokenizer that is known ({shorten(str(error), 300)})"
    return next(_faults(json.loads(tokenizer_json)), "")


def _faults(spec: dict[str, Any]) -> Iterator[str]:
    model, normalizer = spec["model"], spec.get("normalizer") or {}
    wanted = (
        ("model", model.get("type"), ("WordPiece",)),
        ("normalizer", normalizer.get("type"), ("BertNormalizer",)),
        ("pre-tokenizer", _type_of(spec, "pre_tokenizer"), ("BertPreTokenizer",)),
        (
            "post-processor",
            _type_of(spec, "post_processor"),
            ("TemplateProcessing", "BertProcessing"),
        ),
    )
    for part, found, allowed in wanted:
        if found not in allowed:
            yield f"its {part} is {found}, not {' or '.join(allowed)}"
    if model.get("continuing_subword_prefix") != CONTINUES:
        prefix = model.get("continuing_subword_prefix")
        yield f"its continuing_subword_prefix is {prefix!r}, not {CONTINUES!r}"
    if normalizer.get("clean_text") is not True:
        yield "its BertNormalizer does not clean text (clean_text is not true)"
    plain = [t["content"] for t in spec.get("added_tokens", []) if not t["special"]]
    if plain:
        yield f"it has added tokens {shorten(plain)}"


def _type_of(spec: dict[str, Any], part: str) -> str | None:
    return (spec.get(part) or {}).get("type")


def read_wordpiece(tokenizer_json: str) -> WordPiece:
    """The tables of a tokenizer for which `why_not` says nothing."""
    from tokenizers import Tokenizer

    spec = json.loads(tokenizer_json)
    tokenizer = FieldTokenizer(tokenizer_json)
    vocabulary: dict[str, int] = spec["model"]["vocab"]
    pieces = {piece: id_ for piece, id_ in vocabulary.items() if piece}
    characters = character_tables(
        Tokenizer.from_str(tokenizer_json), [_split(piece)[1] for piece in pieces]
    )
    assert tokenizer.unk_id is not None  # a WordPiece model names its unknown token
    ends = (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id)
    # What is typed is never a special token, even where it is spelled like one.
    special = {t["id"] for t in spec.get("added_tokens", [])} | set(ends)
    typed = {p: tokenizer.unk_id if i in special else i for p, i in pieces.items()}
    return WordPiece(
        characters=characters,
        trie=_build_trie(typed, characters),
        alphabet=len(characters.stands_alone),
        longest_word=spec["model"]["max_input_chars_per_word"],
        unk_id=tokenizer.unk_id,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
    )


def _split(piece: str) -> tuple[int, str]:
    """Where a piece begins, and its characters."""
    if piece.startswith(CONTINUES) and len(piece) > len(CONTINUES):
        return CONTINUATION, piece[len(CONTINUES) :]
    return WORD, piece


def _build_trie(pieces: dict[str, int], characters: CharacterTables) -> Trie:
    alphabet = len(characters.stands_alone)
    edges: dict[int, int] = {}
    tokens, lengths = [-1] * 3, [0] * 3
    for piece, token in pieces.items():
        state, body = _split(piece)
        for character in body:
            edge = state * alphabet + characters.code_of[character]
            state = edges.setdefault(edge, len(tokens))
            if state == len(tokens):
                tokens.append(-1)
                lengths.append(0)
        tokens[state], lengths[state] = token, len(body)
    first = np.zeros(2 * alphabet, np.int64)
    for edge in [e for e in edges if e < (CONTINUATION + 1) * alphabet]:
        first[edge - alphabet] = edges.pop(edge)
    return Trie(first, edges, np.array(tokens), np.array(lengths))
