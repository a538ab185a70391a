"""load, text and tabular without Kedro: the functions that the stages call, measured.

A process of its own, so that its memory is its own: `benchmarks.preprocessing` starts it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpus import CONFIG
from benchmarks.measuring import Clock, peak_mib
from tabweave.preparation.features import (
    fit_train_scaler,
    train_features,
    transform_features,
)
from tabweave.schema import SPLITS, DataSchema
from tabweave.tables.files import (
    TableFile,
    write_arrow,
    write_parquet,
)
from tabweave.tables.loading import load_splits
from tabweave.tables.lookup import find_split
from tabweave.tables.parted_tables import open_table
from tabweave.tabular import (
    TabularConfig,
    count_categories,
    fit_imputer,
    fit_risk_tables,
)
from tabweave.text import TextConfig, TextField, resolve_fields, tokenize_tables

TABULAR = TabularConfig()
FIELD = "text"


def table_file(folder: Path, split: str) -> TableFile:
    """The typed table of a split."""
    return TableFile(folder / "typed" / f"{split}.parquet")


def text_field(schema: DataSchema) -> TextField:
    """The only text field, with the full chain and the defaults."""
    (field,) = resolve_fields(TextConfig(), schema)
    return field


def load(folder: Path) -> DataSchema:
    """The load stage: Parquet in, typed Parquet out."""
    raw = {split: open_table(find_split(folder, split), split) for split in SPLITS}
    loaded = load_splits(raw, CONFIG)
    for split, table in loaded.tables.items():
        write_parquet(table_file(folder, split).path, table)
    return loaded.schema


def text(
    folder: Path, fields: Sequence[TextField], tokenizers: Mapping[str, str]
) -> None:
    """The text stage with given tokenizers: typed Parquet in, Arrow out."""
    tables = [table_file(folder, split) for split in SPLITS]
    done = tokenize_tables(tables, fields, tokenizers)
    for split, tokens in zip(SPLITS, done, strict=True):
        write_arrow(folder / f"{split}_tokens.arrow", tokens.table)


def tabular(folder: Path, schema: DataSchema) -> None:
    """The tabular stage: everything fitted on train, features of all splits out."""
    names = [schema.id, schema.label, *schema.categorical, *schema.numeric]
    train = table_file(folder, "train").read(names)
    imputer = fit_imputer(train, schema, TABULAR)
    counts = count_categories(train.to_batches(), schema)
    risks = fit_risk_tables(counts, schema, TABULAR.risk)
    fitted = (imputer, risks, fit_train_scaler(train, schema, imputer, risks))
    features = train_features(train, schema, *fitted)
    write_arrow(folder / "train_features.arrow", features)
    for split in ("val", "test"):
        rows = table_file(folder, split).read(names)
        features = transform_features(rows, schema, *fitted)
        write_arrow(folder / f"{split}_features.arrow", features)


def prepare(folder: Path) -> dict[str, Any]:
    """All three stages of the files in `folder`: seconds and peak memory."""
    clock = Clock()
    tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    with clock("load"):
        schema = load(folder)
    loaded = peak_mib()
    with clock("text"):
        text(folder, [text_field(schema)], {FIELD: tokenizer})
    with clock("tabular"):
        tabular(folder, schema)
    return {
        "wall": clock.wall,
        "cpu": clock.cpu,
        "load_peak_rss_mib": loaded,
        "peak_rss_mib": peak_mib(),
        "schema": schema.model_dump(mode="json"),
    }


def main() -> None:
    """Prepares a folder and prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(json.dumps(prepare(parser.parse_args().folder)))


if __name__ == "__main__":
    main()
