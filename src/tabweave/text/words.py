"""Where the words of texts are, and the tokens of every word seen so far."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.text.ragged import byte_offsets, data_of

REMEMBERED_WORDS = 1_000_000
LONGEST_REMEMBERED = 64
"""Bytes of a word."""

# What BertNormalizer turns into a blank. str.split() also splits at the second set,
# whose characters BertNormalizer deletes.
_BLANKS = re.compile(
    "[\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
)
_DELETED = re.compile("[\x0b\x0c\x1c-\x1f\x85]")

WORDS_PER_BLOCK = 2**18
"""Counted apart at first: their distinct words fit into the caches of a processor."""

_LETTER, _BLANK, _PUNCTUATION = 0, 1, 2
_KINDS = bytes(
    _BLANK
    if byte in b"\t\n\r "
    else _PUNCTUATION
    if byte in string.punctuation.encode()
    else _LETTER
    for byte in range(256)
)
"""Byte -> what it is; the bytes of a character outside ASCII count as letters."""


def split_words(text: str) -> list[str]:
    r"""Splits at white space exactly where BertNormalizer and BertPreTokenizer do.

    Example:
        >>> split_words(" one  two\u3000three\x0b ")
        ['one', 'two', 'three\x0b']
    """
    if _DELETED.search(text):
        return [word for word in _BLANKS.split(text) if word]
    return text.split()


@dataclass(frozen=True, slots=True)
class Words:
    """The words of some texts, one after the other; nothing of a text is left out.

    Attributes:
        words: The words of all texts.
        offsets: Text i has those from offsets[i] to offsets[i + 1].
    """

    words: pa.LargeStringArray
    offsets: np.ndarray


def find_words(texts: pa.LargeStringArray, *, lowercase: bool) -> Words:
    """Cuts texts in front of blanks and on both sides of ASCII punctuation.

    A BERT-style tokenizer cuts there too, whatever stands beside, so the tokens of a text
    are those of its words. A word keeps the blank before it, which has no tokens.

    Args:
        texts: Texts without nulls.
        lowercase: Whether capital ASCII letters are read as small ones.

    Example:
        >>> texts = pa.array(["Ah, a fox", "A"], pa.large_string())
        >>> found = find_words(texts, lowercase=True)
        >>> found.words.to_pylist(), found.offsets.tolist()
        (['ah', ',', ' a', ' fox', 'a'], [0, 4, 5])
    """
    letters = data_of(texts).to_pybytes()
    if lowercase:
        letters = letters.lower()
    kinds = np.frombuffer(letters.translate(_KINDS), np.uint8)
    starts = np.empty(len(kinds) + 1, bool)
    np.not_equal(kinds, _LETTER, out=starts[:-1])
    starts[1:] |= kinds == _PUNCTUATION
    offsets = byte_offsets(texts) - byte_offsets(texts)[0]
    starts[offsets] = True
    starts[-1] = True
    places = np.flatnonzero(starts)
    words = pa.LargeStringArray.from_buffers(
        len(places) - 1, pa.py_buffer(places), pa.py_buffer(letters)
    )
    return Words(words, np.searchsorted(places, offsets))


class WordMemo:
    """Token bytes of the words seen so far; the tokenizer answers for new ones.

    A token of a BERT-style WordPiece tokenizer depends on nothing outside its word, so
    looking words up gives the tokenizer's own answer. Made for many words at a time: a
    call costs as much as reading everything that is remembered.

    Attributes:
        words: Words that are remembered, each once.
        tokens: Token bytes of each of them.
    """

    def __init__(self, encode: Callable[[list[str]], list[bytes]]) -> None:
        """Takes the function that gives the token bytes of every word of a list."""
        self._encode = encode
        self.words = pa.array([], pa.large_string())
        self.tokens = pa.array([], pa.large_binary())

    def __len__(self) -> int:
        return len(self.words)

    def look_up(self, words: pa.LargeStringArray) -> pa.LargeBinaryArray:
        """Token bytes of every word, without special tokens."""
        if not len(words):
            return pa.array([], pa.large_binary())
        blocks = [
            words[start : start + WORDS_PER_BLOCK].dictionary_encode()
            for start in range(0, len(words), WORDS_PER_BLOCK)
        ]
        # With the known words in front, their numbers are their places in the memo.
        distinct = [self.words, *(block.dictionary for block in blocks)]
        coded = pa.chunked_array(distinct).dictionary_encode().chunks[-len(blocks) :]
        known = coded[-1].dictionary
        new = self._encode(known[len(self) :].to_pylist())
        tokens = pa.concat_arrays([self.tokens, pa.array(new, pa.large_binary())])
        self._remember(known, tokens)
        return pa.concat_arrays(
            tokens.take(numbers.indices).take(block.indices)
            for numbers, block in zip(coded, blocks, strict=True)
        )

    def _remember(
        self, words: pa.LargeStringArray, tokens: pa.LargeBinaryArray
    ) -> None:
        # Unique ids and links must not fill the memory.
        short = pc.less_equal(pc.binary_length(words), LONGEST_REMEMBERED)
        self.words = words.filter(short)[:REMEMBERED_WORDS]
        self.tokens = tokens.filter(short)[:REMEMBERED_WORDS]
