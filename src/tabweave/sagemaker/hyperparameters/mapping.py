"""Hyperparameters -> the typed parameter groups of the stages, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from tabweave.configuration.parameters import PARAMETER_TYPES
from tabweave.errors import ConfigError, did_you_mean, readable, shorten
from tabweave.models.config import ARCHITECTURES, ModelConfig
from tabweave.sagemaker.hyperparameters.fields import Hyperparameters
from tabweave.sagemaker.hyperparameters.places import (
    PLACES,
    Moved,
    Refused,
    Unused,
)
from tabweave.sagemaker.hyperparameters.reading import said
from tabweave.schema import Parameters
from tabweave.text.config import SCRATCH
from tabweave.training.config import TrainingConfig

# The specification has no hyperparameter about how data files are made.
GROUPS: dict[str, type[Parameters]] = {
    name: kind
    for name, kind in PARAMETER_TYPES.items()
    if name not in ("fabricate", "split")
}


def unsupported(hyperparameters: Hyperparameters) -> list[str]:
    """One sentence per value that nothing here can act on, each naming its key."""
    return list(_faults(hyperparameters))


def _faults(h: Hyperparameters) -> Iterator[str]:
    if h.model_class not in ARCHITECTURES:
        hint = did_you_mean(h.model_class, ARCHITECTURES)
        known = ", ".join(ARCHITECTURES)
        yield f"Unknown model class: {readable(h.model_class)}.{hint} Known: {known}."
    for key, place in PLACES.items():
        value = getattr(h, key)
        if isinstance(place, Refused) and value not in place.accepted:
            accepted = " or ".join(repr(one) for one in place.accepted)
            yield (
                f"{key} is {shorten(value)}, which is not supported: {place.why}. "
                f"Accepted: {accepted}."
            )


def to_parameters(hyperparameters: Hyperparameters) -> dict[str, dict[str, Any]]:
    """Parameter group -> all its parameters, as plain values.

    What no hyperparameter says has the default of its group, not that of conf/base.

    Raises:
        ConfigError: A value is not supported, or does not fit the others.
    """
    faults = unsupported(hyperparameters)
    if faults:
        raise ConfigError(said(faults, "hyperparameters.json"))
    groups: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
    for path, value in _assignments(hyperparameters):
        *parents, name = path.split(".")
        place: dict[str, Any] = groups
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    found: dict[str, dict[str, Any]] = {}
    for name, kind in GROUPS.items():
        try:
            found[name] = kind(**groups[name]).model_dump(mode="json")
        except ValidationError as error:
            faults += [_group_fault(name, dict(fault)) for fault in error.errors()]
    if faults:
        raise ConfigError(said(faults, "hyperparameters.json"))
    return found


def _assignments(h: Hyperparameters) -> Iterator[tuple[str, Any]]:
    for key, place in PLACES.items():
        if isinstance(place, Moved):
            for path in place.parameters:
                yield path, getattr(h, key)
    labels = h.multiclass_categories
    yield "data.text", h.texts
    yield "data.classes", labels and tuple(str(label) for label in labels)
    yield "data.num_classes", h.num_classes
    yield "training.precision", "auto" if h.fp16 else "32-true"
    yield "training.resume", "auto" if h.load_ckpt else "never"
    yield from _schedule(h)
    yield from _encoder(h)
    if h.text_processing_steps is not None:
        yield "text.steps", h.text_processing_steps
    if h.primary_text_name is not None:
        steps = (h.primary_text_processing_steps, h.secondary_text_processing_steps)
        yield (
            "text.fields",
            [
                {"name": name, "steps": its_steps}
                for name, its_steps in zip(h.texts, steps, strict=True)
            ],
        )


def _schedule(h: Hyperparameters) -> Iterator[tuple[str, Any]]:
    # The default of the specification says nothing beside a scheduler.
    default = Hyperparameters.model_fields["lr_decay"].default
    if not h.run_scheduler or h.lr_decay not in (0.0, default):
        yield "training.lr_decay", h.lr_decay


def _encoder(h: Hyperparameters) -> Iterator[tuple[str, Any]]:
    """Sizes of the text encoder that the architecture has, not of the other kinds."""
    kind = ARCHITECTURES[h.model_class].text
    if kind == "cnn":
        for name in ("kernel_size", "num_layers", "num_channels"):
            yield f"model.cnn.{name}", getattr(h, name)
    elif kind == "lstm":
        yield "model.lstm.num_layers", h.num_layers
    elif kind == "bert":
        yield "model.use_gradient_checkpointing", h.use_gradient_checkpointing
        # Starting layers anew costs accuracy on small data: only when asked for.
        if "reinit_layers" in h.model_fields_set:
            yield "model.reinit_layers", h.reinit_layers


def _group_fault(group: str, fault: dict[str, Any]) -> str:
    path = ".".join([group, *(str(part) for part in fault["loc"])])
    fields = fault.get("ctx", {}).get("fields", ())
    paths = tuple(f"{path}.{field}" for field in fields) or (path,)
    keys = [
        key
        for key, place in PLACES.items()
        if not isinstance(place, Unused | Refused)
        and any(
            one == parameter or one.startswith(f"{parameter}.")
            for parameter in place.parameters
            for one in paths
        )
    ]
    message = fault["msg"].removeprefix("Value error, ")
    return f"{', '.join(keys) or path}: {message}."


def notes(hyperparameters: Hyperparameters) -> list[str]:
    """What is accepted but a user may not expect, one sentence each."""
    return list(_notes(hyperparameters))


_CNN, _LSTM = {"kernel_size", "num_channels"}, {"num_layers"}
_TRANSFORMER = {"reinit_pooler", "reinit_layers", "use_gradient_checkpointing"}
_IDLE: dict[str | None, set[str]] = {
    "bert": _CNN | _LSTM,
    "cnn": _TRANSFORMER,
    "lstm": _CNN | _TRANSFORMER,
    "none": _CNN | _LSTM | _TRANSFORMER,
}
"""Hyperparameters of other kinds of text encoder."""


def _notes(h: Hyperparameters) -> Iterator[str]:
    set_ = h.model_fields_set
    declared = (h.id_name, *h.texts, h.label_name, *h.cat_field_list, *h.tab_field_list)
    left_out = [name for name in declared if name not in h.full_field_list]
    if left_out:
        yield (
            f"full_field_list leaves out {left_out}, which other keys name; they are read."
        )
    table = [*h.cat_field_list, *h.tab_field_list]
    if (
        h.model_class in ARCHITECTURES
        and not ARCHITECTURES[h.model_class].table
        and table
    ):
        yield f"model_class {h.model_class!r} reads text alone; {table} do not reach it."
    kind = ARCHITECTURES[h.model_class].text if h.model_class in ARCHITECTURES else None
    if kind == "bert" and h.tokenizer != SCRATCH and "reinit_layers" not in set_:
        yield (
            "reinit_layers is not set, so a pretrained encoder keeps all its weights. The "
            f"specification's default is {h.reinit_layers}: write it down to have it."
        )
    if kind == "bert" and "reinit_pooler" in set_ and h.reinit_pooler:
        yield (
            "reinit_pooler is true, which has no effect: a text's vector is the mean of "
            "its token states, so there is no pooler to start anew. The parameters "
            "model.pooling=pooler,model.reinit_pooler=true have one."
        )
    idle = sorted(set_ & _IDLE.get(kind, set()))
    if idle:
        yield f"model_class {h.model_class!r} does not use {idle}."


def from_parameters(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The flat hyperparameters that parameter groups say; those without a place are left.

    The hyperparameters give the same parameters again, where they can say them.

    Raises:
        ConfigError: There are more than two texts, or the number of classes is open.
    """
    groups = {name: kind(**parameters.get(name, {})) for name, kind in GROUPS.items()}
    plain = {name: group.model_dump(mode="json") for name, group in groups.items()}
    flat: dict[str, Any] = {}
    for key, place in PLACES.items():
        if isinstance(place, Moved):
            flat[key] = _at(plain, place.parameters[0])
    data, text, training = plain["data"], plain["text"], plain["training"]
    flat |= _classes(data) | _texts(data, text)
    flat["lr"] = TrainingConfig(**training).encoder_rate(
        scratch=text["encoder"] == SCRATCH
    )
    flat["fp16"] = training["precision"] != "32-true"
    flat["load_ckpt"] = training["resume"] != "never"
    if not training["run_scheduler"]:
        flat["lr_decay"] = training["lr_decay"] or 0.0
    flat |= _encoder_sizes(groups["model"])
    flat["full_field_list"] = [
        *(data["id"], *data["text"], data["label"]),
        *(*data["categorical"], *data["numeric"]),
    ]
    return {key: flat[key] for key in PLACES if flat.get(key) is not None}


