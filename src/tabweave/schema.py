"""What the columns of a data set mean: the one description that every stage shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tabweave.errors import ArtifactError, shorten, some_of
from tabweave.storage.local_paths import local_path

SPLITS = ("train", "val", "test")
PREDICTED = "predicted"
"""Column of the predicted class, beside `probability_columns`."""

FEATURE_ROLES = ("text", "categorical", "numeric")
ROLES = ("id", "label", *FEATURE_ROLES, "group")

Given = TypeVar("Given")
Task = Literal["binary", "multiclass"]
InvalidUtf8 = Literal["refuse", "repair"]
Quoting = Literal["standard", "none"]
LARGEST_INT = 2**63 - 1
CONTRADICTION = "contradiction"
"""Type of the fault of a rule between fields, as pydantic reports it."""


def contradiction(why: str, *fields: str) -> PydanticCustomError:
    """The error of a rule between fields, which names the fields that it is about."""
    return PydanticCustomError(
        CONTRADICTION, "{why}", {"why": why, "fields": list(fields)}
    )


def _without_controls(text: str) -> str:
    if any(not letter.isprintable() and letter != " " for letter in text):
        raise ValueError(
            f"{shorten(text)} holds a character that cannot be printed; no path has one "
            "that was meant"
        )
    return text


ColumnName = Annotated[str, Field(min_length=1)]
PathText = Annotated[
    str,
    Field(min_length=1),
    AfterValidator(_without_controls),
    AfterValidator(local_path),
]
"""A path or the name of a file, as the user writes it; an address such as ``s3://`` is
refused."""


def _whole(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _as_written(schema: Any) -> Any:
    """The schema with its numbers and booleans strict; integers fit into 64 bits."""
    if isinstance(schema, list | tuple):
        return type(schema)(_as_written(each) for each in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind == "int" and not schema.get("strict"):
        bounds = {} if {"lt", "le"} & schema.keys() else {"le": LARGEST_INT}
        return core_schema.no_info_before_validator_function(
            _whole, {**schema, **bounds, "strict": True}
        )
    if kind in ("float", "bool"):
        return {**schema, "strict": True}
    return {key: _as_written(value) for key, value in schema.items()}


class Parameters(BaseModel):
    """Base of every parameter group: read once, never changed, no unknown keys.

    A value has the type of its field, and only that: true is no number, 1 and "yes" are
    not true, "3" is text. A whole number may be written 1e3, and a float without a point.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Every number and boolean of the group is taken as it is written."""
        return _as_written(handler(source))

    OF_THE_RUN: ClassVar[frozenset[str]] = frozenset()
    """Parameters that no artifact depends on: how it is made, and not what."""

    def recorded(self) -> dict[str, Any]:
        """All that artifacts depend on, as plain values."""
        return self.model_dump(mode="json", exclude=set(self.OF_THE_RUN))


def typed(function: Callable[..., Given]) -> Callable[..., Given]:
    """Lets a function that asks for parameter groups be given them as plain mappings.

    A catalog keeps mappings, which whoever deploys or tracks a run can read.
    """
    hints = get_type_hints(function)
    places = [
        (place, hints[name])
        for place, name in enumerate(signature(function).parameters)
        if isinstance(hints[name], type) and issubclass(hints[name], Parameters)
    ]

    @wraps(function)
    def called(*given: Any) -> Given:
        values = list(given)
        for place, kind in places:
            values[place] = kind.model_validate(values[place])
        return function(*values)

    # Kedro makes objects of what it finds here, and puts those into the catalog.
    called.__annotations__ = {}
    return called


def _listed(columns: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return columns if isinstance(columns, tuple) else (str(columns),)


class DataConfig(Parameters):
    """Parameter group ``data``: which columns there are and what they mean.

    Columns are found by name, in any order; other columns of the files are left alone.
    """

    id: ColumnName
    """Column that names a row; unique within a split."""
    label: ColumnName
    """Column to predict."""
    text: tuple[ColumnName, ...] = ()
    """Columns of free text; an empty cell is a missing text."""
    categorical: tuple[ColumnName, ...] = ()
    """Columns of categories, compared as text exactly as written ('00123' stays)."""
    numeric: tuple[ColumnName, ...] = ()
    """Columns of numbers, kept as float32."""
    group: ColumnName | None = None
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
    train_filename: PathText | None = None
    """File of the train split, or a folder or pattern ('*.csv') of its files; relative to
    the data folder, or to its train folder."""
    val_filename: PathText | None = None
    """The same for the val split."""
    test_filename: PathText | None = None
    """The same for the test split."""

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> Self:
        names = Counter(self.columns)
        repeated = sorted(name for name, count in names.items() if count > 1)
        if repeated:
            roles = [r for r in ROLES if {*repeated} & {*_listed(getattr(self, r))}]
            raise contradiction(
                f"columns [{some_of(repeated)}] have more than one role; give each column "
                "one of id, label, text, categorical, numeric",
                *roles,
            )
        if not self.features:
            raise contradiction(
                "no feature column is named; list at least one under text, categorical "
                "or numeric",
                *FEATURE_ROLES,
            )
        return self

    @model_validator(mode="after")
    def _labels_are_consistent(self) -> Self:
        if self.classes is None:
            return self
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise contradiction(
                f"classes [{some_of(self.classes)}] must be at least two distinct labels",
                "classes",
            )
        if self.num_classes not in (None, len(self.classes)):
            raise contradiction(
                f"num_classes {self.num_classes} does not match the classes "
                f"[{some_of(self.classes)}]",
                "num_classes",
                "classes",
            )
        if self.positive_label is not None and self.positive_label not in self.classes:
            raise contradiction(
                f"positive_label {shorten(self.positive_label)} is not among classes "
                f"[{some_of(self.classes)}]",
                "positive_label",
                "classes",
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

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Any) -> DataSchema:
        """Inverse of `to_json`.

        Raises:
            ArtifactError: The value is not a schema.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ArtifactError(
                f"The schema is damaged ({error!r}).", stages=("load",)
            ) from error

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
