"""Numbers and categories to scaled features, in a graph, bit for bit as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tabweave.export.graph.graph_builder import DOUBLE, FLOAT, Graph, Tensor
from tabweave.preparation.features import Source
from tabweave.preparation.reference import Preparation


def prepare_table(
    graph: Graph, preparation: Preparation, columns: Mapping[str, Tensor]
) -> Tensor:
    """The features [batch, features] in the model's order.

    Args:
        graph: Where the nodes go.
        preparation: The fitted imputation, risk tables and scaling.
        columns: Raw column -> its values [batch].
    """
    sources = preparation.sources()
    parts: dict[str, Tensor] = {}
    numeric = [n for n, source in sources.items() if source.kind == "number"]
    missing = [n for n, source in sources.items() if source.kind == "missing"]
    if numeric:
        parts |= {"numeric": _numbers(graph, preparation, columns, numeric)}
    if missing:
        gaps = graph.op("IsNaN", _beside(graph, columns, [sources[n] for n in missing]))
        parts |= {"missing": gaps.cast(FLOAT)}
    order = [*numeric, *missing]
    for name, names in _by_category(sources).items():
        parts[f"risk {name}"] = _risks(graph, preparation, columns[name], names)
        order += names
    found = graph.concat(*parts.values(), axis=1)
    if order == list(sources):
        return found
    return graph.op("Gather", found, [order.index(n) for n in sources], axis=1)


def _beside(
    graph: Graph, columns: Mapping[str, Tensor], sources: Sequence[Source]
) -> Tensor:
    """Columns [batch] as one matrix [batch, columns]."""
    return graph.concat(*(columns[s.column].column() for s in sources), axis=1)


def _by_category(sources: Mapping[str, Source]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for feature, source in sources.items():
        if source.kind == "risk":
            found.setdefault(source.column, []).append(feature)
    return found


def _numbers(
    graph: Graph,
    preparation: Preparation,
    columns: Mapping[str, Tensor],
    features: Sequence[str],
) -> Tensor:
    """Imputed in float32, scaled in float64, given in float32, as training does."""
    sources = preparation.sources()
    raw = _beside(graph, columns, [sources[name] for name in features])
    filled_in = [
        preparation.imputer.columns[sources[name].column].value for name in features
    ]
    scalings = [preparation.scaler.features[name] for name in features]
    filled = graph.select(
        graph.op("IsNaN", raw), np.array(filled_in, np.float32), raw
    ).cast(DOUBLE)
    centred = filled - np.array([scaling.mean for scaling in scalings])
    return (centred // np.array([scaling.std for scaling in scalings])).cast(FLOAT)


def _risks(
    graph: Graph, preparation: Preparation, column: Tensor, features: Sequence[str]
) -> Tensor:
    """The scaled risk values of a category: constants, looked up by its name."""
    sources = preparation.sources()
    source = sources[features[0]]
    table = preparation.risk_tables.columns[source.column]
    # A missing category is the empty text, which train may or may not have shown.
    known = {**table.bins, "": table.bins.get("", table.default)}
    values = np.array([*known.values(), table.default], np.float64)
    scaled = [
        preparation.scaler.features[name].apply(values[:, sources[name].target])
        for name in features
    ]
    row = graph.lookup(column, list(known), list(range(len(known))), len(known))
    return graph.constant(np.stack(scaled, axis=1))[row]
