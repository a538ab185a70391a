"""Parameter group ``split``: how one raw file becomes train, val and test."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Literal, Self

from pydantic import Field, model_validator

from tabweave.errors import shorten
from tabweave.schema import ColumnName, Parameters, PathText, contradiction

Method = Literal["stratified", "time", "group"]

SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
# 7d, 1d12h, 30min; or ISO 8601 without years and months, whose lengths vary.
SHORT = re.compile(
    r"(?:(?P<w>\d+)w)?(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)min)?(?:(?P<s>\d+)s)?"
)
ISO = re.compile(
    r"P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+)S)?)?"
)


def duration_microseconds(text: str) -> int | None:
    """Microseconds of a duration such as 7d, 1d12h, 30min, P7D or PT12H, else None.

    Example:
        >>> duration_microseconds("1d12h") == duration_microseconds("PT36H")
        True
    """
    found = SHORT.fullmatch(text) or ISO.fullmatch(text)
    parts = {unit: n for unit, n in found.groupdict().items() if n} if found else {}
    if not parts:
        return None
    return 1_000_000 * sum(SECONDS[unit] * int(n) for unit, n in parts.items())


class SplitConfig(Parameters):
    """Parameter group ``split``: one raw file, and the rule that divides its rows.

    The columns of ids, labels and texts are those of the group ``data``.
    """

    source: PathText | None = None
    """The raw file, .csv, .tsv or .parquet, or a folder or pattern of its parts; relative
    to the project root."""
    output: PathText = "data/01_raw/split"
    """Folder that receives the train, val and test folders; a folder of its own."""
    method: Method = "stratified"
    """By class at random, by time, or by group: the rule that divides the rows."""
    val_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the rows for val, between 0 and 1."""
    test_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the rows for test, between 0 and 1; the rest is train."""
    seed: int = Field(default=42, ge=0, lt=2**63)
    """Seed of the hash that ranks ids and groups; a split by time does not use it."""
    time_column: ColumnName | None = None
    """Column of ISO 8601 dates or times, or of numbers (method time)."""
    embargo: int | float | str | None = None
    """Least distance between two splits, such as 7d, 12h or PT12H; a number for times
    that are numbers (method time)."""
    group_column: ColumnName | None = None
    """Column whose equal values stay in one split (method group)."""
    keep_duplicates_together: bool = False
    """Whether rows with equal or nearly equal texts stay in one split."""
    duplicate_threshold: float = Field(default=0.8, ge=0.5, le=1.0)
    """Jaccard similarity of 5-character shingles from which two texts are duplicates."""

    @model_validator(mode="after")
    def _fractions_leave_a_train_split(self) -> Self:
        if self.fractions[0] <= 0:
            raise contradiction(
                f"val_fraction {self.val_fraction} and test_fraction "
                f"{self.test_fraction} leave nothing for train; their sum must be below 1",
                "val_fraction",
                "test_fraction",
            )
        return self

    @model_validator(mode="after")
    def _settings_fit_the_method(self) -> Self:
        for method, name in (("time", "time_column"), ("group", "group_column")):
            if self.method == method and getattr(self, name) is None:
                raise contradiction(
                    f"method '{method}' needs {name}; name the column", name, "method"
                )
            if self.method != method and getattr(self, name) is not None:
                raise contradiction(
                    f"{name} is set, but method is '{self.method}'; set method to "
                    f"'{method}' or {name} to null",
                    name,
                    "method",
                )
        if self.method != "time" and self.embargo is not None:
            raise contradiction(
                f"embargo is set, but method is '{self.method}'; an embargo needs "
                "method 'time'",
                "embargo",
                "method",
            )
        if self.method == "time" and self.keep_duplicates_together:
            raise contradiction(
                "keep_duplicates_together contradicts method 'time': a text that comes "
                "again later belongs to the later split; set it to false",
                "keep_duplicates_together",
                "method",
            )
        return self

    @model_validator(mode="after")
    def _embargo_is_a_length(self) -> Self:
        length = self.embargo_length
        if self.embargo is not None and not (length and 0 < length < math.inf):
            raise contradiction(
                f"embargo {shorten(self.embargo)} is not a length above zero; write a "
                "duration such as 7d, 12h, 1d12h, 30min, P7D or PT12H (no months or "
                "years), or a number for times that are numbers",
                "embargo",
            )
        return self

    @property
    def embargo_length(self) -> float | None:
        """The embargo in microseconds, or as it is where it is a number."""
        if isinstance(self.embargo, str):
            return duration_microseconds(self.embargo)
        return self.embargo

    @property
    def fractions(self) -> tuple[Fraction, Fraction, Fraction]:
        """Shares of train, val and test, exactly as their digits say."""
        val, test = (Fraction(str(f)) for f in (self.val_fraction, self.test_fraction))
        return 1 - val - test, val, test
