"""The rivals, written plainly: the specification's steps, one row at a time.

They stand in for preprocessing inside a dataset's ``__getitem__``. Nothing is slowed down
on purpose: patterns are compiled once, and the tokenizer is the fast one.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import pandas as pd
from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning

from tabweave.tabular import RiskSettings
from tabweave.text.cleaning import EMOJI

MESSAGE = re.compile(r"\[bom\](.*?)\[eom\]", re.DOTALL)
EMOJIS = re.compile("[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in EMOJI) + "]+")
BLANKS = re.compile(r"\s+")

Encode = Callable[[str, bool], list[int]]
"""Text, whether to add [CLS] and [SEP] -> token ids."""


def split_messages(text: str) -> list[str]:
    """dialogue_splitter; a text without markers stays whole."""
    return MESSAGE.findall(text) or [text]


def clean(message: str) -> str:
    """html_normalizer, emoji_remover, text_normalizer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        message = BeautifulSoup(message, "html.parser").get_text(" ")
    return BLANKS.sub(" ", EMOJIS.sub("", message)).strip()


def chunk(messages: list[str], encode: Encode, limit: int, most: int) -> list[str]:
    """dialogue_chunker: encodes every message to count its tokens."""
    chunks: list[str] = []
    parts: list[str] = []
    filled = 0
    for message in messages:
        size = len(encode(message, False))
        if parts and filled + size > limit:
            chunks.append(" ".join(parts))
            parts, filled = [], 0
        parts.append(message)
        filled += size
    if parts:
        chunks.append(" ".join(parts))
    return chunks[:most]


def tokenize_row(text: str, encode: Encode, length: int, most: int) -> list[list[int]]:
    """All steps for one row: chunks of token ids, encoded a second time."""
    messages = [clean(message) for message in split_messages(text)]
    chunks = chunk([m for m in messages if m], encode, length - 2, most)
    return [encode(part, True)[:length] for part in chunks]


def risk_table(
    frame: pd.DataFrame, column: str, label: str, settings: RiskSettings
) -> tuple[dict[str, float], float]:
    """Category -> smoothed risk, and the default: crosstab, then a row-wise apply."""
    table = pd.crosstab(frame[column], frame[label])
    prior = float((frame[label] == "1").mean())
    weight = int(len(frame) * settings.smooth_factor)

    def risk(counts: pd.Series) -> float:
        rows = counts.sum()
        if rows < settings.count_threshold:
            return prior
        return float((counts["1"] + weight * prior) / (rows + weight))

    return table.apply(risk, axis=1).to_dict(), prior


Tables = dict[str, tuple[dict[str, float], float]]
"""Column -> risks by category, and the default."""


def risks_of_row(row: pd.Series, tables: Tables) -> pd.Series:
    """The risks of one row: what ``frame.apply(..., axis=1)`` calls."""
    return pd.Series(
        [
            bins.get(str(row[column]), default)
            for column, (bins, default) in tables.items()
        ]
    )


def map_columns(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The same column by column: a stronger rival than the specification's."""
    return pd.DataFrame(
        {
            column: frame[column].astype(str).map(bins).fillna(default)
            for column, (bins, default) in tables.items()
        }
    )
