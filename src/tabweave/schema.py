"""What the columns of a data set mean: the one description that every stage shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SPLITS = ("train", "val", "test")
PREDICTED = "predicted"
"""Column of the predicted class, beside `probability_columns`."""

Task = Literal["binary", "multiclass"]
InvalidUtf8 = Literal["refuse", "repair"]
Quoting = Literal["standard", "none"]


class Parameters(BaseModel):
    """Base of every parameter group: read once, never changed, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    OF_THE_RUN: ClassVar[frozenset[str]] = frozenset()
    """Parameters that no artifact depends on: how it is made, and not what."""

    def recorded(self) -> dict[str, Any]:
        """All that artifacts depend on, as plain values."""
        return self.model_dump(mode="json", exclude=set(self.OF_THE_RUN))


class DataConfig(Parameters):
    """Parameter group ``data``: which columns there are and what they mean.

    Columns are found by name, in any order; other columns of the files are left alone.
    """

    id: str
    """Column that names a row; unique within a split."""
    label: str
    """Column to predict."""
    text: tuple[str, ...] = ()
    """Columns of free text; an empty cell is a missing text."""
    categorical: tuple[str, ...] = ()
    """Columns of categories, compared as text exactly as written ('00123' stays)."""
    numeric: tuple[str, ...] = ()
    """Columns of numbers, kept as float32."""
    group: str | None = None
    """Column whose equal values belong together, such as a customer; never a feature."""
    classes: tuple[str, ...] | None = None
    """Allowed labels in their order; None takes the sorted labels of train."""
    num_classes: int | None = Field(None, ge=2)
    """Number of classes that there must be; None takes as many as are found."""
    positive_label: str | None = None
    """Label that precision, recall and average precision are about (binary tasks)."""
    null_values: tuple[str, ...] = ("",)
    """Cells of numeric columns that mean 'missing'; an empty cell always does."""
    invalid_utf8: InvalidUtf8 = "refuse"
    """Bytes that are not UTF-8: refuse the file, or repair them to U+FFFD and count."""
    quoting: Quoting | None = None
    """Whether cells of a CSV or TSV may be in quotes (standard) or a quote is a character
    like any other (none); None is standard, but refuses a file that fits both ways."""
    max_cell_bytes: int = Field(2**20, ge=1)
    """Longest cell in bytes; a longer one is refused with its row and column."""
    train_filename: str | None = None
    """File of the train split, or a folder or pattern ('*.csv') of its files; relative to
    the data folder, or to its train folder."""
    val_filename: str | None = None
    """The same for the val split."""
    test_filename: str | None = None
    """The same for the test split."""

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> Self:
        names = list(self.columns)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"columns {repeated} have more than one role; give each column one of "
                "id, label, text, categorical, numeric"
            )
        if not (self.text or self.categorical or self.numeric):
            raise ValueError(
                "no feature column is named; list at least one under text, categorical "
                "or numeric"
            )
        return self

    @model_validator(mode="after")
    def _labels_are_consistent(self) -> Self:
        if self.classes is None:
            return self
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"classes {list(self.classes)} must be at least two distinct labels"
            )
        if self.num_classes not in (None, len(self.classes)):
            raise ValueError(
                f"num_classes {self.num_classes} does not match the classes "
                f"{list(self.classes)}"
            )
        if self.positive_label is not None and self.positive_label not in self.classes:
            raise ValueError(
                f"positive_label {self.positive_label!r} is not among classes "
                f"{list(self.classes)}"
            )
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """All feature columns."""
        return (*self.text, *self.categorical, *self.numeric)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that have a role, id and label first."""
        group = () if self.group is None else (self.group,)
        return (self.id, self.label, *self.features, *group)


class DataSchema(Parameters):
    """Roles of the columns and the classes, as settled when train was read.

    Example:
        >>> schema = DataSchema(id="i", label="y", text=("t",), classes=("0", "1"),
        ...                     positive_label="1")
        >>> schema.task, schema.positive_index
        ('binary', 1)
    """

    id: str
    label: str
    text: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    group: str | None = None
    classes: tuple[str, ...] = Field(min_length=2)
    positive_label: str

    @property
    def kinds(self) -> dict[str, Literal["text", "categorical", "numeric"]]:
        """Feature column -> its role."""
        return {
            **dict.fromkeys(self.text, "text"),
            **dict.fromkeys(self.categorical, "categorical"),
            **dict.fromkeys(self.numeric, "numeric"),
        }

    @property
    def task(self) -> Task:
        """Binary for two classes, else multiclass."""
        return "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def positive_index(self) -> int:
        """Position of the positive label among the classes."""
        return self.classes.index(self.positive_label)


def ordered_classes(labels: set[str]) -> tuple[str, ...]:
    """Labels in their order: by value when all are whole numbers, else as text.

    Example:
        >>> ordered_classes({"10", "9", "1"})
        ('1', '9', '10')
    """
    try:
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    except ValueError:
        return tuple(sorted(labels))


def default_positive(classes: tuple[str, ...]) -> str:
    """The label that is positive when the user names none: 1, true, or the last one.

    Example:
        >>> default_positive(("False", "True")), default_positive(("bad", "good"))
        ('True', 'good')
    """
    for label in classes:
        if label.lower() in ("1", "true"):
            return label
    return classes[-1]


def probability_columns(classes: Sequence[str]) -> list[str]:
    """Names of the probability columns, in the order of the classes.

    Example:
        >>> probability_columns(["no", "yes"])
        ['prob_no', 'prob_yes']
    """
    return [f"prob_{label}" for label in classes]


def prediction_columns(classes: Sequence[str]) -> list[str]:
    """Names of all columns that predictions add to a user's file."""
    return [*probability_columns(classes), PREDICTED]