def _at(groups: Mapping[str, Any], path: str) -> Any:
    value: Any = groups
    for name in path.split("."):
        value = value[name]
    return value


def _encoder_sizes(model: Parameters) -> dict[str, Any]:
    config = ModelConfig(**model.model_dump())
    kind = config.architecture.text
    if kind == "cnn":
        return config.cnn.model_dump(mode="json")
    if kind == "lstm":
        return {"num_layers": config.lstm.num_layers}
    return {name: getattr(config, name) for name in sorted(_TRANSFORMER)}


def _classes(data: Mapping[str, Any]) -> dict[str, Any]:
    labels = data["classes"]
    number = len(labels) if labels else data["num_classes"]
    if number is None:
        raise ConfigError(
            "Hyperparameters need the number of classes: set data.classes or "
            "data.num_classes."
        )
    return {
        "num_classes": number,
        "is_binary": number == 2,
        "multiclass_categories": labels,
    }


def _texts(data: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    names = data["text"]
    if len(names) > 2:
        raise ConfigError(
            f"Hyperparameters name at most two texts, but data.text has {names}."
        )
    if len(names) < 2:
        steps = text["fields"][0]["steps"] if text["fields"] else None
        return {
            "text_name": names[0] if names else None,
            "text_processing_steps": steps or text["steps"],
        }
    steps = [field["steps"] for field in text["fields"]] or [text["steps"], None]
    return {
        "primary_text_name": names[0],
        "secondary_text_name": names[1],
        "primary_text_processing_steps": steps[0],
        "secondary_text_processing_steps": steps[-1],
    }
