"""Rows that the parity gate compares: those that padding and chunks treat unlike others."""

from __future__ import annotations

from itertools import chain, zip_longest

import numpy as np
import numpy.typing as npt

from tabweave.batching.batches import Rows

OF_EACH_KIND = 4
"""Rows of each kind that are chosen; the others follow in the order of the file."""


def parity_rows(val: Rows, most: int) -> npt.NDArray[np.int64]:
    """At most so many row numbers, in order; the same ones every time.

    Of every text field there are rows without a text, the rows with most tokens and the
    rows with most chunks; further, rows without any text. One row of each kind comes
    before a second one of any, and where `most` leaves room, the first rows of the file.
    """
    kinds = [_rows_where(val.token_counts() == 0)] if val.columns else []
    for column in val.columns:
        chunks = np.diff(column.row_offsets)
        kinds.append(_rows_where(chunks == 0))
        kinds.append(_largest(column.token_counts()))
        kinds.append(_largest(chunks))
    in_turn = [row for turn in zip_longest(*kinds) for row in turn if row is not None]
    ranked = dict.fromkeys(chain(in_turn, range(min(most, len(val)))))
    return np.sort(np.fromiter(ranked, np.int64)[:most])


def _rows_where(chosen: npt.NDArray[np.bool_]) -> list[int]:
    return [int(row) for row in np.flatnonzero(chosen)[:OF_EACH_KIND]]


def _largest(counts: npt.NDArray[np.integer]) -> list[int]:
    """Rows with the largest counts; of equal ones the first."""
    order = np.argsort(-counts.astype(np.int64), kind="stable")
    return [int(row) for row in order[:OF_EACH_KIND]]
