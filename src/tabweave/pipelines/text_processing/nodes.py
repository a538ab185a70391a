"""Nodes of the text processing stage."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tabweave.schema import SPLITS, DataSchema, typed
from tabweave.tables.files import TableFile
from tabweave.text import (
    TextConfig,
    learn_or_load_tokenizers,
    resolve_fields,
    tokenize_tables,
)


@typed
def fit_tokenizer(
    train: TableFile, schema: DataSchema, config: TextConfig
) -> dict[str, str]:
    """The tokenizer of every text field: the encoder's own, or learned from train."""
    fields = resolve_fields(config, schema)
    return learn_or_load_tokenizers(train, fields, config)


@typed
def tokenize_splits(
    train: TableFile,
    val: TableFile,
    test: TableFile,
    tokenizer: dict[str, str],
    schema: DataSchema,
    config: TextConfig,
) -> tuple[pa.Table, pa.Table, pa.Table, dict[str, Any]]:
    """Token ids of all splits, tokenised once, and what was cut on the way."""
    fields = resolve_fields(config, schema)
    done = tokenize_tables((train, val, test), fields, tokenizer)
    report = {split: text.report for split, text in zip(SPLITS, done, strict=True)}
    return done[0].table, done[1].table, done[2].table, report
