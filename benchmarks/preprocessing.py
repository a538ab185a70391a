"""Seconds and memory from Parquet to model inputs, and ratios to the per-row way.

    python -m benchmarks.preprocessing --rows 1000000

Fabricates files, prepares them in a process of its own with the functions that the stages
call, measures the rivals of `benchmarks.per_row`, and ends with one JSON line. Ratios are
CPU seconds per row, the rival's to ours, one process each: on a shared machine wall time
says little.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import corpus, per_row, preparation
from benchmarks.arms import run
from benchmarks.project import ROOT
from tabweave.schema import DataSchema
from tabweave.tables.files import ArrowFile
from tabweave.tabular import (
    RiskTables,
    count_categories,
    cross_fitted,
    fit_risk_tables,
)
from tabweave.text import TextConfig, learn_or_load_tokenizers

MINILM = ROOT / ".cache" / "all-MiniLM-L6-v2" / "tokenizer.json"
BATCH, WARM_ROWS, APPLIED, REPEATS = 32, 100, 20_000, 3


def log(message: str) -> None:
    """Progress, away from the JSON line."""
    print(message, file=sys.stderr)


def fabricate(folder: Path, rows: int) -> str:
    """Writes the files and a tokenizer.json; gives the name of the tokenizer."""
    given = MINILM.is_file()
    words = corpus.frequent_words(MINILM.read_text("utf-8")) if given else []
    corpus.write_splits(folder, rows, words)
    if given:
        tokenizer = MINILM.read_text("utf-8")
    else:
        # The test split is the smallest that is large enough to learn from.
        learned = preparation.TableFile(folder / "test.parquet")
        schema = DataSchema(
            **corpus.CONFIG.model_dump(include={"id", "label", "text"}),
            classes=("0", "1"),
            positive_label="1",
        )
        field = preparation.text_field(schema)
        tokenizer = learn_or_load_tokenizers(learned, [field], TextConfig())["text"]
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return "all-MiniLM-L6-v2" if given else "learned"


def per_row_text(
    texts: list[str], schema: DataSchema, encode: per_row.Encode
) -> tuple[float, list[list[list[int]]]]:
    """Rows per CPU second of the per-row chain, and the chunks it gave."""
    one = preparation.text_field(schema)

    def rows(some: list[str]) -> list[list[list[int]]]:
        return [
            per_row.tokenize_row(text, encode, one.max_sen_len, one.max_total_chunks)
            for text in some
        ]

    rows(texts[:WARM_ROWS])
    started = time.process_time()
    chunks = rows(texts)
    return len(texts) / (time.process_time() - started), chunks


def compare_text(folder: Path, schema: DataSchema, sample: int) -> dict[str, float]:
    """The rival's rates on some rows, and on how many of them both agree."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    file = str(folder / "tokenizer.json")
    wrapped = PreTrainedTokenizerFast(tokenizer_file=file)
    bare = Tokenizer.from_file(file)
    bare.no_padding()
    bare.no_truncation()

    def by_transformers(text: str, special: bool) -> list[int]:
        return wrapped(text, add_special_tokens=special)["input_ids"]

    def by_tokenizers(text: str, special: bool) -> list[int]:
        return bare.encode(text, add_special_tokens=special).ids

    table = pq.read_table(folder / "train.parquet", columns=["text"])
    places = np.linspace(0, table.num_rows - 1, sample).astype(np.int64)
    texts = table["text"].take(places).to_pylist()
    rate, theirs = per_row_text(texts, schema, by_transformers)
    bare_rate, _ = per_row_text(texts, schema, by_tokenizers)
    tokens = ArrowFile(folder / "train_tokens.arrow").open()["text"]
    ours = [tokens[place].as_py() for place in places.tolist()]
    differing = [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
    limit = preparation.text_field(schema).max_sen_len - 2
    cut = [t for t in differing if is_cut_per_row(t, by_tokenizers, limit)]
    return {
        "rate": rate,
        "bare_rate": bare_rate,
        "equal": 1 - len(differing) / sample,
        "unexplained": len(differing) - len(cut),
    }


def is_cut_per_row(text: str, encode: per_row.Encode, limit: int) -> bool:
    """Whether the rival drops the end of a message longer than a chunk; ours go on."""
    messages = map(per_row.clean, per_row.split_messages(text))
    return any(len(encode(message, False)) > limit for message in messages)


def cpu_seconds(function: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds of one call; the best of `repeats`."""
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        function()
        best = min(best, time.process_time() - started)
    return best


def compare_risk(folder: Path, schema: DataSchema) -> dict[str, float]:
    """CPU seconds of risk tables: ours from dictionary codes, and the rival's.

    Both fit on train and give values to train and val; only ours are cross-fitted. The
    rival's row-wise apply is timed on some rows and scaled to all of them.
    """
    names = [schema.id, schema.label, *schema.categorical]
    train, val = (
        pq.read_table(
            preparation.table_file(folder, split).path,
            columns=names,
            read_dictionary=list(schema.categorical),
        )
        for split in ("train", "val")
    )
    settings = preparation.TABULAR.risk

    def ours() -> None:
        counts = count_categories(train.to_batches(), schema)
        fitted: RiskTables = fit_risk_tables(counts, schema, settings)
        cross_fitted(train, schema, fitted)
        fitted.transform(val)

    frames = [
        pd.DataFrame({name: table[name].to_pylist() for name in names}, dtype=object)
        for table in (train, val)
    ]
    tables: per_row.Tables = {}

    def fit() -> None:
        for column in schema.categorical:
            tables[column] = per_row.risk_table(
                frames[0], column, schema.label, settings
            )

    fitted = cpu_seconds(fit)
    some = frames[1].head(APPLIED)
    one_row = partial(per_row.risks_of_row, tables=tables)
    applied = cpu_seconds(lambda: some.apply(one_row, axis=1)) / len(some)
    mapped = [cpu_seconds(lambda f=f: per_row.map_columns(f, tables)) for f in frames]
    return {
        "ours": cpu_seconds(ours, REPEATS),
        "per_row": fitted + applied * (len(train) + len(val)),
        "per_column": fitted + sum(mapped),
    }


def gather_rate(folder: Path, batches: int) -> float:
    """Rows per second of random batches from the mapped tokens, in wall time."""
    from tabweave.batching.batches import TokenColumn

    column = TokenColumn(ArrowFile(folder / "train_tokens.arrow").open()["text"])
    rows = len(column.row_offsets) - 1
    index = np.random.default_rng(0).integers(0, rows, (batches, BATCH))
    for batch in index[: batches // 10]:
        column.gather(batch)
    started = time.perf_counter()
    for batch in index:
        column.gather(batch)
    return index.size / (time.perf_counter() - started)


def measure(folder: Path, rows: int, sample: int, batches: int) -> dict[str, Any]:
    """All figures of one run."""
    log(f"writing {rows:,} rows")
    tokenizer = fabricate(folder, rows)
    log("preparing them")
    ours = run("benchmarks.preparation", str(folder))
    schema = DataSchema(**ours["schema"])
    log("the per-row chain")
    text = compare_text(folder, schema, sample)
    log("risk tables, batches, memory of a rank")
    risk = compare_risk(folder, schema)
    rank, bare = (
        run("benchmarks.rank_memory", str(folder)),
        run("benchmarks.rank_memory"),
    )
    rate = rows / ours["cpu"]["text"]
    return {
        "benchmark": "preprocessing",
        "rows": rows,
        "text_seconds": round(ours["wall"]["text"], 2),
        "text_speedup_vs_per_row": round(rate / text["rate"], 1),
        "text_speedup_vs_per_row_bare_tokenizer": round(rate / text["bare_rate"], 1),
        "text_rows_equal_to_per_row": text["equal"],
        "text_rows_differing_though_per_row_cuts_nothing": text["unexplained"],
        "end_to_end_seconds": round(sum(ours["wall"].values()), 2),
        "end_to_end_cpu_seconds": round(sum(ours["cpu"].values()), 2),
        "peak_rss_mib": round(ours["peak_rss_mib"]),
        "load_peak_rss_mib": round(ours["load_peak_rss_mib"]),
        "stage_seconds": {k: round(v, 2) for k, v in ours["wall"].items()},
        "stage_cpu_seconds": {k: round(v, 2) for k, v in ours["cpu"].items()},
        "risk_speedup_vs_crosstab": round(risk["per_row"] / risk["ours"], 1),
        "risk_speedup_vs_crosstab_and_map": round(risk["per_column"] / risk["ours"], 1),
        "risk_cpu_seconds": {k: round(v, 2) for k, v in risk.items()},
        "gather_rows_per_second": round(gather_rate(folder, batches)),
        "rank_private_mib": None if rank is None else round(rank - bare, 1),
        "settings": {
            "tokenizer": tokenizer,
            "per_row_sample": sample,
            "batch_size": BATCH,
            "cores": os.cpu_count(),
            "pyarrow_threads": pa.cpu_count(),
        },
    }


def main() -> None:
    """Runs everything in a temporary folder and prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=2_000, help="rows of the rival")
    parser.add_argument("--batches", type=int, default=20_000, help="that are gathered")
    options = parser.parse_args()
    given = (options.rows, options.sample, options.batches)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), *given)))


if __name__ == "__main__":
    main()
