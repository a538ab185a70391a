"""A file to be scored, batch by batch: its cells, what the model reads, what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.errors import Problems, SchemaError, readable, shorten
from tabweave.tables.cells import (
    CellRules,
    Fault,
    FoundFaults,
    Mask,
    readable_text,
    typed_numbers,
    typed_text,
)
from tabweave.tables.files import RawTable
from tabweave.tables.headers import check_header, check_room_for
from tabweave.tables.part_names import Keys
from tabweave.tables.parted_tables import Source, contradictions


@dataclass(frozen=True)
class ReadBatch:
    """Consecutive rows of a file.

    Attributes:
        first_row: Rows of the file before this batch.
        cells: Every column as it was written; bytes that are not UTF-8 show as U+FFFD.
        typed: Column that the model reads -> string or float32 array.
        faults: What does not fit, and the cells it was found in.
    """

    first_row: int
    cells: pa.RecordBatch
    typed: Mapping[str, pa.Array]
    faults: tuple[tuple[Fault, pa.Array], ...]

    @property
    def rejected(self) -> Mask:
        """Shape [rows]: which rows have a cell that does not fit."""
        found: Mask = np.zeros(self.cells.num_rows, bool)
        for fault, _ in self.faults:
            found |= fault.wrong
        return found

    def reasons(self, row: int) -> str:
        """What is wrong with a row of the batch."""
        return "; ".join(fault.reason for fault, _ in self.faults if fault.wrong[row])

    def text_bytes(self, columns: Iterable[str]) -> npt.NDArray[np.int64]:
        """Shape [rows]: bytes of text in each row."""
        total = np.zeros(self.cells.num_rows, np.int64)
        for name in columns:
            total += pc.binary_length(self.typed[name]).to_numpy()
        return total


@dataclass(frozen=True)
class Survey:
    """What there is in a file.

    Attributes:
        rows: Rows below the header.
        rejected: Rows that cannot be scored.
        repaired: Column -> byte sequences that became U+FFFD.
        doubts: Sentences about quotes that may join rows.
    """

    rows: int
    rejected: int
    repaired: Mapping[str, int]
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputFile:
    """A CSV, TSV or Parquet file, and what a model reads of it.

    Attributes:
        raw: The file.
        reads: Column that the model reads -> text, categorical or numeric.
        rules: How its cells are read.
        keys: Column and value that folders ``key=value`` say of all its rows.
    """

    raw: RawTable
    reads: Mapping[str, str]
    rules: CellRules
    keys: Keys = ()
    repairs: Counter[str] = field(default_factory=Counter, repr=False)

    def schema(self) -> pa.Schema:
        """Columns and types of the file."""
        return self.raw.schema()

    def batches(self, doubts: list[str] | None = None) -> Iterator[ReadBatch]:
        """All rows, in the order of the file.

        Args:
            doubts: Where sentences about quotes that may join rows are added.

        Raises:
            SchemaError: The file is no table: a row does not fit the header, a quote is
                not closed.
            ArtifactError: The file changed while it was read.
        """
        first_row = 0
        for batch in self.raw.unchecked(doubts=doubts):
            yield self._read(batch, first_row)
            first_row += batch.num_rows

    def _read(self, batch: pa.RecordBatch, first_row: int) -> ReadBatch:
        cells: list[pa.Array] = []
        typed: dict[str, pa.Array] = {}
        faults: list[tuple[Fault, pa.Array]] = []
        names, own = list(batch.schema.names), list(batch.columns)
        for key, value in self.keys:
            if key in names:
                faults += _contradiction(key, value, batch.column(key))
            else:
                names.append(key)
                own.append(pa.repeat(pa.scalar(value, pa.string()), batch.num_rows))
        for name, values in zip(names, own, strict=True):
            text, wrong, replaced = readable_text(name, values, self.rules)
            if replaced:
                self.repairs[name] += replaced
            faults += [(fault, text) for fault in wrong]
            cells.append(text)
            if name in self.reads:
                of_role = typed_numbers if self.reads[name] == "numeric" else typed_text
                found = of_role(name, text, self.rules)
                typed[name] = found.values
                faults += [(fault, text) for fault in found.faults]
        # The folders stay, so the rows that are written need no column of theirs.
        whole = pa.RecordBatch.from_arrays(
            cells[: batch.num_columns], schema=batch.schema
        )
        return ReadBatch(first_row, whole, typed, tuple(faults))

    def survey(self, *, may_reject: bool) -> Survey:
        """Reads the whole file once, before any row of it is scored.

        Args:
            may_reject: Whether rows that do not fit may be left to a file of rejects.

        Raises:
            SchemaError: A column has a type that its role cannot take, or rows do not
                fit and may not be rejected. The message lists everything.
        """
        found, rows, rejected, fits = FoundFaults(), 0, 0, True
        doubts: list[str] = []
        self.repairs.clear()
        for batch in self.batches(doubts):
            rows += batch.cells.num_rows
            rejected += int(batch.rejected.sum())
            for fault, values in batch.faults:
                found.add(fault, values, batch.first_row)
                fits &= fault.kind != "type"
        if not fits or (rejected and not may_reject):
            raise SchemaError(self.refusal(found, fits=fits))
        return Survey(rows, rejected, dict(self.repairs), tuple(doubts))

    def refusal(self, found: FoundFaults, *, fits: bool = True) -> str:
        """What is wrong with the file; `fits` where single rows may be left out."""
        problems = Problems(f"{self.raw.path} cannot be scored as it is")
        for sentence in found.sentences():
            problems.add(sentence)
        if not fits:
            return f"{problems}\nCorrect the columns, then score the file again."
        return (
            f"{problems}\nCorrect these rows, or let them go to a file of their own: "
            "score.rejects=<file> (tabweave score --rejects <file>)."
        )


def _contradiction(
    key: str, value: str, cells: pa.Array
) -> list[tuple[Fault, pa.Array]]:
    wrong = contradictions(cells, value)
    said = f"{readable(key)}={readable(value)}"
    reason = f"column {shorten(key)} holds another value than the folder, {said}"
    return [(Fault(reason, wrong), cells)] if wrong.any() else []


def check_fits(table: Source, reads: Sequence[str], added: Sequence[str]) -> None:
    """Refuses a table without the model's columns, or without room for new ones.

    Raises:
        SchemaError: Lists all such columns.
    """
    problems = Problems(f"{table.path} does not fit the model")
    check_header(table, reads, problems)
    problems.raise_as(SchemaError)
    check_room_for(added, [table], "then score the file again.")
