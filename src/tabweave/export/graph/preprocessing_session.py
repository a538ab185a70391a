"""Runs the text part of a preprocessing model, as its comparison with training does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tabweave.export.graph.preprocessing import (
    DROPPED_CHARACTERS,
    DROPPED_TOKENS,
    preprocessing_inputs,
)
from tabweave.preparation.reference import Preparation

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FieldTokens:
    """The tokens of one text field for some rows.

    Attributes:
        ids: Shape [rows, chunks, tokens].
        mask: 1 for a token, 0 for padding; same shape.
        dropped_tokens: For each row.
        dropped_characters: For each row.
    """

    ids: Ints
    mask: Ints
    dropped_tokens: Ints
    dropped_characters: Ints


class PreprocessingSession:
    """Runs a preprocessing model on texts; numbers and categories are missing."""

    def __init__(
        self,
        model: bytes,
        preparation: Preparation,
        text_names: Sequence[tuple[str, str]],
        table_name: str,
    ) -> None:
        """Takes what `preprocessing_model` took, and the model that it gave."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._columns = preparation.columns()
        self._names = preprocessing_inputs(preparation, text_names, table_name)
        self._outputs = {
            one.name: [
                *text_names[number],
                f"{one.name}_{DROPPED_TOKENS}",
                f"{one.name}_{DROPPED_CHARACTERS}",
            ]
            for number, one in enumerate(preparation.fields)
        }

    def __call__(self, texts: pa.Table) -> dict[str, FieldTokens]:
        """The tokens of every text field."""
        feed = {
            self._names[name]: _input(texts, name, kind) for name, kind in self._columns
        }
        wanted = [name for names in self._outputs.values() for name in names]
        found = self._session.run(wanted, feed)
        return {
            field: FieldTokens(*found[4 * number : 4 * number + 4])
            for number, field in enumerate(self._outputs)
        }


def _input(texts: pa.Table, name: str, kind: str) -> npt.NDArray[Any]:
    if kind == "numeric":
        return np.full(texts.num_rows, np.nan, np.float32)
    if kind == "categorical":
        return np.full(texts.num_rows, "", object)
    return np.array(pc.fill_null(texts.column(name), "").to_pylist(), object)
