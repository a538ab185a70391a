"""Parameter group ``tabular``: how the columns beside the text become numbers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tabweave.errors import shorten
from tabweave.schema import ColumnName, DataSchema, Parameters, contradiction

Strategy = Literal["mean", "median", "mode", "constant"]
Indicators = Literal["auto", "always", "never"]

LARGEST = float(np.finfo(np.float32).max)


class RiskSettings(Parameters):
    """What risk tables are computed with; stored inside them."""

    smooth_factor: Annotated[float, Field(ge=0)] = 0.01
    """Rows of prior added to a category, as a share of the rows of train."""
    count_threshold: Annotated[int, Field(ge=0)] = 5
    """Rows that a category needs in train; below it the category gets the prior."""
    cross_fit: Annotated[int, Field(ge=1)] = 5
    """Folds for the values of train rows; 1 lets a row's own label into its value."""
    group: ColumnName | None = None
    """Column whose equal values stay in one fold; None takes data.group where set."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the folds."""

    @model_validator(mode="after")
    def _group_needs_folds(self) -> Self:
        if self.group is not None and self.cross_fit == 1:
            raise contradiction(
                f"group {shorten(self.group)} has no effect with cross_fit 1, which makes "
                "no folds; set cross_fit to 2 or more, or remove group",
                "group",
                "cross_fit",
            )
        return self


class TabularConfig(RiskSettings):
    """Parameter group ``tabular``: imputation, risk tables and their folds."""

    imputation: Strategy = "mean"
    """What a missing number becomes; learned from train."""
    imputation_by_column: dict[ColumnName, Strategy] = Field(default_factory=dict)
    """Numeric column -> its own strategy instead of `imputation`."""
    imputation_constant: Annotated[float, Field(ge=-LARGEST, le=LARGEST)] = 0.0
    """The value that the strategy 'constant' fills in, in the unit of the column."""
    missing_indicators: Indicators = "auto"
    """Numeric columns that get a 0/1 'was missing' feature; auto: gaps in train."""
    precomputed_imputation: bool = False
    """Whether impute_dict of the folder model_artifacts_input replaces fitting."""
    precomputed_risk_tables: bool = False
    """Whether risk_table_map of that folder replaces fitting; then no cross-fitting."""
    selected_features: bool = False
    """Whether selected_features.json of that folder restricts the columns."""

    @model_validator(mode="after")
    def _nothing_is_set_without_effect(self) -> Self:
        if self.precomputed_imputation and self.imputation_by_column:
            raise contradiction(
                "imputation_by_column has no effect with precomputed_imputation, which "
                "takes every value from impute_dict; remove one of the two",
                "imputation_by_column",
                "precomputed_imputation",
            )
        if self.precomputed_risk_tables and self.group is not None:
            raise contradiction(
                f"group {shorten(self.group)} has no effect with precomputed_risk_tables, "
                "which makes no folds; remove one of the two",
                "group",
                "precomputed_risk_tables",
            )
        return self

    @property
    def risk(self) -> RiskSettings:
        """The part that risk tables depend on."""
        return RiskSettings.model_validate(
            self.model_dump(include=set(RiskSettings.model_fields))
        )

    def risk_of(self, schema: DataSchema) -> RiskSettings:
        """`risk`, with the group of the data where none is named here."""
        if self.group is not None or schema.group is None or self.cross_fit == 1:
            return self.risk
        return self.risk.model_copy(update={"group": schema.group})
