"""Parquet in and out, with the checksums of its pages verified and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tabweave.errors import TabweaveError

WRITTEN: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
"""How every file of ours is written."""
_DAMAGE = (pa.ArrowException, OSError)


def open_parquet(
    path: Path, refused: type[TabweaveError], then: str = ""
) -> pq.ParquetFile:
    """A file whose pages are verified when they are read, where it holds checksums.

    Args:
        path: The file.
        refused: Error for a file that cannot be opened.
        then: What to do about it, for the message.
    """
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except _DAMAGE as error:
        raise refused(
            f"{path}: is not a Parquet file, or its end is damaged ({error}).{then}"
        ) from error


def parquet_batches(
    path: Path,
    columns: Sequence[str],
    rows: int,
    refused: type[TabweaveError],
    then: str = "",
) -> Iterator[pa.RecordBatch]:
    """Record batches of the named columns, of at most so many rows.

    Args:
        path: The file.
        columns: Names of columns.
        rows: Most rows of a batch.
        refused: Error for a file that cannot be read, or whose checksums do not hold.
        then: What to do about it, for the message.
    """
    with open_parquet(path, refused, then) as file:
        try:
            yield from file.iter_batches(rows, columns=list(columns))
        except _DAMAGE as error:
            raise refused(f"{path}: is damaged ({error}).{then}") from error


def read_parquet(
    path: Path,
    columns: Sequence[str] | None,
    refused: type[TabweaveError],
    then: str = "",
) -> pa.Table:
    """The named columns as one table, all of them for None; see `parquet_batches`."""
    with open_parquet(path, refused, then) as file:
        try:
            return file.read(None if columns is None else list(columns))
        except _DAMAGE as error:
            raise refused(f"{path}: is damaged ({error}).{then}") from error
