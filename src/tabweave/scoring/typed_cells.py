"""Raw cells become what the model reads, by the rules of the load stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tabweave.cells import (
    CellRules,
    Fault,
    FoundFaults,
    is_any,
    typed_numbers,
    typed_text,
)
from tabweave.delimited import NOT_UTF8
from tabweave.scoring.columns import Values
from tabweave.scoring.python_cells import Part, parts_of
from tabweave.utf8 import invalid_cells, repaired


def typed_columns(
    columns: Mapping[str, Values], read: Mapping[str, str], rules: CellRules
) -> tuple[dict[str, pa.Array], FoundFaults]:
    """The columns that the model reads, typed as the load stage types them.

    Returns:
        Column -> string or float32 array, and the cells that did not fit.
    """
    faults = FoundFaults()
    found = {}
    for name, kind in read.items():
        cells: list[pa.Array] = []
        for part in _parts(name, columns[name], kind):
            text, unreadable, _ = readable_text(name, part.values, rules)
            typed = typed_numbers if kind == "numeric" else typed_text
            result = typed(name, text, rules)
            for fault in (*part.faults, *unreadable, *result.faults):
                faults.add(fault, text if part.shown is None else part.shown)
            cells.append(result.values)
        found[name] = _merged(cells, kind)
    return found, faults


def readable_text(
    name: str, values: pa.Array, rules: CellRules
) -> tuple[pa.Array, tuple[Fault, ...], int]:
    """A column whose text is UTF-8, the cells that were not, and sequences replaced.

    With ``invalid_utf8: repair`` such cells are no fault, and what is replaced counts.
    """
    kind = values.type
    plain = values
    if pa.types.is_dictionary(kind):
        if not is_any(kind.value_type, "string large_string"):
            return values, (), 0
        if not invalid_cells(values.dictionary).any():
            return values, (), 0
        plain = values.dictionary_decode()
    if not is_any(plain.type, "string large_string"):
        return values, (), 0
    wrong = invalid_cells(plain)
    if not wrong.any():
        return values, (), 0
    text, count = repaired(plain, plain.type)
    text = text.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else text
    if rules.invalid_utf8 == "repair":
        return text, (), count
    return text, (Fault(f"column '{name}': {NOT_UTF8.rstrip('.')}", wrong),), 0


def _merged(cells: Sequence[pa.Array], kind: str) -> pa.Array:
    """One column of parts; where a part has no cell, another one may."""
    if len(cells) == 1:
        return cells[0]
    if kind == "numeric":
        return pc.coalesce(*cells)
    found = cells[0]
    for other in cells[1:]:
        found = pc.if_else(pc.equal(found, ""), other, found)
    return found


def _parts(name: str, values: Values, role: str) -> list[Part]:
    if isinstance(values, list):
        return parts_of(name, values, role)
    return [Part(values)]
