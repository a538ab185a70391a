"""All that turns a raw record into what a model reads, and the plain way to do it.

The graph of `tabweave.export.graph.preprocessing` does the same; the functions here use the
code that training used, and are what the graph is compared with.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ValidationError

from tabweave.errors import ArtifactError, ExportError
from tabweave.preparation.features import Source, feature_sources, transform_features
from tabweave.schema import DataSchema
from tabweave.tabular import Imputer, RiskTables, Scaler
from tabweave.text import TextField, tokenize_table

Kind = Literal["text", "categorical", "numeric"]
ColumnTexts = Mapping[str, Sequence[str]]

_SAFE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_INNER = ("pre_", "model_")
"""Names inside a pipeline.onnx begin with these."""


@dataclass(frozen=True)
class Preparation:
    """What turns a raw record into the inputs of a model.

    Attributes:
        schema: Roles of the columns.
        fields: The text fields that the model reads, in its order.
        tokenizers: Text field -> tokenizer.json.
        imputer: What missing numbers become.
        risk_tables: What categories become.
        scaler: How features are scaled.
        features: Features in the model's order; none if it reads no table.
    """

    schema: DataSchema
    fields: tuple[TextField, ...]
    tokenizers: Mapping[str, str]
    imputer: Imputer
    risk_tables: RiskTables
    scaler: Scaler
    features: tuple[str, ...]

    def sources(self) -> dict[str, Source]:
        """Where every feature that the model reads comes from, in its order.

        Raises:
            ExportError: The model reads a feature that the fitted parts do not give.
        """
        if not self.features:
            return {}
        known = feature_sources(self.schema, self.imputer, self.risk_tables)
        unknown = [name for name in self.features if name not in known]
        if unknown:
            raise ExportError(
                f"The model reads the features {unknown}, but the tabular stage gives "
                f"{list(known)}.",
                stages=("tabular", "train", "evaluate", "export"),
            )
        return {name: known[name] for name in self.features}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "schema": self.schema.to_json(),
            "fields": [one.model_dump(mode="json") for one in self.fields],
            "tokenizers": dict(self.tokenizers),
            "imputer": self.imputer.to_json(),
            "risk_tables": self.risk_tables.to_json(),
            "scaler": self.scaler.to_json(),
            "features": list(self.features),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preparation:
        """Inverse of `to_json`.

        Raises:
            ArtifactError: The value is not a preparation.
        """
        try:
            return cls(
                schema=DataSchema.from_json(value["schema"]),
                fields=tuple(TextField.model_validate(f) for f in value["fields"]),
                tokenizers=dict(value["tokenizers"]),
                imputer=Imputer.from_json(value["imputer"]),
                risk_tables=RiskTables.from_json(value["risk_tables"]),
                scaler=Scaler.from_json(value["scaler"]),
                features=tuple(value["features"]),
            )
        except (KeyError, TypeError, ValidationError) as error:
            raise ArtifactError(
                f"The preparation is damaged ({error!r}).", stages=("export",)
            ) from error

    def columns(self) -> list[tuple[str, Kind]]:
        """The raw columns that the model reads: text, categories, numbers."""
        read = {source.column for source in self.sources().values()}
        texts = dict.fromkeys(name for one in self.fields for name in one.columns)
        found: list[tuple[str, Kind]] = [(name, "text") for name in texts]
        found += [(n, "categorical") for n in self.schema.categorical if n in read]
        found += [(n, "numeric") for n in self.schema.numeric if n in read]
        return found


def input_names(
    columns: Sequence[str], reserved: Collection[str] = ()
) -> dict[str, str]:
    """The name of the graph input of every column: the column's own where it can be.

    A name that is no identifier, is reserved or begins as the names inside a graph do is
    replaced by ``column_`` and what is left of it.

    Args:
        columns: Names of the columns.
        reserved: Names that no input may have, such as those of the outputs.

    Example:
        >>> input_names(["price", "unit price", "label"], reserved=["label"])
        {'price': 'price', 'unit price': 'column_unit_price', 'label': 'column_label'}
    """
    names = {
        column: column
        for column in columns
        if _SAFE.fullmatch(column)
        and not column.startswith(_INNER)
        and column not in reserved
    }
    taken = {*names.values(), *reserved}
    for column in columns:
        if column not in names:
            names[column] = _free_name(column, taken)
            taken.add(names[column])
    return {column: names[column] for column in columns}


def _free_name(column: str, taken: Collection[str]) -> str:
    name = "column_" + re.sub("[^A-Za-z0-9_]+", "_", column).strip("_")
    number = 1
    found = name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


@dataclass(frozen=True)
class _TextsInMemory:
    """Texts where `tabweave.text` wants a table file."""

    table: pa.Table

    @property
    def num_rows(self) -> int:
        return int(self.table.num_rows)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        yield from self.table.select(list(columns)).to_batches(max_chunksize=rows)


def text_table(texts: ColumnTexts | pa.Table) -> pa.Table:
    """Texts by column as a table of strings."""
    if isinstance(texts, pa.Table):
        return texts
    return pa.table({name: pa.array(c, pa.string()) for name, c in texts.items()})


def reference_tokens(
    preparation: Preparation, texts: ColumnTexts | pa.Table
) -> pa.Table:
    """The token table that the text stage would write for these texts."""
    table: Any = _TextsInMemory(text_table(texts))
    return tokenize_table(table, preparation.fields, preparation.tokenizers).table


def reference_chunks(
    preparation: Preparation, texts: ColumnTexts | pa.Table
) -> dict[str, list[list[list[int]]]]:
    """Text field -> rows -> chunks -> token ids, as training reads them."""
    tokens = reference_tokens(preparation, texts)
    return {name: tokens.column(name).to_pylist() for name in tokens.column_names}


def reference_features(
    preparation: Preparation, table: pa.Table
) -> npt.NDArray[np.float32]:
    """The features [rows, features] that the tabular stage would write.

    Args:
        preparation: The fitted parts.
        table: All numeric and categorical columns of the schema; other columns are not
            looked at.
    """
    schema = preparation.schema
    rows = table.num_rows
    columns = {n: table.column(n) for n in (*schema.categorical, *schema.numeric)}
    # Neither has any influence, but the stage's table has them.
    columns[schema.id] = pa.array([""] * rows, pa.string())
    columns[schema.label] = pa.array([schema.classes[0]] * rows, pa.string())
    features = transform_features(
        pa.table(columns),
        schema,
        preparation.imputer,
        preparation.risk_tables,
        preparation.scaler,
    )
    found = [features.column(name).to_numpy() for name in preparation.features]
    return np.stack(found, axis=1) if found else np.empty((rows, 0), np.float32)
