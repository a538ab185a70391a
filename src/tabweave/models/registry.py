"""Builds, saves and loads models: a description and weights, never code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tabweave.errors import ArtifactError, ConfigError
from tabweave.models.classifier import Classifier
from tabweave.models.config import (
    ModelConfig,
    ModelSpec,
    TextFieldSpec,
    check_text_fields,
)
from tabweave.models.encoders.adaptation import adapt, check_adaptation, merge_adapters
from tabweave.models.encoders.encoder_config import (
    pretrained_encoder_config,
    scratch_encoder_config,
)
from tabweave.models.weights import (
    check_finite,
    check_repeats,
    check_shapes,
    shapes_of,
    stored_shapes,
)
from tabweave.preparation.features import NUMBER
from tabweave.storage.artifacts import read_json, replacing_folder, write_json

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class TextInput:
    """A text field as the text stage left it: what a model needs to know of it."""

    name: str
    encoder: str
    vocabulary_size: int
    pad_id: int
    max_sen_len: int
    max_total_chunks: int


def choose_fields(config: ModelConfig, fields: Sequence[TextInput]) -> list[TextInput]:
    """The text fields that an architecture takes.

    Raises:
        ConfigError: There are more or fewer fields than it takes.
    """
    check_text_fields(config, [field.name for field in fields])
    return [] if config.architecture.fields == 0 else list(fields)


def describe_model(
    config: ModelConfig,
    fields: Sequence[TextInput],
    features: Sequence[str],
    classes: Sequence[str],
    bins: Sequence[Sequence[float]] = (),
) -> ModelSpec:
    """The full description of the model that the parameters ask for.

    Args:
        config: The architecture and its sizes.
        fields: The text fields there are.
        features: Names of the table's features, in order.
        classes: The classes, in order.
        bins: Edges of the bins of every numeric feature, for a piecewise embedding.

    Raises:
        ConfigError: The parts do not fit together, or an encoder cannot be found.
    """
    parts = config.architecture
    if parts.text == "none" and not features:
        raise ConfigError(
            f"model.model_class {config.model_class!r} reads only the table, but there is "
            "no categorical or numeric column. Name some under data, or choose another "
            "model_class."
        )
    numeric = [name for name in features if name.startswith(NUMBER)]
    wants_bins = parts.table and config.numeric_embedding.kind == "piecewise"
    if wants_bins and numeric and not bins:
        raise ConfigError(
            f"model.numeric_embedding piecewise needs bins for {len(numeric)} numeric "
            "features: give those of quantile_edges over the train split, or take kind "
            "linear or periodic."
        )
    chosen = choose_fields(config, fields)
    text = tuple(
        TextFieldSpec(
            name=field.name,
            max_sen_len=field.max_sen_len,
            max_total_chunks=field.max_total_chunks,
            pad_id=field.pad_id,
            encoder=_encoder_config(config, field),
        )
        for field in chosen
    )
    spec = ModelSpec(
        model=config,
        text=text,
        features=tuple(features) if parts.table else (),
        classes=tuple(classes),
        bins=tuple(tuple(edges) for edges in bins) if parts.table else (),
    )
    check_adaptation(spec, tuple(field.encoder for field in chosen))
    return spec


def _encoder_config(config: ModelConfig, field: TextInput) -> dict[str, object]:
    if field.encoder == "scratch":
        return scratch_encoder_config(
            config.scratch, field.vocabulary_size, field.max_sen_len, field.pad_id
        )
    found = pretrained_encoder_config(field.encoder, field.max_sen_len)
    if found["vocab_size"] < field.vocabulary_size:
        raise ConfigError(
            f"The tokenizer of text field {field.name!r} has {field.vocabulary_size} "
            f"tokens, but the encoder {field.encoder!r} knows {found['vocab_size']}. "
            "tokenizer.json and config.json of that folder do not belong together."
        )
    return found


def build_model(spec: ModelSpec, encoders: Sequence[str] | None = None) -> Classifier:
    """A new model to train; with `encoders`, its text encoders take pretrained weights.

    Args:
        spec: The description.
        encoders: Per text field a folder or hub id, or "scratch" for random weights.

    Raises:
        ConfigError: Pretrained weights cannot be loaded.
    """
    model = Classifier(spec)
    sources = encoders or ["scratch"] * len(spec.text)
    for encoder, source in zip(model.text_encoders, sources, strict=True):
        if source != "scratch":
            encoder.load_pretrained(source)
        adapt(encoder, spec.model, pretrained=source != "scratch")
    return model


def save_model(model: Classifier, folder: Path) -> None:
    """Writes ``model.safetensors`` and ``config.json``, both or none.

    Low-rank adapters are merged into the model first.
    """
    merge_adapters(model)
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    with replacing_folder(folder) as part:
        _write_weights(weights, part / WEIGHTS)
        write_json(part / CONFIG, model.spec.model_dump(mode="json"))


def _write_weights(weights: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(weights, path, metadata={"format": "pt"})
    except SafetensorError as error:  # its own kind of error, for a full disk too
        raise OSError(str(error)) from error


def load_model(folder: Path) -> Classifier:
    """Reads a model that `save_model` wrote; no code of the folder is run.

    Raises:
        ArtifactError: A file is missing, damaged, or does not fit the other.
    """
    folder = Path(folder)
    try:
        spec = _checked_spec(folder)
        weights = load_file(folder / WEIGHTS)
        check_finite(weights)
        model = Classifier(spec)
        model.load_state_dict(weights)
    except (
        # What torch, transformers and pydantic raise at a description that is not ours.
        ValueError,
        TypeError,
        KeyError,
        OSError,
        RuntimeError,
        AssertionError,
        AttributeError,
        ZeroDivisionError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        raise ArtifactError(
            f"{folder} does not hold a whole model: {str(error).rstrip('.')}.",
            stages=("train",),
        ) from error
    return model.eval()


def _checked_spec(folder: Path) -> ModelSpec:
    """The description of a model that takes no more memory than its weights do."""
    description = read_json(folder / CONFIG)
    stored = stored_shapes([folder / WEIGHTS])
    check_repeats(description, len(stored))
    spec = ModelSpec(**description)
    with torch.device("meta"):  # shapes without memory
        check_shapes(shapes_of(Classifier(spec)), stored)
    return spec
