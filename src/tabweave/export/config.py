"""What is exported and how far it may differ. Needs no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tabweave.errors import shorten
from tabweave.schema import Parameters, contradiction
from tabweave.scoring.contract import PROBABILITIES

SampleRows = Literal["val", "synthetic", "none"]

OUTPUT, TABLE, LABEL = PROBABILITIES, "tab", "label"
"""Names in the ONNX file that are not a matter of choice."""


OnnxName = Annotated[str, Field(min_length=1, max_length=200)]


class Int8Limits(Parameters):
    """How far an int8 model may be from the fp32 one, on rows of val."""

    auroc_drop: float = Field(0.002, ge=0, le=1)
    """Largest loss of AUROC (mean over the classes, each against the rest)."""
    flips: float = Field(0.01, ge=0, le=1)
    """Largest share of rows whose most probable class is another one."""
    alone_shift: float = Field(0.02, ge=0, le=1)
    """Largest difference of a probability between a row alone and the row in a batch."""
    min_rows: PositiveInt = 200
    """Fewest rows of val by which a model is judged; fewer refuse it."""


class ExportConfig(Parameters):
    """Parameter group ``export``: names in the ONNX file and the parity gate."""

    OF_THE_RUN: ClassVar[frozenset[str]] = frozenset({"timing_seconds"})

    text_input_ids_key: OnnxName = "input_ids"
    """Name of the token id input; further text fields get ``<field>_`` before it."""
    text_attention_mask_key: OnnxName = "attention_mask"
    """Name of the mask input."""
    parity_rows: PositiveInt = 256
    """Rows of val that are compared with PyTorch, at every batch size."""
    parity_batch_sizes: tuple[PositiveInt, ...] = Field((1, 7, 32), min_length=1)
    """Rows per call in the comparison."""
    parity_tolerance: float = Field(1e-5, gt=0, lt=1)
    """Largest difference of a probability from PyTorch in fp32."""
    pipeline: bool = True
    """Whether pipeline.onnx, which takes raw rows, is made; a bundle without it says so."""
    pipeline_single_rows: PositiveInt = 256
    """Rows of val that pipeline.onnx is also asked one by one in the comparison."""
    sample: SampleRows = "synthetic"
    """Rows in the bundle to try it with: made up, the first of val, or none."""

    int8: bool = False
    """Whether models of 8-bit integers are made, too; they must keep `int8_limits`."""
    int8_limits: Int8Limits = Int8Limits()
    """How far their answers may be from those of fp32."""
    timing_seconds: float = Field(4.0, ge=0)
    """Seconds in which the report times the models; 0 leaves the times out."""

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        taken = (TABLE, OUTPUT, LABEL)
        names = [self.text_input_ids_key, self.text_attention_mask_key, *taken]
        if len(set(names)) < len(names):
            raise contradiction(
                f"text_input_ids_key {shorten(names[0])} and text_attention_mask_key "
                f"{shorten(names[1])} must be two different names and none of "
                f"{', '.join(map(repr, taken))}",
                "text_input_ids_key",
                "text_attention_mask_key",
            )
        return self
