"""The graph that turns a raw record into the inputs of a model."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from tabweave.errors import ExportError
from tabweave.export.config import LABEL, OUTPUT
from tabweave.export.graph.graph_builder import FLOAT, INT64, STRING, Graph, Tensor
from tabweave.export.graph.packing_graph import Chunks, find_borders, pack_chunks
from tabweave.export.graph.table_graph import prepare_table
from tabweave.export.graph.text_graph import tokenize
from tabweave.export.graph.wordpiece import read_wordpiece, why_not
from tabweave.preparation.reference import Preparation, input_names
from tabweave.text.config import TextField

DROPPED_TOKENS, DROPPED_CHARACTERS = "dropped_tokens", "dropped_characters"
RESERVED = (OUTPUT, LABEL)
"""Names of outputs of the whole pipeline; no input is called so."""


def preprocessing_inputs(
    preparation: Preparation,
    text_names: Sequence[tuple[str, str]],
    table_name: str,
) -> dict[str, str]:
    """Raw column -> name of its input in `preprocessing_model`, in order."""
    inner = [name for pair in text_names for name in pair]
    counts = [
        f"{one.name}_{what}"
        for one in preparation.fields
        for what in (DROPPED_TOKENS, DROPPED_CHARACTERS)
    ]
    columns = [column for column, _ in preparation.columns()]
    return input_names(columns, {*RESERVED, *inner, *counts, table_name})


def preprocessing_model(
    preparation: Preparation,
    *,
    text_names: Sequence[tuple[str, str]],
    table_name: str,
    opset: int,
) -> ModelProto:
    """A model from raw columns to token ids, masks and features.

    Its inputs are one vector [batch] per column that the model reads: strings for text
    and categories, float32 for numbers (NaN is missing), named by `preprocessing_inputs`.
    It gives ids and mask (int64 [batch, chunks, tokens]) for every text field,
    ``<field>_dropped_tokens`` and ``<field>_dropped_characters`` (int64 [batch]), and the
    features (float32 [batch, features]). A batch must have a row.

    Args:
        preparation: The fitted parts.
        text_names: Names of ids and mask for every text field.
        table_name: Name of the features.
        opset: Version of the standard operators, 20 or later.

    Raises:
        ExportError: The tokenizer of a field is not one that a graph can compute.
    """
    check_tokenizers(preparation)
    graph = Graph()
    names = preprocessing_inputs(preparation, text_names, table_name)
    columns = {
        column: graph.input(names[column], FLOAT if kind == "numeric" else STRING)
        for column, kind in preparation.columns()
    }
    texts: dict[str, tuple[Chunks, Tensor]] = {}
    for fields in _sharing(preparation):
        texts |= _prepare_texts(graph, preparation, fields, columns)
    for one, (ids_name, mask_name) in zip(preparation.fields, text_names, strict=True):
        chunks, dropped = texts[one.name]
        axes = ["batch", f"{one.name}_chunks", f"{one.name}_tokens"]
        graph.output(chunks.ids, ids_name, INT64, axes)
        graph.output(chunks.mask, mask_name, INT64, axes)
        counts = {DROPPED_TOKENS: chunks.dropped_tokens, DROPPED_CHARACTERS: dropped}
        for what, count in counts.items():
            graph.output(count, f"{one.name}_{what}", INT64, ["batch"])
    if preparation.features:
        features = prepare_table(graph, preparation, columns)
        graph.output(features, table_name, FLOAT, ["batch", len(preparation.features)])
    return graph.model("preprocessing", opset)


def check_tokenizers(preparation: Preparation) -> None:
    """Refuses tokenizers that a graph cannot compute.

    Raises:
        ExportError: The message names the field and what does not fit.
    """
    for one in preparation.fields:
        reason = why_not(preparation.tokenizers[one.name])
        if reason:
            raise ExportError(
                f"pipeline.onnx cannot hold the tokenizer of text field {one.name!r}: "
                f"{reason}. It can hold BERT-style WordPiece tokenizers, such as that of "
                "text.encoder: scratch. With this encoder use model.onnx and "
                "tokenizer.json."
            )


def _sharing(preparation: Preparation) -> list[list[TextField]]:
    """The text fields, those with equal tokenizers together."""
    groups: dict[str, list[TextField]] = {}
    for one in preparation.fields:
        groups.setdefault(preparation.tokenizers[one.name], []).append(one)
    return list(groups.values())


def _prepare_texts(
    graph: Graph,
    preparation: Preparation,
    fields: Sequence[TextField],
    columns: dict[str, Tensor],
) -> dict[str, tuple[Chunks, Tensor]]:
    """Chunks and dropped characters of text fields that share a tokenizer."""
    tables = read_wordpiece(preparation.tokenizers[fields[0].name])
    tokens = tokenize(graph, fields, columns, tables)
    borders = find_borders(graph, tokens)
    starts = graph.concat([0], tokens.row_ends.cut([0], [-1]))
    batch = graph.op("Shape", columns[fields[0].columns[0]])
    found = {}
    for number, one in enumerate(fields):
        part = batch * number, batch * (number + 1)
        rows = starts.cut(*part), tokens.row_ends.cut(*part)
        chunks = pack_chunks(graph, one, borders, rows, tables)
        found[one.name] = chunks, tokens.dropped_characters[number]
    return found
