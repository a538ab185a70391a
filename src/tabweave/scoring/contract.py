"""What pipeline.onnx says of itself: which column goes into which input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tabweave.bundle import parse_json
from tabweave.errors import ArtifactError, shorten, some_of
from tabweave.schema import DataSchema

METADATA_KEY = "tabweave"
PIPELINE_FORMAT = 1
PROBABILITIES = "probabilities"
_TYPES = {
    "text": "tensor(string)",
    "categorical": "tensor(string)",
    "numeric": "tensor(float)",
}


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PipelineInput(_Plain):
    """One input of the graph, the column it takes and the role of that column."""

    name: str
    column: str
    kind: Literal["text", "categorical", "numeric"]


class _Metadata(_Plain):
    """The JSON under the key ``tabweave``; further keys belong to other readers."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    format: int
    inputs: tuple[PipelineInput, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Contract:
    """Inputs of pipeline.onnx and the classes that its probabilities belong to."""

    inputs: tuple[PipelineInput, ...]
    classes: tuple[str, ...]

    @property
    def kinds(self) -> dict[str, str]:
        """Column that the model reads -> its role."""
        return {one.column: one.kind for one in self.inputs}

    @property
    def text(self) -> tuple[str, ...]:
        """Columns of text that the model reads."""
        return tuple(one.column for one in self.inputs if one.kind == "text")


def read_contract(session: Any, schema: DataSchema, name: str) -> Contract:
    """The contract in the metadata of a session, compared with its inputs and outputs.

    Args:
        session: An onnxruntime session of pipeline.onnx.
        schema: The schema of the bundle.
        name: What the file is called in an error.

    Raises:
        ArtifactError: There is no contract, or the graph or the schema are not as it
            says.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise _refused(name, f"it has no metadata {METADATA_KEY!r}")
    value = parse_json(text.encode(), f"the metadata of {name}")
    try:
        found = _Metadata.model_validate_json(text)
    except ValidationError as error:
        raise _refused(name, f"its metadata is {shorten(value, 200)}") from error
    if found.format != PIPELINE_FORMAT:
        raise _refused(name, f"its format is {found.format}, not {PIPELINE_FORMAT}")
    contract = Contract(found.inputs, found.classes)
    fault = _fault(session, contract, schema)
    if fault:
        raise _refused(name, fault)
    return contract


def _fault(session: Any, contract: Contract, schema: DataSchema) -> str:
    if contract.classes != schema.classes:
        return (
            f"its classes are {some_of(contract.classes)}, but those of schema.json "
            f"{some_of(schema.classes)}"
        )
    for one in contract.inputs:
        if one.column not in getattr(schema, one.kind):
            return (
                f"it reads {one.kind} {one.column!r}, which schema.json does not name"
            )
    expected = {one.name: _TYPES[one.kind] for one in contract.inputs}
    found = {one.name: one.type for one in session.get_inputs()}
    if found != expected or len(expected) < len(contract.inputs):
        return f"its inputs are {found}, but its metadata says {expected}"
    if len(contract.kinds) < len(contract.inputs) or not contract.inputs:
        return "its metadata gives a column to two inputs, or has no input"
    outputs = {one.name: one.type for one in session.get_outputs()}
    if outputs.get(PROBABILITIES) != "tensor(float)":
        return f"its outputs {outputs} hold no {PROBABILITIES} of type tensor(float)"
    return ""


def _refused(name: str, what: str) -> ArtifactError:
    return ArtifactError(
        f"{name} is not a pipeline that this version of tabweave can run: {what}.",
        stages=("export",),
    )
