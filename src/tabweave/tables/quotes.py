"""Checks the quotes of a CSV or TSV: none may silently join rows or lose characters.

A cell that begins with a quote runs to the closing one, over line ends too. Where a file
was written by a program that knows no quotes, two stray ones would swallow all the rows
between them. What a file looks like tells the two apart, except where both readings fit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tabweave.errors import SchemaError, shorten, some_of
from tabweave.schema import Quoting

Span = tuple[int, int]
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

SHOWN = 3
BOM = b"\xef\xbb\xbf"
LINE_END = re.compile(rb"[\r\n]+")
REST_OF_LINE = re.compile(rb"[^\r\n]*")
SWITCH = (
    "data.quoting=none (a quote is a character like any other) or data.quoting=standard "
    "(cells in quotes may hold line ends); for tabweave score and init, --quoting"
)


@dataclass(frozen=True)
class Dialect:
    """How cells stand in a line.

    Attributes:
        delimiter: What stands between two cells.
        quoting: None, where a quote is a character like any other ("none"); where cells
            may be in quotes ("standard"); or the latter unless both would do (None).
    """

    delimiter: str
    quoting: Quoting | None = None


class AmbiguousQuotesError(SchemaError):
    """A file fits its header both with quotes and without, with other rows.

    Attributes:
        seen: The rows of both readings, and where they part.
    """

    def __init__(self, path: Path, seen: str) -> None:
        super().__init__(
            f"{path}: fits its header with quotes and without: {seen}. Say which it is: "
            f"{SWITCH}."
        )
        self.seen = seen


def check_quotes(path: Path, dialect: Dialect, fields: int, block: int) -> list[str]:
    """Looks through a file that is read with quotes, block by block.

    Args:
        path: The file.
        dialect: Of quoting None or standard; where the user has said standard, the
            file may fit its header both ways.
        fields: Names in the header.
        block: Bytes to look at together; a row is at most as long.

    Returns:
        Sentences of warning: cells that hold what looks like a whole row.

    Raises:
        SchemaError: A quote is not closed, or has text after the closing one; or a row
            is longer than a block, which would hide such a quote.
        AmbiguousQuotesError: Without quotes every line fits the header, too, and there
            are more rows.
    """
    delimiter = dialect.delimiter
    scan = _Scan(path, delimiter, fields, block)
    with open(path, "rb") as file:
        scan.read(file)
    in_doubt = scan.joined > 0 and dialect.quoting is None
    if in_doubt and _all_lines_fit(path, delimiter, fields, block):
        raise AmbiguousQuotesError(path, scan.both())
    return scan.doubts()


def too_long(row: str, block: int) -> str:
    """Says that a row does not fit in a block of so many bytes."""
    return (
        f"{row} is longer than {block >> 20} MiB, or begins a cell with a quote that is "
        "never closed. Save the file as Parquet, or, if its writer knows no quotes, read "
        "it with data.quoting=none (--quoting none)."
    )


def _all_lines_fit(path: Path, delimiter: str, fields: int, block: int) -> bool:
    """Whether every line has the cells of the header when quotes are characters.

    A file that needs its quotes mostly shows it at the first cell that is in quotes.
    """
    with open(path, encoding="latin-1") as file:
        lines = iter(partial(file.readline, block), "")
        return all(x == "\n" or x.count(delimiter) == fields - 1 for x in lines)


@dataclass
class _Scan:
    """Finds the cells that hold line ends, as a file is read."""

    path: Path
    delimiter: str
    fields: int
    block: int
    line: int = 1  # number of the next one
    lines: int = 0  # that are not blank
    joined: int = 0  # lines that are no rows, as a cell began before them
    first: str = ""
    like_rows: int = 0
    where: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        outside = rf"[^{self.delimiter}\r\n]"
        begin = rf'"(?<!{outside}")'
        end = rf"(?=[{self.delimiter}\r\n]|\Z)"
        one_line = rf'{begin}[^"\r\n]*+(?:""[^"\r\n]*+)*+"{end}'
        # A quote after any character of a cell is one of its characters.
        plain = rf'(?:[^"]++|(?<={outside})"|{one_line})*+'
        cell = rf'{begin}[^"]*+(?:""[^"]*+)*+(?P<closed>"(?P<fits>{end})?)?'
        self._cells = re.compile(rf"{plain}(?:(?P<cell>{cell})|\Z)".encode())

    def read(self, file: BinaryIO) -> None:
        """Looks through the whole file; memory holds one block and one row."""
        rest = file.read(len(BOM)).removeprefix(BOM)
        while text := file.read(self.block):
            rest = self._take(rest + text, last=False)
            if len(rest) > self.block:
                row = f"the row that begins in line {self.line}"
                raise SchemaError(f"{self.path}: {too_long(row, self.block)}")
        self._take(rest, last=True)

    def _take(self, text: bytes, *, last: bool) -> bytes:
        """Looks through the whole rows of a text; gives what follows them."""
        found = _regular_cells(text, self.delimiter, last=last)
        cells, limit = found or self._any_cells(text, last=last)
        end = len(text) if last else _end_of_rows(text, cells, limit)
        self._note(text[:end], cells)
        return text[end:]

    def _any_cells(self, text: bytes, *, last: bool) -> tuple[list[Span], int]:
        """As `_regular_cells`, whatever quotes there are; refuses the wrong ones."""
        cells: list[Span] = []
        limit = _usable(text)
        for found in self._cells.finditer(text):
            start, stop = found.span("cell")
            # The last byte of a block may be half of a quote that is written twice.
            if start >= 0 and not last and stop == len(text):
                limit = start
            elif start >= 0 and found["fits"] is None:
                raise SchemaError(self._wrong(text, start))
            elif start >= 0:
                cells.append((start, stop))
        return cells, limit

    def _note(self, text: bytes, cells: list[Span]) -> None:
        before = 0
        for start, stop in cells:
            parts = LINE_END.split(text[start:stop])
            self.first = self.first or self._line_at(text, start)
            # Each of the cells holds a line end: none lies before the last cell's begin.
            newline = text.rfind(b"\n", before, start)
            begin = 1 + max(newline, text.rfind(b"\r", max(newline, before), start))
            if self._looks_like_rows(parts, text, (begin, start, stop)):
                self.like_rows += 1
                if len(self.where) < SHOWN:
                    lines = self.lines + _count_lines(text[: start + 1])
                    self.where.append(lines - 1 - self.joined)
            before = start
            self.joined += len(parts) - 1
        self.lines += _count_lines(text)
        self.line += _line_ends(text)

    def _looks_like_rows(
        self, parts: list[bytes], text: bytes, places: tuple[int, int, int]
    ) -> bool:
        """Whether a line of a cell, or each line with what is around it, is as a row.

        Args:
            parts: The lines of the cell.
            text: What it stands in.
            places: Where the line of its begin begins, and where it begins and ends.
        """
        delimiter, wanted = self.delimiter.encode(), self.fields - 1
        begin, start, stop = places
        inside = text.count(delimiter, start, stop)
        if inside >= wanted and any(x.count(delimiter) == wanted for x in parts):
            return True
        end = REST_OF_LINE.match(text, stop)
        left, right = text[begin:start], end[0] if end else b""
        around = left.count(delimiter) + right.count(delimiter)
        if inside + around != wanted * len(parts):
            return False
        lines = [left + parts[0], *parts[1:-1], parts[-1] + right]
        return all(line.count(delimiter) == wanted for line in lines)

    def _line_at(self, text: bytes, place: int) -> str:
        """The number and the text of the line that a place is in."""
        begin = _end_of_rows(text, [], place)
        content = LINE_END.split(text[begin : place + 100])[0]
        number = self.line + _line_ends(text[:place])
        return f"line {number}: {shorten(content.decode('utf-8', 'replace'))}"

    def _wrong(self, text: bytes, start: int) -> str:
        line = self.line + _line_ends(text[:start])
        return (
            f"{self.path}: the cell that begins with a quote in line {line} has no "
            "closing quote, or has text after it. Put the whole cell in quotes and write "
            'each quote inside it as "", save the file as Parquet, or, if its writer '
            "knows no quotes, read it with data.quoting=none (--quoting none)."
        )

    def both(self) -> str:
        """The rows of both readings, and the first line that makes the difference."""
        return (
            f"{self.lines - 1 - self.joined:,} rows if cells may be in quotes, "
            f"{self.lines - 1:,} if a quote is a character like any other, from "
            f"{self.first} on"
        )

    def doubts(self) -> list[str]:
        """Sentences about cells that may be rows, joined by a stray quote."""
        if not self.like_rows:
            return []
        return [
            f"{self.like_rows:,} cells in quotes go over several lines, one of which, or "
            "each with what stands beside the cell, has as many delimiters as a whole "
            f"row; first in rows {some_of(self.where)}. If "
            "stray quotes join rows there, set data.quoting=none (--quoting none)"
        ]


def _usable(text: bytes) -> int:
    """Bytes of a block, but for what may be the first half of a line end."""
    return len(text) - text.endswith(b"\r")


def _regular_cells(
    text: bytes, delimiter: str, *, last: bool
) -> tuple[list[Span], int] | None:
    """The cells that hold line ends, where quotes stand only as a CSV writer sets them.

    Every second quote then ends what the one before began. That is quick to look for.

    Returns:
        First and last place of each such cell, and the place after which the text is not
        whole; None where there are other quotes.
    """
    characters = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(characters == ord('"'))
    if len(quotes) == 0:
        return [], _usable(text)
    if last and len(quotes) % 2:
        return None
    begins, ends = quotes[::2], quotes[1::2]
    border = np.zeros(256, bool)
    border[[ord(character) for character in f'{delimiter}\r\n"']] = True
    after = border[characters[np.minimum(ends + 1, len(text) - 1)]]
    before = border[characters[begins - 1]] | (begins == 0)
    if not (before.all() and after.all()):
        return None
    # A quote that is written twice ends a piece of a cell and begins the next one.
    first = np.flatnonzero(np.append(True, begins[1:] != ends[: len(begins) - 1] + 1))
    starts = begins[first]
    stops = (
        np.append(ends[first[1:] - 1], max(ends[-1:].max(initial=0), starts[-1])) + 1
    )
    limit = _usable(text)
    # The last byte of a block may be half of a quote that is written twice.
    if not last and (len(quotes) % 2 or quotes[-1] == len(text) - 1):
        limit, starts, stops = int(starts[-1]), starts[:-1], stops[:-1]
    return _over_lines(characters, starts, stops), limit


def _over_lines(characters: Bytes, starts: Places, stops: Places) -> list[Span]:
    """Those of the cells between these places that hold a line end."""
    line_ends = np.flatnonzero((characters == ord("\n")) | (characters == ord("\r")))
    cell = np.searchsorted(starts, line_ends) - 1
    line_ends, cell = line_ends[cell >= 0], cell[cell >= 0]
    found = np.unique(cell[line_ends < stops[cell]])
    return list(zip(starts[found].tolist(), stops[found].tolist(), strict=True))


def _end_of_rows(text: bytes, cells: list[Span], limit: int) -> int:
    """Where the last row ends that is whole before a limit; drops the cells after it."""
    while True:
        after = cells[-1][1] if cells else 0
        end = 1 + max(text.rfind(mark, after, limit) for mark in (b"\n", b"\r"))
        if end or not cells:
            return end
        limit = cells.pop()[0]


def _line_ends(text: bytes) -> int:
    returns = text.count(b"\r")
    return text.count(b"\n") + (returns and returns - text.count(b"\r\n"))


def _count_lines(text: bytes) -> int:
    """Lines that are not blank, of a text that begins with one."""
    characters = np.frombuffer(text, np.uint8)
    ends = (characters == ord("\n")) | (characters == ord("\r"))
    return int(np.count_nonzero(ends[:-1] & ~ends[1:])) + int(not ends[:1].all())
