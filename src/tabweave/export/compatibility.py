"""The specification's artifact files, as tensors and plain values that run no code.

What the files hold is decided here; the catalog writes them. ``model.pth`` and
``model_artifacts.pth`` are enough to build the model again::

    artifacts = torch.load("model_artifacts.pth", weights_only=True)
    model = build_model(ModelSpec(**artifacts["model_spec"]))
    model.load_state_dict(torch.load("model.pth", weights_only=True))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from tokenizers import Tokenizer
from torch import Tensor

from tabweave.errors import ArtifactError, ExportError, shorten, some_of
from tabweave.models.classifier import Classifier
from tabweave.models.encoders.embedding import EmbeddingEncoder
from tabweave.models.encoders.text_encoder import TextEncoder
from tabweave.models.encoders.transformer_encoder import TransformerEncoder
from tabweave.schema import Parameters, probability_columns
from tabweave.tabular import RiskTables

Plain: TypeAlias = (
    bool | int | float | str | Tensor | list["Plain"] | dict[str, "Plain"] | None
)


def model_weights(model: Classifier) -> dict[str, Tensor]:
    """The content of ``model.pth``: every weight by its name, and nothing else."""
    return {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }


def model_artifacts(
    model: Classifier,
    *,
    config: Mapping[str, Any],
    tokenizers: Mapping[str, str],
    risk_tables: RiskTables,
) -> dict[str, Plain]:
    """The content of ``model_artifacts.pth``.

    ``embedding_mat`` and ``vocab`` are those of the first text field, None and empty
    where the model reads no text; ``vocabularies`` has every field of the model.

    Args:
        model: The trained model.
        config: All parameters or hyperparameters, by name.
        tokenizers: Text field -> its tokenizer.json.
        risk_tables: What categories become.

    Raises:
        ArtifactError: A text field of the model has no tokenizer.
        ExportError: `config` holds more than plain values.
    """
    spec, encoders = model.spec, model.text_encoders
    vocabularies = {
        field.name: _vocabulary(tokenizers, field.name) for field in spec.text
    }
    first = spec.text[0].name if spec.text else None
    content: dict[str, Any] = {
        "config": config,
        "model_class": spec.model.model_class,
        "model_spec": spec,
        "embedding_mat": word_embeddings(encoders[0]) if encoders else None,
        "vocab": vocabularies[first] if first is not None else {},
        "vocabularies": vocabularies,
        "categorical_processor_mappings": risk_tables.to_map(),
        "label_to_id": {label: number for number, label in enumerate(spec.classes)},
        "id_to_label": spec.classes,
    }
    return {name: plain(value, name) for name, value in content.items()}


def _vocabulary(tokenizers: Mapping[str, str], field: str) -> dict[str, int]:
    """Token -> id, in the order of the ids."""
    if field not in tokenizers:
        raise ArtifactError(
            f"Text field {field!r} of the model has no tokenizer; there are "
            f"{some_of(tokenizers)}.",
            stages=("text",),
        )
    found = Tokenizer.from_str(tokenizers[field]).get_vocab(with_added_tokens=True)
    return dict(sorted(found.items(), key=lambda entry: (entry[1], entry[0])))


def word_embeddings(encoder: TextEncoder) -> Tensor:
    """The vectors of all tokens [vocabulary, width] that a text encoder begins with.

    Raises:
        ExportError: It begins with something else.
    """
    if isinstance(encoder, TransformerEncoder):
        table = encoder.encoder.get_input_embeddings()
    elif isinstance(encoder, EmbeddingEncoder):
        table = encoder.embeddings
    else:
        table = None
    if not isinstance(table, torch.nn.Embedding):
        raise ExportError(
            f"{type(encoder).__name__} has no table of token embeddings for embedding_mat "
            "of model_artifacts.pth."
        )
    return table.weight.detach().cpu().contiguous()


def predict_results(predictions: pa.Table, classes: Sequence[str]) -> dict[str, Tensor]:
    """The content of ``predict_results.pth``, in the order of the rows.

    Args:
        predictions: As ``test.predictions`` of the catalog: label and ``prob_<class>``.
        classes: The classes in their order.

    Returns:
        ``y_true`` int64 [rows], numbers of the true classes, and ``y_pred`` float32
        [rows, classes], probabilities.

    Raises:
        ArtifactError: A column is missing, or a label is no class.
    """
    names = probability_columns(classes)
    missing = [n for n in ("label", *names) if n not in predictions.column_names]
    if missing:
        raise ArtifactError(
            f"The predictions have no column {some_of(missing)}; they have "
            f"{some_of(predictions.column_names)}.",
            stages=("evaluate",),
        )
    labels = predictions["label"].cast(pa.string())
    numbers = pc.index_in(labels, value_set=pa.array(classes, pa.string()))
    if numbers.null_count:
        wrong = pc.unique(labels.filter(pc.is_null(numbers))).to_pylist()
        raise ArtifactError(
            f"The predictions have the labels {some_of(wrong)}, which are not among the "
            f"classes {some_of(classes)}.",
            stages=("evaluate",),
        )
    columns = [predictions[name].to_numpy().astype(np.float32) for name in names]
    return {
        "y_true": torch.from_numpy(numbers.to_numpy().astype(np.int64)),
        "y_pred": torch.from_numpy(np.stack(columns, axis=1)),
    }


def plain(value: Any, name: str) -> Plain:
    """A copy in plain types, which `torch.load` reads with ``weights_only=True``.

    Tuples become lists and parameter groups dictionaries, as in JSON. Tensors stay.

    Args:
        value: The value.
        name: What messages call it.

    Raises:
        ExportError: There is something else inside; the message says where.
    """
    if isinstance(value, Parameters):
        value = value.model_dump(mode="json")
    if value is None or type(value) in (bool, int, str, Tensor):
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise ExportError(f"{name} is {value}, which is not a number.")
        return value
    if isinstance(value, list | tuple):
        return [plain(one, f"{name}[{place}]") for place, one in enumerate(value)]
    if isinstance(value, Mapping):
        strange = [key for key in value if type(key) is not str]
        if strange:
            raise ExportError(f"{name} has keys that are not text: {some_of(strange)}.")
        return {key: plain(one, f"{name}.{key}") for key, one in value.items()}
    raise ExportError(
        f"{name} is a {type(value).__name__} ({shorten(value)}), but the files for other "
        "tools hold only text, numbers, truth values, None, lists, dictionaries and "
        "tensors. Convert it before it is exported."
    )
