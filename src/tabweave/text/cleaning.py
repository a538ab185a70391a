"""Cleans one message: tags, entities, emoji. One table of rules for train and serving.

The exported graph computes the same functions from the same tables, so nothing here may
depend on more than these rules: no HTML parser, no ``html.unescape``, no ``str.lower``.
All of it is linear in the length of the message. Letter case belongs to the tokenizer.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

from tabweave.text.config import Step

TAG_OPENERS = string.ascii_letters + "/!"
"""Characters that make a '<' before them the beginning of a tag."""

TAG = re.compile(f"<[{TAG_OPENERS}][^<>]*+>")
"""'<' before a letter, '/' or '!', whose next '<' or '>' is a '>'; becomes a blank."""

NAMED = {
    "amp": "&",
    "lt": "<",
    "gt": ">",
    "quot": '"',
    "apos": "'",
    "nbsp": "\u00a0",
    "hellip": "\u2026",
    "mdash": "\u2014",
    "ndash": "\u2013",
    "lsquo": "\u2018",
    "rsquo": "\u2019",
    "ldquo": "\u201c",
    "rdquo": "\u201d",
    "copy": "\u00a9",
    "reg": "\u00ae",
    "trade": "\u2122",
    "euro": "\u20ac",
    "pound": "\u00a3",
    "bull": "\u2022",
    "middot": "\u00b7",
    "deg": "\u00b0",
    "times": "\u00d7",
    "eacute": "\u00e9",
    "egrave": "\u00e8",
    "agrave": "\u00e0",
    "uuml": "\u00fc",
    "ouml": "\u00f6",
    "auml": "\u00e4",
    "szlig": "\u00df",
    "ntilde": "\u00f1",
    "ccedil": "\u00e7",
}
"""Named entities that are resolved; exact case, at most 8 letters, ';' required."""

LONGEST_REFERENCE = 6
"""Digits of a numeric reference at most; a longer one stays as typed."""

REFERENCE = re.compile(
    f"&(?:({'|'.join(NAMED)})"
    f"|#([0-9]{{1,{LONGEST_REFERENCE}}})"
    f"|#[xX]([0-9A-Fa-f]{{1,{LONGEST_REFERENCE}}}));"
)

EMOJI = (
    (0x2702, 0x27B0),
    (0xFE0F, 0xFE0F),
    (0x1F1E0, 0x1F1FF),
    (0x1F300, 0x1F5FF),
    (0x1F600, 0x1F64F),
    (0x1F680, 0x1F6FF),
    (0x1F900, 0x1F9FF),
    (0x1FA70, 0x1FAFF),
)
"""First and last code point of each deleted range; none holds letters of a script."""

JOINER = "\u200d"
"""Joins emoji into one; deleted behind an emoji, kept in scripts that write with it.

BERT-style tokenizers delete it everywhere, so for them the two cases are one.
"""

REPLACEMENT = 0xFFFD
_EMOJI_CLASS = "".join(f"{chr(first)}-{chr(last)}" for first, last in EMOJI)
_EMOJI_OR_BETWEEN = re.compile(
    f"[{chr(min(first for first, _ in EMOJI))}-{chr(max(last for _, last in EMOJI))}]"
)
_EMOJI_RUN = re.compile(f"[{_EMOJI_CLASS}][{_EMOJI_CLASS}{JOINER}]*+")


def code_point(number: int) -> int:
    """The code point that a numeric reference means.

    HTML's rule (https://html.spec.whatwg.org, "numeric character reference end state"):
    0, surrogates and numbers beyond Unicode give U+FFFD; 128-159 are read as cp1252.

    Example:
        >>> chr(code_point(65)), chr(code_point(146)) == NAMED["rsquo"]
        ('A', True)
    """
    if number == 0 or 0xD800 <= number <= 0xDFFF or number > 0x10FFFF:
        return REPLACEMENT
    if 0x80 <= number <= 0x9F:
        return ord(bytes([number]).decode("cp1252", "ignore") or chr(number))
    return number


def _resolved(match: re.Match[str]) -> str:
    name, decimal, hexadecimal = match.groups()
    if name:
        return NAMED[name]
    return chr(code_point(int(decimal) if decimal else int(hexadecimal, 16)))


def normalize_html(message: str) -> str:
    """Tags become a blank, then one pass resolves entities: ``&amp;lt;`` is ``&lt;``.

    Example:
        >>> normalize_html("a<br/>b &lt;3 &#8364;5")
        'a b <3 €5'
    """
    if "<" in message:
        message = TAG.sub(" ", message)
    if "&" in message:
        message = REFERENCE.sub(_resolved, message)
    return message


def remove_emoji(message: str) -> str:
    """Deletes emoji; letters of every script stay."""
    # One range is sought four times as fast as all of them, and most texts have none.
    if message.isascii() or not _EMOJI_OR_BETWEEN.search(message):
        return message
    return _EMOJI_RUN.sub("", message)


def blank_normalizer() -> Callable[[str], str]:
    """The function that deletes control characters and joins white space to one blank.

    It is what a BERT-style tokenizer does to white space and control characters by
    itself; `message_cleaner` uses it for the tokenizers that do not.
    """
    from tokenizers.normalizers import BertNormalizer

    clean = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=False,
        strip_accents=False,
        lowercase=False,
    ).normalize_str
    blanks = re.compile(" {2,}+")
    return lambda message: blanks.sub(" ", clean(message)).strip(" ")


def message_cleaner(
    steps: Sequence[Step], *, tokenizer_cleans: bool
) -> Callable[[str], str]:
    """The function that applies the configured cleaning steps to one message.

    Args:
        steps: Steps of the field; those that do not clean are passed over.
        tokenizer_cleans: Whether the tokenizer's own normaliser treats white space and
            control characters as BERT does. Then text_normalizer adds nothing.
    """
    functions: list[Callable[[str], str]] = []
    if "html_normalizer" in steps:
        functions.append(normalize_html)
    if "emoji_remover" in steps:
        functions.append(remove_emoji)
    if "text_normalizer" in steps and not tokenizer_cleans:
        functions.append(blank_normalizer())

    def clean(message: str) -> str:
        for function in functions:
            message = function(message)
        return message

    return clean


def changeable(steps: Sequence[Step], *, tokenizer_cleans: bool) -> list[str]:
    """Patterns of RE2; `message_cleaner` changes no message that matches none of them."""
    patterns = []
    if "html_normalizer" in steps:
        patterns.append("[<&]")
    if "emoji_remover" in steps:
        patterns.append(f"[{_EMOJI_CLASS}]")
    if "text_normalizer" in steps and not tokenizer_cleans:
        patterns.append(r"\A")
    return patterns
