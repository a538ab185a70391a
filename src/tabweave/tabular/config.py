"""Parameter group ``tabular``: how the columns beside the text become numbers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tabweave.schema import Parameters

Strategy = Literal["mean", "median", "mode", "constant"]
Indicators = Literal["auto", "always", "never"]

_LARGEST = float(np.finfo(np.float32).max)


class RiskSettings(Parameters):
    """What risk tables are computed with; stored inside them."""

    smooth_factor: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    """Rows of prior added to a category, as a share of the rows of train."""
    count_threshold: Annotated[int, Field(ge=0)] = 5
    """Rows that a category needs in train; below it the category gets the prior."""
    cross_fit: Annotated[int, Field(ge=1)] = 5
    """Folds for the values of train rows; 1 lets a row's own label into its value."""
    group: str | None = None
    """Column whose equal values stay in one fold; None lets every row stand alone."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the folds."""

    @model_validator(mode="after")
    def _group_needs_folds(self) -> Self:
        if self.group is not None and self.cross_fit == 1:
            raise ValueError(
                f"group {self.group!r} has no effect with cross_fit 1, which makes no "
                "folds; set cross_fit to 2 or more, or remove group"
            )
        return self


class TabularConfig(RiskSettings):
    """Parameter group ``tabular``: imputation, risk tables and their folds."""

    imputation: Strategy = "mean"
    """What a missing number becomes; learned from train."""
    imputation_by_column: dict[str, Strategy] = Field(default_factory=dict)
    """Numeric column -> its own strategy instead of `imputation`."""
    imputation_constant: Annotated[
        float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)
    ] = 0.0
    """The value that the strategy 'constant' fills in, in the unit of the column."""
    missing_indicators: Indicators = "auto"
    """Numeric columns that get a 0/1 'was missing' feature; auto: gaps in train."""

    @property
    def risk(self) -> RiskSettings:
        """The part that risk tables depend on."""
        return RiskSettings.model_validate(
            self.model_dump(include=set(RiskSettings.model_fields))
        )
