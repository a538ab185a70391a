"""Texts: split into messages, cleaned, tokenised, packed into chunks; torch-free."""

from __future__ import annotations

from tabweave.text.config import TextConfig, TextField, TextFieldConfig, resolve_fields
from tabweave.text.processing import (
    TokenInfo,
    TokenizedText,
    learn_or_load_tokenizers,
    tokenize_table,
    tokenize_tables,
)
from tabweave.text.tokenization import FieldTokenizer

__all__ = [
    "FieldTokenizer",
    "TextConfig",
    "TextField",
    "TextFieldConfig",
    "TokenInfo",
    "TokenizedText",
    "learn_or_load_tokenizers",
    "resolve_fields",
    "tokenize_table",
    "tokenize_tables",
]
