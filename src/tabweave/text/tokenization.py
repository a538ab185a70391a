"""Messages to token ids: one tokenizer per text field, from a tokenizer.json."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import ConfigError, shorten

TOKENIZER_FILE = "tokenizer.json"
SLOW_ONLY_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
REMEMBERED_WORDS = 1_000_000
LONGEST_REMEMBERED = 64
CHECKED_MESSAGES = 256
# Fewer messages are not worth sorting by distinct word.
FEW_MESSAGES = 32

# What BertNormalizer turns into a blank. str.split() also splits at the second set,
# whose characters BertNormalizer deletes.
_BLANKS = re.compile(
    "[\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
)
_DELETED = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
_DELETED_ASCII = np.array([b in b"\x0b\x0c\x1c\x1d\x1e\x1f" for b in range(256)])
# BertPreTokenizer makes every ASCII punctuation character a piece of its own.
_PUNCTUATION = np.array([b in string.punctuation.encode() for b in range(256)])
_LOWER = np.frombuffer(bytes(range(256)).lower(), np.uint8)
_ASCII_PIECES = re.compile(r"[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~]+")


def split_words(text: str) -> list[str]:
    r"""Splits at white space exactly where BertNormalizer and BertPreTokenizer do.

    Example:
        >>> split_words(" one  two\u3000three\x0b ")
        ['one', 'two', 'three\x0b']
    """
    if _DELETED.search(text):
        return [word for word in _BLANKS.split(text) if word]
    return text.split()


def _characters(texts: pa.Array) -> np.ndarray:
    """All characters of ASCII texts, one after the other, as uint8."""
    return np.frombuffer(texts.buffers()[2] or b"", np.uint8)


def _pieces_apart(texts: pa.Array, lowercase: bool | None) -> pa.Array:
    """ASCII texts with a blank on both sides of every punctuation character.

    Then the words are the pieces of BertPreTokenizer, of which there are far fewer:
    "word", "Word," and "(word" share one.
    """
    found = _characters(texts)
    if lowercase:
        found = _LOWER[found]
    at = np.flatnonzero(_PUNCTUATION[found])
    blank = at + 2 * np.arange(len(at))
    wide = np.full(len(found) + 2 * len(at), ord(" "), np.uint8)
    kept = np.ones(len(wide), bool)
    kept[blank] = kept[blank + 2] = False
    wide[kept] = found
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[: len(texts) + 1]
    moved = offsets + 2 * np.searchsorted(at, offsets)
    return pa.LargeStringArray.from_buffers(
        len(texts), pa.py_buffer(moved), pa.py_buffer(wide)
    )


class WordMemo(dict[str, bytes]):
    """Token bytes of every word seen so far; the tokenizer answers for a new word.

    A token of a BERT-style WordPiece tokenizer never spans white space and depends on
    nothing outside its word, so looking words up gives the tokenizer's own answer.
    """

    def __init__(
        self, encode: Callable[[str], bytes], *, lowercase: bool | None = None
    ) -> None:
        """Takes the function that gives the token bytes of one word.

        With `lowercase` (whether the tokenizer ignores case) "Word," is put together
        from "word" and ","; with None the function answers for it as well.
        """
        super().__init__()
        self._encode, self.lowercase = encode, lowercase

    def __missing__(self, word: str) -> bytes:
        pieces = self._pieces(word)
        value = (
            self._encode(word)
            if pieces == [word]
            else b"".join(map(self.__getitem__, pieces))
        )
        # Unique ids and links must not fill the memory.
        if len(word) <= LONGEST_REMEMBERED and len(self) < REMEMBERED_WORDS:
            self[word] = value
        return value

    def _pieces(self, word: str) -> list[str]:
        if self.lowercase is None or not (word.isascii() and word.isprintable()):
            return [word]
        return _ASCII_PIECES.findall(word.lower() if self.lowercase else word)

    def encode(self, message: str) -> bytes:
        """Token bytes of a message, without special tokens."""
        return b"".join(map(self.__getitem__, split_words(message)))


class FieldTokenizer:
    """The tokenizer of one text field.

    What a user types is always text: a typed "[CLS]" is brackets and letters. Where the
    model itself reads it as the special token (SentencePiece does with "<s>"), it is an
    unknown token.

    Attributes:
        cls_id: Token before a chunk ([CLS], <s>).
        sep_id: Token behind a chunk ([SEP], </s>).
        pad_id: Token that fills a padded batch.
        unk_id: Token of what the vocabulary cannot say; None for byte-level tokenizers.
        vocabulary_size: Rows an embedding needs: the largest id plus one.
        dtype: uint16 below 65,536 entries, else int32.
        cleans: Whether it treats white space and control characters as BERT does.
        method: How messages are encoded.
        reason: Why it is not the word memo; empty when it is.
    """

    def __init__(self, tokenizer_json: str) -> None:
        """Reads a tokenizer.json.

        Raises:
            ConfigError: It is no tokenizer, does not put exactly one token before and
                one behind a text, or has no padding token.
        """
        # Of its own: settings of a tokenizers.Tokenizer change for all who share it.
        self._tokenizer = _parse(tokenizer_json)
        spec = json.loads(tokenizer_json)
        padding = spec.get("padding") or {}
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        ids = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocabulary_size: int = max(ids.values()) + 1
        self.dtype: np.dtype[Any] = np.dtype(
            np.uint16 if self.vocabulary_size < 2**16 else np.int32
        )
        self.cls_id, self.sep_id = self._ends()
        self.pad_id = _first_known(ids, padding.get("pad_token"), "[PAD]", "<pad>")
        self.unk_id = _unknown_id(spec["model"], ids)
        self.cleans = _normalizer(spec).get("clean_text") is True
        self.reason = _why_no_memo(spec)
        special = {t["id"] for t in spec.get("added_tokens", []) if t["special"]}
        self._special = {*special, self.cls_id, self.sep_id, self.pad_id} - {
            self.unk_id
        }
        lowercase = _normalizer(spec).get("lowercase") is True
        self._memo = (
            None if self.reason else WordMemo(self._encode_one, lowercase=lowercase)
        )

    @property
    def method(self) -> Literal["word memo", "batch encoding"]:
        """How messages are encoded; both give the same tokens."""
        return "batch encoding" if self._memo is None else "word memo"

    def _ends(self) -> tuple[int, int]:
        bare = self._tokenizer.encode("a", add_special_tokens=False).ids
        whole = self._tokenizer.encode("a").ids
        if len(whole) != len(bare) + 2 or whole[1:-1] != bare:
            raise ConfigError(
                f"The tokenizer turns the text 'a', tokens {bare}, into {whole}. A "
                "chunk needs exactly one token before and one behind it, as BERT "
                "([CLS], [SEP]) and RoBERTa (<s>, </s>) have. Use such an encoder, or "
                "text.encoder: scratch."
            )
        return whole[0], whole[-1]

    def check(self, messages: Sequence[str]) -> bool:
        """Compares the word memo with plain encoding on some of the messages.

        On any difference the memo is given up and `reason` says so.
        """
        if self._memo is None:
            return True
        step = max(1, len(messages) // CHECKED_MESSAGES)
        sample = messages[::step][:CHECKED_MESSAGES]
        if self.encode(sample) == self._encode_plain(sample):
            return True
        self._memo = None
        self.reason = "the word memo differed from the tokenizer on a sample"
        return False

    def encode(self, messages: Sequence[str]) -> list[bytes]:
        """Token bytes (of `dtype`) of every message, without special tokens."""
        memo = self._memo
        if memo is None:
            return self._encode_plain(messages)
        plain = [message for message in messages if message.isascii()]
        if len(plain) < FEW_MESSAGES:
            return list(map(memo.encode, messages))
        found = iter(self._encode_ascii(plain, memo))
        return [next(found) if m.isascii() else memo.encode(m) for m in messages]

    def _encode_ascii(self, messages: list[str], memo: WordMemo) -> list[bytes]:
        """Token bytes of ASCII messages; every distinct word is looked up once."""
        texts = pa.array(messages, pa.large_string())
        if _DELETED_ASCII[_characters(texts)].any():
            # Arrow splits at these characters, the tokenizer does not.
            return list(map(memo.encode, messages))
        words = pc.ascii_split_whitespace(_pieces_apart(texts, memo.lowercase))
        coded = words.values.dictionary_encode()
        known = list(map(memo.__getitem__, coded.dictionary.to_pylist()))
        width = self.dtype.itemsize
        sizes = np.fromiter(map(len, known), np.int64, len(known)) // width
        first, codes = np.cumsum(sizes) - sizes, coded.indices.to_numpy()
        size = sizes[codes]
        ends = np.append(0, np.cumsum(size))
        # Where each token of each word lies among the tokens of the distinct words.
        places = np.repeat(first[codes] - ends[:-1], size) + np.arange(ends[-1])
        tokens = np.frombuffer(b"".join(known), self.dtype)[places].tobytes()
        cuts = (ends[words.offsets.to_numpy()] * width).tolist()
        return [tokens[start:end] for start, end in pairwise(cuts)]

    def _encode_plain(self, messages: Sequence[str]) -> list[bytes]:
        found = self._tokenizer.encode_batch_fast(
            list(messages), add_special_tokens=False
        )
        return [self._to_bytes(item.ids) for item in found]

    def _encode_one(self, word: str) -> bytes:
        return self._to_bytes(
            self._tokenizer.encode(word, add_special_tokens=False).ids
        )

    def _to_bytes(self, ids: list[int]) -> bytes:
        if not self._special.isdisjoint(ids):
            known = [self.unk_id if i in self._special else i for i in ids]
            ids = [i for i in known if i is not None]
        return np.asarray(ids, self.dtype).tobytes()


def _parse(tokenizer_json: str) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # tokenizers raises no narrower class
        raise ConfigError(
            f"The {TOKENIZER_FILE} is not one that the tokenizers library reads: "
            f"{shorten(str(error), 200)}."
        ) from error


def _normalizer(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec.get("normalizer") or {}
    return found if found.get("type") == "BertNormalizer" else {}


def _first_known(ids: dict[str, int], *tokens: str | None) -> int:
    for token in tokens:
        if token in ids:
            return ids[token]
    wanted = [token for token in tokens if token]
    raise ConfigError(
        f"The tokenizer has no padding token: none of {wanted} is in its vocabulary. "
        "Add one to the tokenizer, or use another encoder."
    )


def _unknown_id(model: dict[str, Any], ids: dict[str, int]) -> int | None:
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    token = model.get("unk_token")
    if token is not None and token not in ids:
        raise ConfigError(
            f"The tokenizer names {token!r} for unknown words, but its vocabulary does "
            "not hold it. Repair the tokenizer, or use another encoder."
        )
    return None if token is None else ids[token]


def _why_no_memo(spec: dict[str, Any]) -> str:
    pre_tokenizer = (spec.get("pre_tokenizer") or {}).get("type")
    if (
        spec["model"].get("type") != "WordPiece"
        or not _normalizer(spec)
        or pre_tokenizer != "BertPreTokenizer"
    ):
        return "the word memo is for BERT-style WordPiece tokenizers only"
    # Such a token may hold a blank; special ones are never matched in typed text.
    plain = [t["content"] for t in spec.get("added_tokens", []) if not t["special"]]
    return f"the tokenizer has added tokens {shorten(plain)}" if plain else ""


def load_tokenizer_json(encoder: str) -> str:
    """The tokenizer.json of a local folder or of a hub id.

    Raises:
        ConfigError: The folder is not there or holds only a slow tokenizer, or the hub
            could not be reached or has no such file.
    """
    folder = Path(encoder).expanduser()
    if folder.is_dir():
        return _from_folder(folder)
    if _looks_like_path(encoder) or folder.exists():
        raise ConfigError(
            f"text.encoder {encoder!r} looks like a path, but is not a folder. Give a "
            f"folder that holds {TOKENIZER_FILE}, a hub id such as owner/model, or "
            "scratch. A relative path starts at the folder of the project."
        )
    return _from_hub(encoder)


def _looks_like_path(encoder: str) -> bool:
    return (
        encoder.startswith((".", "/", "~"))
        or encoder.endswith("/")
        or "\\" in encoder
        or encoder.count("/") > 1
    )


def _from_folder(folder: Path) -> str:
    path = folder / TOKENIZER_FILE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    slow = [name for name in SLOW_ONLY_FILES if (folder / name).is_file()]
    if slow:
        raise ConfigError(
            f"text.encoder {folder}: only a slow tokenizer is there "
            f"({', '.join(slow)}), no {TOKENIZER_FILE}. Convert it once: transformers' "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes it."
        )
    names = sorted(path.name for path in folder.iterdir())
    raise ConfigError(
        f"text.encoder {folder}: the folder has no {TOKENIZER_FILE}. It holds "
        f"{shorten(names, 200)}."
    )


def _from_hub(encoder: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return Path(hf_hub_download(encoder, TOKENIZER_FILE)).read_text(
            encoding="utf-8"
        )
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        if isinstance(error, HFValidationError):
            fault = "is neither a folder nor a hub id"
        elif isinstance(error, LocalEntryNotFoundError) or not isinstance(
            error, EntryNotFoundError
        ):
            fault = f"is not a folder, and the hub did not give its {TOKENIZER_FILE}"
        else:
            fault = f"has no {TOKENIZER_FILE} on the hub: it has a slow tokenizer only"
        raise ConfigError(
            f"text.encoder {encoder!r} {fault} ({shorten(str(error), 300)}). Use a "
            "folder on this machine that holds an encoder with this file, another hub "
            "id, or scratch."
        ) from error
