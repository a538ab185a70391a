"""Made-up raw rows that fit a model: a bundle can be tried without a row of a user.

They are put together from what the bundle holds anyhow: entries of the vocabulary,
categories of the risk tables, mean and spread of the numbers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from tabweave.batching.batches import LABEL, ROW_ID, Rows
from tabweave.bundle.sample import Cell
from tabweave.preparation.features import number_name
from tabweave.preparation.reference import (
    Preparation,
    reference_features,
    reference_tokens,
)
from tabweave.tables.cells import CellRules, typed_numbers
from tabweave.tables.files import ArrowFile, write_arrow
from tabweave.text import TextField
from tabweave.text.dialogue import BEGIN, END

ROWS = 16
UNSEEN = "made-up category"
LONGEST = 600
"""Words of the longest text: a sample is scored whenever a bundle is."""
WORDS = ("where", "order", "parcel", "please", "thanks", "price", "today", "number")
"""For columns that have no vocabulary."""
OTHER_WRITING = "Größe naïve Привет 日本語 한국어 العربية 😀 e\u0301"
SPREADS = (0.0, 1.0, -1.0, 2.5, -2.5, 0.25)
LARGEST = float(np.finfo(np.float32).max)


def synthetic_rows(
    preparation: Preparation, rules: CellRules, rows: int = ROWS
) -> list[dict[str, Cell]]:
    """Raw rows with every kind of cell that a model meets, the same in every export.

    Texts are missing, short, longer than a chunk, of several messages where the field
    splits dialogues, with markup and in other writing; categories known, missing and
    never seen; numbers missing and around the mean. What the rules take for missing, such
    as -1, is missing here, and no text is longer than they allow.

    Args:
        preparation: The fitted parts.
        rules: How whoever scores the rows reads their cells.
        rows: How many.
    """
    source = random.Random(0)  # noqa: S311 - equal rows in every run, no secret
    columns: dict[str, list[Cell]] = {}
    for number, (name, kind) in enumerate(preparation.schema.kinds.items()):
        if kind == "text":
            cells = _cut(_texts(preparation, name, source), rules)
        elif kind == "categorical":
            cells = _cut(_categories(preparation, name), rules)
        else:
            cells = _numbers(preparation, name, rules)
        # Shifted, so that not all cells of one row are missing.
        columns[name] = [cells[(row + number) % len(cells)] for row in range(rows)]
    return [{name: columns[name][row] for name in columns} for row in range(rows)]


def _texts(preparation: Preparation, name: str, source: random.Random) -> list[str]:
    readers = [one for one in preparation.fields if name in one.columns]
    known = _words(preparation.tokenizers[readers[0].name]) if readers else WORDS

    def some(count: int) -> str:
        return " ".join(source.choices(known, k=count))

    splits = any("dialogue_splitter" in one.steps for one in readers)
    messages = [some(4), f"{some(2)}?", some(7)]
    together = f" {END} {BEGIN} ".join(messages)
    return [
        some(6),
        "",
        some(_more_than_a_chunk(readers)),
        f"{OTHER_WRITING} {some(3)}",
        f"{BEGIN} {together} {END}" if splits else ". ".join(messages),
        f"<p>{some(2)}</p> &amp; 5 &lt; 7.50 {some(2)}!",
        some(1),
        *(some(count) for count in (2, 9, 15, 24, 40)),
    ]


def _more_than_a_chunk(readers: Sequence[TextField]) -> int:
    longest = max((one.max_sen_len for one in readers), default=0)
    return min(longest + longest // 4 + 1, LONGEST)


def _words(tokenizer_json: str) -> tuple[str, ...]:
    """Entries of a vocabulary that are words, whatever marks their begin or end."""
    found = {
        piece.strip("Ġ▁").removesuffix("</w>")
        for piece in Tokenizer.from_str(tokenizer_json).get_vocab()
        if not piece.startswith("##")
    }
    return (
        tuple(sorted(one for one in found if len(one) > 1 and one.isalpha())) or WORDS
    )


def _categories(preparation: Preparation, name: str) -> list[str]:
    known = sorted(set(preparation.risk_tables.columns[name].bins) - {"", UNSEEN})
    return [*known[: ROWS - 2], "", UNSEEN]


def _cut(texts: Sequence[str], rules: CellRules) -> list[Cell]:
    """Texts of whole characters, none of more bytes than a cell may have."""
    return [
        text.encode()[: rules.max_cell_bytes].decode(errors="ignore") for text in texts
    ]


def _numbers(preparation: Preparation, name: str, rules: CellRules) -> list[Cell]:
    scaling = preparation.scaler.features[number_name(name)]
    around = [scaling.mean + spread * scaling.std for spread in SPREADS]
    filled = preparation.imputer.columns[name].value
    single = np.clip([*around, filled], -LARGEST, LARGEST).astype(np.float32)
    # The shortest decimal number that is this float32 again.
    numbers = [*(float(str(value)) for value in single), None]
    read = typed_numbers(name, pa.array(numbers, pa.float64()), rules).values
    return [
        number if there else None
        for number, there in zip(numbers, read.is_valid().to_pylist(), strict=True)
    ]


def prepared_rows(
    preparation: Preparation, rows: Sequence[Mapping[str, Cell]], folder: Path
) -> Rows:
    """Raw rows as the model reads them, by the code that training used.

    Args:
        preparation: The fitted parts.
        rows: Raw rows with all feature columns.
        folder: Where files may lie as long as the result is used.
    """
    kinds = preparation.schema.kinds
    types = {"numeric": pa.float32()}
    table = pa.table(
        {
            name: pa.array([row[name] for row in rows], types.get(kind, pa.string()))
            for name, kind in kinds.items()
        }
    )
    texts = {name for one in preparation.fields for name in one.columns}
    tokens, features = folder / "tokens.arrow", folder / "features.arrow"
    write_arrow(tokens, reference_tokens(preparation, table.select(sorted(texts))))
    values = reference_features(preparation, table)
    columns: dict[str, Any] = dict(zip(preparation.features, values.T, strict=True))
    about = {ROW_ID: [""] * len(rows), LABEL: pa.array([0] * len(rows), pa.int64())}
    write_arrow(features, pa.table(about | columns))
    read = [one.name for one in preparation.fields]
    return Rows(ArrowFile(tokens), ArrowFile(features), read)
