"""What a BERT-style tokenizer does to single characters, read off as tables.

BertNormalizer and BertPreTokenizer look at one character at a time. So their answers for
every character of Unicode are all there is to know about them, and the tables hold for
upper and lower case, accents and scripts alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from tabweave.text import cleaning, dialogue

REMOVED, ROW_END, MESSAGE, BLANK, UNKNOWN, UNKNOWN_ALONE, FIRST_CODE = range(7)
"""Codes of normalised characters; from FIRST_CODE on, characters of the vocabulary."""

(END_OF_ROW, OPEN, LESS, MORE, AMPERSAND) = EVENTS = range(5)
"""Classes of raw characters that markup is made of; the end of a row is among them."""
PADDING, GONE, TAG_BLANK, MESSAGE_BEGIN, OTHER = range(5, 10)
"""Classes that no typed character has, and that of all characters without a table row."""

NOT_ASCII = 0x7F
"""Stands for every character that no marker, tag or entity is spelled with."""

BEYOND_UNICODE = 0x110000
"""Stands for every number of a reference that is too large."""
PAGE = 256

_SURROGATES = range(0xD800, 0xE000)
_SEPARATOR = "|"
_BLOCK = 1024

Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class CharacterTables:
    """A raw character has a class, and a class has codes.

    Attributes:
        classes: Raw character -> class; all others are of class OTHER.
        codes: Shape [classes, slots]: what a character of the class becomes, in order;
            trailing slots are REMOVED.
        ascii: ASCII value of each class, NOT_ASCII where it has none.
        emoji: Which classes emoji_remover deletes.
        stands_alone: Which codes are a word of their own.
        code_of: Character of the vocabulary -> code.
    """

    classes: dict[str, int]
    codes: Integers
    ascii: Integers
    emoji: np.ndarray[Any, np.dtype[np.bool_]]
    stands_alone: np.ndarray[Any, np.dtype[np.bool_]]
    code_of: dict[str, int]

    def codes_for(self, *, removes_emoji: bool) -> Integers:
        """The codes [classes, slots] of a field with or without emoji_remover."""
        if not removes_emoji:
            return self.codes
        return np.where(self.emoji[:, None], REMOVED, self.codes)

    def pages(self) -> tuple[Integers, np.ndarray[Any, np.dtype[np.int16]]]:
        """The class that a numeric reference resolves to, as a table of two levels.

        Returns:
            The page [numbers / PAGE] of a number, and the classes [pages * PAGE].
        """
        typed = np.full(BEYOND_UNICODE, OTHER)
        points = [ord(character) for character in self.classes if character]
        typed[points] = [number for key, number in self.classes.items() if key]
        meant = [cleaning.code_point(n) for n in range(BEYOND_UNICODE + PAGE)]
        pages, page_of = np.unique(
            typed[meant].reshape(-1, PAGE), axis=0, return_inverse=True
        )
        return page_of.reshape(-1).astype(np.int64), pages.reshape(-1).astype(np.int16)


def character_tables(tokenizer: Any, pieces: Sequence[str]) -> CharacterTables:
    """Reads the tables off a tokenizer.

    Args:
        tokenizer: A `tokenizers.Tokenizer` with BertNormalizer and BertPreTokenizer.
        pieces: The vocabulary, without continuation prefixes.
    """
    code_of: dict[str, int] = {}
    for character in chain.from_iterable(pieces):
        code_of.setdefault(character, len(code_of) + FIRST_CODE)
    normalized = dict(_changed_or_special(tokenizer))
    normalized |= {c: c for c in code_of if c not in normalized}
    joined = "".join(text for text in normalized.values() if not _is_set_apart(text))
    kinds = _word_kinds(set(joined), tokenizer)
    coder = _Coder(code_of, kinds)
    coded = {c: coder.codes(text) for c, text in normalized.items()}
    return _classified(coded, coder)


def _changed_or_special(tokenizer: Any) -> Iterator[tuple[str, str]]:
    """Characters and what they become, but for those that are plain letters.

    A block of characters that stays as it is and makes one word holds nothing else.
    """
    normalize = tokenizer.normalizer.normalize_str
    split = tokenizer.pre_tokenizer.pre_tokenize_str
    yield _SEPARATOR, normalize(_SEPARATOR)
    for start in range(0, BEYOND_UNICODE, _BLOCK):
        points = range(start, min(start + _BLOCK, BEYOND_UNICODE))
        scalars = "".join(chr(p) for p in points if p not in _SURROGATES)
        block = scalars.replace(_SEPARATOR, "")
        if normalize(block) == block and len(split(block)) <= 1:
            continue
        found = normalize(_SEPARATOR.join(block)).split(_SEPARATOR)
        yield from zip(block, found, strict=True)


def _is_set_apart(text: str) -> bool:
    """Whether the normaliser put blanks around what one character has become.

    It does so with Chinese characters, to say that they stand alone.
    """
    return len(text) >= 3 and text[0] == " " == text[-1]


def _word_kinds(characters: set[str], tokenizer: Any) -> dict[str, int]:
    """BLANK, UNKNOWN (a letter) or UNKNOWN_ALONE for normalised characters.

    Between two letters, a blank parts them and punctuation is a piece of its own.
    """
    ordered = sorted(characters)
    text = "".join(f"a{character}b " for character in ordered)
    pieces = tokenizer.pre_tokenizer.pre_tokenize_str(text)
    starts = {start for _, (start, _) in pieces}
    kinds = {}
    for number, character in enumerate(ordered):
        at = 4 * number + 1
        if at in starts:
            kinds[character] = UNKNOWN_ALONE
        else:
            kinds[character] = BLANK if at + 1 in starts else UNKNOWN
    return kinds


class _Coder:
    """Turns normalised text into codes, and notes which of them stand alone."""

    def __init__(self, code_of: dict[str, int], kinds: Mapping[str, int]) -> None:
        self.code_of = code_of
        self.alone = {UNKNOWN_ALONE}
        self._kinds = kinds

    def codes(self, text: str) -> tuple[int, ...]:
        """The codes of what one raw character has become."""
        if _is_set_apart(text):
            return tuple(map(self._code_alone, text[1:-1]))
        return tuple(map(self._code, text))

    def _code(self, character: str) -> int:
        kind = self._kinds[character]
        if kind == UNKNOWN_ALONE:
            return self._code_alone(character)
        return BLANK if kind == BLANK else self.code_of.get(character, UNKNOWN)

    def _code_alone(self, character: str) -> int:
        code = self.code_of.get(character, UNKNOWN_ALONE)
        self.alone.add(code)
        return code


Row = tuple[tuple[int, ...], int, bool]
"""All that a class says: codes, ASCII value, whether it is an emoji."""


def _classified(coded: dict[str, tuple[int, ...]], coder: _Coder) -> CharacterTables:
    """Gives one number to all raw characters about which the same is to be said."""
    special: dict[int, Row] = {
        END_OF_ROW: ((ROW_END,), NOT_ASCII, False),
        PADDING: ((), NOT_ASCII, False),
        GONE: ((), NOT_ASCII, False),
        TAG_BLANK: ((BLANK,), NOT_ASCII, False),
        MESSAGE_BEGIN: ((MESSAGE,), NOT_ASCII, False),
        OTHER: ((UNKNOWN,), NOT_ASCII, False),
    }
    emoji = {chr(p) for first, last in cleaning.EMOJI for p in range(first, last + 1)}
    marks = (dialogue.BEGIN[0], "<", ">", "&")
    typed = {character: _row(character, coded, emoji) for character in coded}
    special |= {n: typed[m] for n, m in zip(EVENTS[1:], marks, strict=True)}
    rows = [special[number] for number in sorted(special)]
    numbers = {row: number for number, row in enumerate(rows) if number != PADDING}
    classes = {"": PADDING}
    for character in chain(typed, sorted(emoji - typed.keys())):
        row = typed.get(character) or _row(character, coded, emoji)
        if row not in numbers:
            numbers[row] = len(rows)
            rows.append(row)
        if numbers[row] != OTHER:
            classes[character] = numbers[row]
    return _arrays(classes, rows, coder)


def _row(character: str, coded: Mapping[str, tuple[int, ...]], emoji: set[str]) -> Row:
    point = ord(character)
    value = point if 0 < point < NOT_ASCII else NOT_ASCII
    return coded.get(character, (UNKNOWN,)), value, character in emoji


def _arrays(
    classes: dict[str, int], rows: Sequence[Row], coder: _Coder
) -> CharacterTables:
    slots = max(len(codes) for codes, _, _ in rows)
    codes = np.full((len(rows), slots), REMOVED, np.int64)
    for number, (found, _, _) in enumerate(rows):
        codes[number, : len(found)] = found
    alone = np.zeros(len(coder.code_of) + FIRST_CODE, bool)
    alone[list(coder.alone)] = True
    return CharacterTables(
        classes=classes,
        codes=codes,
        ascii=np.array([value for _, value, _ in rows], np.int64),
        emoji=np.array([emoji for _, _, emoji in rows]),
        stands_alone=alone,
        code_of=coder.code_of,
    )
