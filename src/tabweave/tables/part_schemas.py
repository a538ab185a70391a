"""Whether the columns of several files are those of one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from tabweave.errors import Problems, some_of
from tabweave.tables.cells import is_any


def merged_schema(
    common: pa.Schema,
    schema: pa.Schema,
    names: tuple[str, str],
    problems: Problems,
) -> pa.Schema:
    """The columns of the first file, with types that hold those of another one, too.

    Args:
        common: Of the first file, and of those that are merged already.
        schema: Of another file; its columns may come in another order.
        names: What messages call the first and the other file.
        problems: Receives columns that the other file lacks or has in addition, and
            types that do not go together.
    """
    first, other = names
    if Counter(common.names) != Counter(schema.names) or (
        len(set(common.names)) < len(common.names) and common.names != schema.names
    ):
        problems.add(f"{other}: {_difference(common, schema, first)}")
        return common
    fields = []
    for known, here in zip(common, _in_order(schema, common), strict=True):
        kind = common_type(known.type, here.type)
        if kind is None:
            problems.add(
                f"{other}: column {known.name!r} has type {here.type}, but in "
                f"{first} it is {known.type}; write both alike."
            )
        nullable = known.nullable or here.nullable
        fields.append(known.with_type(kind or known.type).with_nullable(nullable))
    return pa.schema(fields, metadata=common.metadata)


def _in_order(schema: pa.Schema, like: pa.Schema) -> Iterable[pa.Field]:
    if schema.names == like.names:
        return schema
    return [schema.field(name) for name in like.names]


def _difference(common: pa.Schema, schema: pa.Schema, first: str) -> str:
    lacks = [name for name in common.names if name not in schema.names]
    more = [name for name in schema.names if name not in common.names]
    said = [f"lacks the columns {some_of(lacks)}"] if lacks else []
    said += [f"has further columns {some_of(more)}"] if more else []
    said = said or ["has columns of one name in another order or number"]
    return f"{' and '.join(said)}; {first} has {some_of(common.names)}."


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """A type that holds the values of both; None where there is none without a change.

    Numbers of several widths, whole and fractional ones, texts with and without a
    dictionary and columns that are null throughout go together.
    """
    if one == other:
        return one
    kinds = [k.value_type if pa.types.is_dictionary(k) else k for k in (one, other)]
    for alone in ("string large_string", "decimal", "binary large_binary"):
        # Arrow would make bytes of texts, and inexact numbers of decimals.
        if len({is_any(k, alone) for k in kinds if not pa.types.is_null(k)}) > 1:
            return None
    try:
        both = [pa.schema([("c", kind)]) for kind in kinds]
        return pa.unify_schemas(both, promote_options="permissive").field("c").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None
