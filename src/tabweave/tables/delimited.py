"""CSV and TSV: every cell the text that was written, or a refusal that says where.

Nothing is guessed: no types, no missing values, no encoding. Row 1 is the first row below
the header, in every message.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from tabweave.errors import SchemaError, shorten
from tabweave.schema import Quoting
from tabweave.tables.quotes import Dialect, check_quotes, too_long

NOT_UTF8 = (
    "the cell is not UTF-8. Save the table as text in UTF-8, or let the load stage "
    "replace the bad bytes (data.invalid_utf8: repair)."
)
BLOCK_BYTES = 16 << 20
STRING = pa.string()
SHOWN = 3
BOM = "\ufeff"
_FOR_CSV: dict[Quoting | None, Any] = {
    None: csv.QUOTE_MINIMAL,
    "standard": csv.QUOTE_MINIMAL,
    "none": csv.QUOTE_NONE,
}
# First bytes of files that are often given the ending of a text table by mistake.
NOT_TEXT = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"PAR1\x15": "Parquet",
}


def read_header(path: Path, dialect: Dialect) -> list[str]:
    """The column names as written, in the order of the file.

    Raises:
        SchemaError: The file is empty, its first line is blank, or it is not UTF-8.
    """
    try:
        with open(
            path, encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as file:
            reader = csv.reader(
                file, delimiter=dialect.delimiter, quoting=_FOR_CSV[dialect.quoting]
            )
            header = next(reader, None)
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
    path: Path,
    dialect: Dialect,
    columns: Sequence[str],
    kind: pa.DataType = STRING,
    doubts: list[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Record batches of the named columns, in file order; every cell is a string.

    Blank lines are no rows. An empty cell is the empty string. With `kind` binary, the
    cells are the bytes that were written, whether they are UTF-8 or not.

    Args:
        path: The file.
        dialect: Delimiter and quoting.
        columns: Names in the header.
        kind: Type of the cells: string or binary.
        doubts: Where sentences of warning are added.

    Raises:
        SchemaError: A row does not fit the header, a quote is not closed, a cell is not
            UTF-8, a row is longer than a block, or the file reads in two ways.
    """
    header = read_header(path, dialect)
    quoted = dialect.quoting != "none"
    if quoted:
        found = check_quotes(path, dialect, len(header), BLOCK_BYTES)
        (doubts if doubts is not None else []).extend(found)
    misfits = _Misfits()
    try:
        with (
            _Blocks(path) as file,
            pa_csv.open_csv(
                file,
                read_options=pa_csv.ReadOptions(
                    block_size=BLOCK_BYTES, use_threads=False
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char='"' if quoted else False,
                    newlines_in_values=quoted,
                    invalid_row_handler=misfits.note,
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(header, kind),
                    include_columns=columns,
                    strings_can_be_null=False,
                ),
            ) as reader,
        ):
            for batch in reader:
                if not misfits.count:  # later rows would be counted wrongly
                    yield batch
    except pa.ArrowInvalid as error:
        # A header without a line end is no table for the parser; here it has no rows.
        if "Empty CSV file" not in str(error):
            fault = misfits.sentence or _fault(header, str(error))
            raise SchemaError(f"{path}: {fault}") from error
    if misfits.count:
        hint = "" if quoted else " Quotes are read as characters (quoting=none)."
        raise SchemaError(f"{path}: {misfits.sentence}{hint}")


@dataclass
class _Misfits:
    """Rows with more or fewer cells than the header: how many, and the first."""

    shown: list[str] = field(default_factory=list)
    count: int = 0

    def note(self, row: pa_csv.InvalidRow) -> str:
        """Counts a row; the reader goes on, so that the others are found, too."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(
                f"row {row.number - 1} has {row.actual_columns} cells, but the header has "
                f"{row.expected_columns} names: {shorten(row.text)}"
            )
        return "skip"

    @property
    def sentence(self) -> str:
        """All of them in one sentence, or ""."""
        more = self.count - len(self.shown)
        rest = f" and {more} more such rows" if more else ""
        return f"{'; '.join(self.shown)}{rest}." if self.shown else ""


def write_cells(
    file: BinaryIO,
    dialect: Dialect,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> None:
    """Writes batches so that `read_cells` reads them back with the same dialect.

    Raises:
        SchemaError: Without quotes, a cell or a name holds a delimiter or a line end.
    """
    delimiter = dialect.delimiter
    if dialect.quoting != "none":
        options = pa_csv.WriteOptions(delimiter=delimiter)
        with pa_csv.CSVWriter(file, schema, write_options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return
    problem = unwritable(schema.names, delimiter)
    if "\0" in "".join(schema.names):
        problem = "a name holds a NUL"
    if problem:
        raise SchemaError(f"The header cannot be written without quotes: {problem}.")
    header = delimiter.join(schema.names)
    # A mark in front of such a name is taken for that of the file and dropped.
    file.write((BOM if header.startswith(BOM) else "").encode())
    file.write(f"{header}\n".encode())
    row = 0
    for batch in batches:
        file.write(_lines_of(batch, delimiter, row))
        row += batch.num_rows


def _lines_of(batch: pa.RecordBatch, delimiter: str, row: int) -> bytes:
    """The rows of a batch without quotes; `row` rows were before them."""
    cells = [pc.fill_null(column.cast(STRING), "") for column in batch.columns]
    for name, column in zip(batch.schema.names, cells, strict=True):
        wrong = pc.match_substring_regex(column, f"[{delimiter}\r\n]")
        alone = pc.equal(column, "") if len(cells) == 1 else False
        at = pc.index(pc.or_(wrong, alone), True).as_py()
        if at >= 0:
            raise SchemaError(
                f"Column {shorten(name)} has in row {row + at + 1} the cell "
                f"{shorten(column[at].as_py())}, which cannot be written without quotes: "
                f"{unwritable([column[at].as_py()], delimiter)}."
            )
    lines = pc.binary_join_element_wise(*cells, delimiter).to_pylist()
    return "".join(f"{line}\n" for line in lines).encode()


def unwritable(cells: Sequence[str], delimiter: str) -> str:
    """Why cells cannot make a line without quotes, or "".

    Example:
        >>> unwritable(["a", 'say "b"'], ","), unwritable(["a,b"], ",")
        ('', "'a,b' holds a delimiter or a line end")
    """
    for cell in cells:
        if re.search(rf"[{delimiter}\r\n]", cell):
            return f"{shorten(cell)} holds a delimiter or a line end"
    return "" if any(cells) or len(cells) > 1 else "the line would be blank"


def _fault(header: Sequence[str], message: str) -> str:
    encoding = re.match(r"In CSV column #(\d+): Row #(\d+): .*invalid UTF8", message)
    if encoding:
        column, row_number = header[int(encoding[1])], int(encoding[2]) - 1
        return f"row {row_number}, column {shorten(column)}: {NOT_UTF8}"
    if "straddling object" in message:
        return too_long("a row", BLOCK_BYTES)
    return f"cannot be read with {len(header)} columns ({shorten(message)})."
