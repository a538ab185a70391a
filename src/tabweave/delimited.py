"""Reads CSV and TSV: every cell the text that was written, or a refusal that says where.

Nothing is guessed: no types, no missing values, no encoding. Row 1 is the first row below
the header, in every message.
"""

from __future__ import annotations

import csv
import io
import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from tabweave.errors import SchemaError, shorten

NOT_UTF8 = (
    "the cell is not UTF-8. Save the table as text in UTF-8, or let the load stage "
    "replace the bad bytes (data.invalid_utf8: repair)."
)
BLOCK_BYTES = 16 << 20
STRING = pa.string()
# First bytes of files that are often given the ending of a text table by mistake.
NOT_TEXT = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"PAR1\x15": "Parquet",
}


def read_header(path: Path, delimiter: str) -> list[str]:
    """The column names as written, in the order of the file.

    Raises:
        SchemaError: The file is empty, its first line is blank, or it is not UTF-8.
    """
    try:
        with open(
            path, encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as file:
            header = next(csv.reader(file, delimiter=delimiter), None)
    except csv.Error as error:
        raise SchemaError(f"{path}: the header cannot be read ({error}).") from error
    if header is None:
        raise SchemaError(f"{path}: the file is empty; it has no header.")
    if not header:
        raise SchemaError(
            f"{path}: the first line is blank; it must hold the column names."
        )
    with open(path, "rb") as file:
        start = file.read(8)
    kind = next((kind for mark, kind in NOT_TEXT.items() if start.startswith(mark)), "")
    if kind or re.search("[\0\udc80-\udcff]", "".join(header)):
        hint = kind and f"; the file looks like {kind}"
        raise SchemaError(
            f"{path}: the header is not UTF-8{hint}. Save the table as text in UTF-8."
        )
    return header


class _Blocks(io.FileIO):
    """A file whose blocks never end between the two characters of a line end.

    Arrow takes such a pair for one line end, and loses the second one inside a cell.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size) or b""
        while block.endswith(b"\r") and (following := super().read(1)):
            if len(block) > 1:
                self.seek(-2, io.SEEK_CUR)
                return block[:-1]
            block += following
        return block


def read_cells(
    path: Path, delimiter: str, columns: Sequence[str], kind: pa.DataType = STRING
) -> Iterator[pa.RecordBatch]:
    """Record batches of the named columns, in file order; every cell is a string.

    Blank lines are no rows. An empty cell is the empty string. With `kind` binary, the
    cells are the bytes that were written, whether they are UTF-8 or not.

    Raises:
        SchemaError: A row does not fit the header, a quote is not closed, a cell is not
            UTF-8, or a row is longer than a block.
    """
    header = read_header(path, delimiter)
    _check_quotes(path, delimiter)
    misfits: list[pa_csv.InvalidRow] = []
    try:
        with (
            _Blocks(path) as file,
            pa_csv.open_csv(
                file,
                read_options=pa_csv.ReadOptions(
                    block_size=BLOCK_BYTES, use_threads=False
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=lambda row: _noted(row, misfits),
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(header, kind),
                    include_columns=columns,
                    strings_can_be_null=False,
                ),
            ) as reader,
        ):
            yield from reader
    except pa.ArrowInvalid as error:
        # A header without a line end is no table for the parser; here it has no rows.
        if "Empty CSV file" not in str(error):
            fault = _fault(misfits, header, str(error))
            raise SchemaError(f"{path}: {fault}") from error


def _noted(row: pa_csv.InvalidRow, misfits: list[pa_csv.InvalidRow]) -> str:
    misfits.append(row)
    return "error"


def _check_quotes(path: Path, delimiter: str) -> None:
    """Refuses quotes that would join rows or lose characters.

    A cell that begins with a quote runs to the closing one, over line ends too: one
    forgotten quote would silently swallow all rows up to the next.
    """
    start = rf'(?:(?<![^{delimiter}\r\n])|(?<=\A\xef\xbb\xbf))"'
    whole = rf'{start}[^"]*(?:""[^"]*)*"(?=[{delimiter}\r\n]|\Z)'
    cells = re.compile(rf"{whole}|(?P<wrong>{start})".encode())
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        for cell in cells.finditer(content):
            if cell.lastgroup == "wrong":
                line = content[: cell.start()].count(b"\n") + 1
                raise SchemaError(
                    f"{path}: the cell that begins with a quote in line {line} has no "
                    "closing quote, or has text after it. Put the whole cell in quotes "
                    'and write each quote inside it as "", or save the file as Parquet.'
                )


def _fault(
    misfits: Sequence[pa_csv.InvalidRow], header: Sequence[str], message: str
) -> str:
    if misfits:
        row = misfits[0]
        return (
            f"row {row.number - 1} has {row.actual_columns} cells, but the header has "
            f"{row.expected_columns} names: {shorten(row.text)}."
        )
    encoding = re.match(r"In CSV column #(\d+): Row #(\d+): .*invalid UTF8", message)
    if encoding:
        column, row_number = header[int(encoding[1])], int(encoding[2]) - 1
        return f"row {row_number}, column {shorten(column)}: {NOT_UTF8}"
    if "straddling object" in message:
        return (
            f"a row is longer than {BLOCK_BYTES >> 20} MiB. Save the file as Parquet."
        )
    return f"cannot be read with {len(header)} columns ({shorten(message)})."
