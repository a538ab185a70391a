"""Puts together what ``data_report.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tabweave.data_report import summaries
from tabweave.data_report.duplicates import duplicate_texts, shared_ids
from tabweave.data_report.findings import findings
from tabweave.data_report.leakage import leak_probe
from tabweave.schema import DataSchema


def data_report(
    tables: Mapping[str, pa.Table],
    schema: DataSchema,
    sources: Mapping[str, Mapping[str, Any]] | None = None,
    notes: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Counts per split, comparisons between splits, and what a reader must know.

    No cell is shown beyond 80 characters, and at most 3 ids of one kind.

    Args:
        tables: Split -> its typed table, train first.
        schema: Roles and classes.
        sources: Split -> what is known about its file.
        notes: Findings about the files themselves.
    """
    labels = summaries.display_names(schema.classes)
    lengths = {
        name: {split: summaries.text_lengths(t[name]) for split, t in tables.items()}
        for name in schema.text
    }
    edges = {
        name: summaries.length_edges(max(int(n.max(initial=0)) for n in found.values()))
        for name, found in lengths.items()
    }
    splits = {
        split: {
            **(sources or {}).get(split, {}),
            **_columns(table, schema, labels),
            "text_lengths": {
                name: summaries.length_summary(found[split], edges[name])
                for name, found in lengths.items()
            },
            **_against_train(tables, split, schema),
        }
        for split, table in tables.items()
    }
    report: dict[str, Any] = {
        "schema": _shown(schema, labels),
        "splits": splits,
        "text_length_edges": edges,
        "shared_ids": shared_ids(tables, schema),
        "duplicates": duplicate_texts(tables, schema),
        "leak_probe": leak_probe(tables["train"], schema) if "train" in tables else {},
    }
    return {**report, "findings": [*map(dict, notes), *findings(report)]}


def _columns(table: pa.Table, schema: DataSchema, labels: list[str]) -> dict[str, Any]:
    rows = table.num_rows
    classes = dict(zip(labels, summaries.class_rows(table, schema), strict=True))
    missing = summaries.missing_cells(table, schema)
    return {
        "rows": rows,
        "classes": classes,
        "class_shares": summaries.rates(classes, rows),
        "missing": missing,
        "missing_rates": summaries.rates(missing, rows),
        "constant": summaries.constant_columns(table, schema),
        "distinct": summaries.distinct_cells(table, schema),
        "numeric": {n: summaries.numeric_summary(table[n]) for n in schema.numeric},
    }


def _against_train(
    tables: Mapping[str, pa.Table], split: str, schema: DataSchema
) -> dict[str, Any]:
    if split == "train" or "train" not in tables:
        return {}
    unseen = summaries.unseen_categories(tables["train"], tables[split], schema)
    return {"unseen_categories": unseen}


def _shown(schema: DataSchema, labels: list[str]) -> dict[str, Any]:
    """The schema with its labels as the report writes them."""
    shown = {"classes": labels, "positive_label": labels[schema.positive_index]}
    return schema.model_dump(mode="json") | shown
