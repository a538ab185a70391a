"""Raw cells become what the model reads, by the rules of the load stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tabweave.scoring.columns import Values
from tabweave.scoring.python_cells import Part, parts_of
from tabweave.tables.cells import (
    CellRules,
    FoundFaults,
    readable_text,
    typed_numbers,
    typed_text,
)


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
