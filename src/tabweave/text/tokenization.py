"""Messages to token ids: one tokenizer per text field, from a tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tabweave.errors import ConfigError, shorten
from tabweave.text.ragged import joined
from tabweave.text.tokenizer_limits import MAX_BYTES, read_specification
from tabweave.text.words import WordMemo, find_words

TOKENIZER_FILE = "tokenizer.json"
SLOW_ONLY_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
CHECKED_MESSAGES = 256
ENCODED_TOGETHER = 256
"""Words; more of them leave the caches of the processor."""


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
            ConfigError: It is no tokenizer, asks for work without measure, does not put
                exactly one token before and one behind a text, or has no padding token.
        """
        # Of its own: settings of a tokenizers.Tokenizer change for all who share it.
        spec = read_specification(tokenizer_json)
        self._tokenizer = _parse(tokenizer_json)
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
        self._lowercase = _normalizer(spec).get("lowercase") is True
        self._memo = None if self.reason else WordMemo(self._encode_words)

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
        found: list[bytes] = self.encode_texts(
            pa.array(messages, pa.large_string())
        ).to_pylist()
        return found

    def encode_texts(self, texts: pa.LargeStringArray) -> pa.LargeBinaryArray:
        """Token bytes of every text; each distinct word is looked up once."""
        if self._memo is None:
            return pa.array(self._encode_plain(texts.to_pylist()), pa.large_binary())
        found = find_words(texts, lowercase=self._lowercase)
        return joined(self._memo.look_up(found.words), found.offsets)

    def _encode_plain(self, messages: Sequence[str]) -> list[bytes]:
        found = self._tokenizer.encode_batch_fast(
            list(messages), add_special_tokens=False
        )
        return [self._to_bytes(item.ids) for item in found]

    def _encode_words(self, words: list[str]) -> list[bytes]:
        """Token bytes of words; it costs much less to encode some of them together."""
        found: list[bytes] = []
        for start in range(0, len(words), ENCODED_TOGETHER):
            found += self._encode_together(words[start : start + ENCODED_TOGETHER])
        return found

    def _encode_together(self, words: list[str]) -> list[bytes]:
        """Token bytes of some words: a token is of the word in which it starts."""
        found = self._tokenizer.encode(" ".join(words), add_special_tokens=False)
        if not self._special.isdisjoint(found.ids):
            return self._encode_plain(words)
        starts = np.cumsum([0, *(len(word) + 1 for word in words)])
        cuts = np.searchsorted([start for start, _ in found.offsets], starts)
        tokens = np.array(found.ids, self.dtype).tobytes()
        ends = (cuts * self.dtype.itemsize).tolist()
        return [tokens[start:end] for start, end in pairwise(ends)]

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
        return _read_bounded(path)
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


def _read_bounded(path: Path) -> str:
    """The text of a tokenizer.json; one byte more than is allowed is refused later."""
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8, or has more than {MAX_BYTES:,} bytes: {error.reason} "
            f"at byte {error.start:,}. Use another encoder."
        ) from error


def _from_hub(encoder: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return _read_bounded(Path(hf_hub_download(encoder, TOKENIZER_FILE)))
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
