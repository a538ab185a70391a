"""What the header of a user's file must hold, and what it must leave free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabweave.errors import Problems, SchemaError, did_you_mean, shorten, some_of
from tabweave.tables.delimited import unwritable
from tabweave.tables.files import DELIMITERS
from tabweave.tables.parted_tables import Source


def check_header(table: Source, wanted: Sequence[str], problems: Problems) -> bool:
    """Notes missing and repeated columns of a file; True when all wanted are there."""
    present = table.columns()
    before = len(problems.found)
    repeated = sorted({name for name in present if present.count(name) > 1})
    for name in repeated:
        if name in wanted:
            problems.add(f"{table.path}: column {name!r} appears more than once.")
    for name in wanted:
        if name not in present:
            hint = did_you_mean(name, present)
            if f'"{name}"' in present and table.quoting == "none":
                hint = " Its names are in quotes; read it with quoting=standard."
            problems.add(
                f"{table.path}: Column '{name}' not found in dataset.{hint} The file has "
                f"{some_of(present)}."
            )
    if len(present) == 1 and len(wanted) > 1:
        problems.add(
            f"{table.path}: the whole header is one column, {shorten(present[0])}. Is the "
            f"file delimited by something other than {DELIMITERS.get(table.format)!r}?"
        )
    return len(problems.found) == before


def check_room_for(
    added: Sequence[str],
    tables: Iterable[Source],
    then: str = "then run from load on.",
) -> None:
    """Refuses files that cannot get further columns of these names.

    Args:
        added: The names.
        tables: The files.
        then: What a user does after the columns are renamed.

    Raises:
        SchemaError: A file has a column of such a name, or two of one name; the message
            lists all of them.
    """
    problems = Problems("There is no room for the columns that the predictions add")
    for table in tables:
        present = table.columns()
        taken = [name for name in added if name in present]
        if taken:
            problems.add(f"{table.path}: has columns of these names, {some_of(taken)}.")
        delimiter = DELIMITERS.get(table.format)
        if table.quoting == "none" and delimiter is not None:
            fault = unwritable(added, delimiter)
            if fault:
                problems.add(
                    f"{table.path}: is read without quotes (quoting=none), but the name "
                    f"{fault}, so it cannot be written so."
                )
        repeated = sorted({name for name in present if present.count(name) > 1})
        if repeated:
            problems.add(
                f"{table.path}: columns {some_of(repeated)} appear more than once, so "
                "they could not be told apart."
            )
    if problems:
        raise SchemaError(f"{problems}\nRename these columns in the files, {then}")
