"""Which text fields there are and what happens to each: read once, fully resolved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, PositiveInt

from tabweave.errors import ConfigError, Problems, did_you_mean, shorten
from tabweave.schema import ColumnName, DataSchema, Parameters, PathText

Step = Literal[
    "dialogue_splitter",
    "html_normalizer",
    "emoji_remover",
    "text_normalizer",
    "dialogue_chunker",
    "tokenizer",
]
ALL_STEPS: tuple[Step, ...] = get_args(Step)
MINIMAL_STEPS: tuple[Step, ...] = (
    "dialogue_splitter",
    "text_normalizer",
    "dialogue_chunker",
    "tokenizer",
)
"""Steps of the second and every further field, unless its own are set."""

SCRATCH = "scratch"
CHARACTERS_PER_TOKEN = 16
"""Default character cap = max_sen_len * max_total_chunks * this."""

_NOT_IN_FILE_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_LONGEST_NAME = 120


def _fault_of(steps: Sequence[str]) -> str | None:
    repeated = sorted({step for step in steps if steps.count(step) > 1})
    if repeated:
        return f"{', '.join(repeated)} appears more than once"
    if "tokenizer" not in steps:
        return "the tokenizer is missing"
    for before, after in pairwise(steps):
        if ALL_STEPS.index(before) > ALL_STEPS.index(after):  # type: ignore[arg-type]
            return f"{before} stands before {after}"
    return None


def _in_order(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    fault = _fault_of(steps)
    if fault:
        raise ValueError(
            f"steps {shorten(list(steps), 300)}: {fault}. The allowed order is "
            f"{', '.join(ALL_STEPS)}; leave out what you do not want, but keep the "
            "tokenizer"
        )
    return steps


Steps = Annotated[tuple[Step, ...], AfterValidator(_in_order)]
ChunkTokens = Annotated[int, Field(ge=3)]


class TextFieldConfig(Parameters):
    """One text field; what is not set here is taken from the group ``text``."""

    name: str
    """Name of the field: a column of the token table and a folder of the tokenizer."""
    columns: tuple[ColumnName, ...] = ()
    """Columns joined by one blank, in this order; empty means the column `name`."""
    encoder: PathText | None = None
    """scratch, a local folder or a hub id."""
    steps: Steps | None = None
    """Steps of this field, in their order."""
    max_sen_len: ChunkTokens | None = None
    """Tokens per chunk, [CLS] and [SEP] included."""
    max_total_chunks: PositiveInt | None = None
    """Chunks per row; the first ones are kept."""
    chunk_truncate: bool | None = None
    """Whether a message longer than a chunk is cut instead of continued."""
    max_characters: PositiveInt | None = None
    """Characters per row that are looked at."""


class TextConfig(Parameters):
    """Parameter group ``text``: how texts become chunks of token ids."""

    encoder: PathText = SCRATCH
    """Whose tokenizer: scratch (learned from train), a local folder or a hub id."""
    steps: Steps = ALL_STEPS
    """Steps of the first field; without dialogue_chunker a row has one chunk."""
    max_sen_len: ChunkTokens = 512
    """Tokens per chunk, [CLS] and [SEP] included."""
    max_total_chunks: PositiveInt = 5
    """Chunks per row; the first ones are kept and what is dropped is counted."""
    chunk_truncate: bool = False
    """Whether a message longer than a chunk is cut (true) or continued (false)."""
    max_characters: PositiveInt | None = None
    """Characters per row that are looked at; None is 16 for each token that fits."""
    vocabulary_size: int = Field(8000, ge=100)
    """Entries of a scratch vocabulary at most, special tokens included."""
    vocabulary_min_frequency: PositiveInt = 2
    """Occurrences in train that a piece of a scratch vocabulary needs."""
    lowercase: bool = True
    """Whether a scratch tokenizer ignores case and accents."""
    fields: tuple[TextFieldConfig, ...] = ()
    """The text fields; empty makes every column of data.text a field of its own."""


class TextField(Parameters):
    """One text field with every question answered.

    The character cap counts code points of the joined raw text, before any step.
    """

    name: str
    columns: tuple[str, ...]
    encoder: str
    steps: tuple[Step, ...]
    max_sen_len: int
    max_total_chunks: int
    chunk_truncate: bool
    max_characters: int

    @property
    def is_learned(self) -> bool:
        """Whether the vocabulary of this field is learned from train."""
        return self.encoder == SCRATCH


def resolve_fields(config: TextConfig, schema: DataSchema) -> tuple[TextField, ...]:
    """Every text field with its defaults filled in; none when data.text is empty.

    Raises:
        ConfigError: A field names an unknown column, two fields share a name, a name
            cannot be a file name, a text column is used by no field, or a field without
            dialogue_chunker asks for several chunks. One error lists everything.
    """
    given = config.fields or tuple(TextFieldConfig(name=name) for name in schema.text)
    problems = Problems("The text fields do not fit")
    _check_names([field.name for field in given], problems)
    steps = [
        field.steps or (MINIMAL_STEPS if number else config.steps)
        for number, field in enumerate(given)
    ]
    for field, its_steps in zip(given, steps, strict=True):
        _check_columns(field, schema, problems)
        _check_chunks(field, its_steps, problems)
    used = {column for field in given for column in _columns_of(field)}
    for column in schema.text:
        if column not in used:
            problems.add(
                f"data.text names {column!r}, but no text field reads it. Add it to "
                "the columns of a field in text.fields, or take it out of data.text."
            )
    problems.raise_as(ConfigError)
    return tuple(
        _resolve(field, its_steps, config)
        for field, its_steps in zip(given, steps, strict=True)
    )


def _columns_of(field: TextFieldConfig) -> tuple[str, ...]:
    return field.columns or (field.name,)


def _check_names(names: list[str], problems: Problems) -> None:
    folded = [name.casefold() for name in names]
    for name in dict.fromkeys(names):
        if folded.count(name.casefold()) > 1:
            problems.add(
                f"text.fields: the name {name!r} is used more than once (some disks do "
                "not tell upper from lower case). Give each field its own name."
            )
        if (
            _NOT_IN_FILE_NAMES.search(name)
            or name != name.strip(" .")
            or not 0 < len(name.encode()) <= _LONGEST_NAME
        ):
            problems.add(
                f"text field {shorten(name)} cannot be a file name. Name the field "
                "under text.fields and list the column there: a name has at most "
                f'{_LONGEST_NAME} bytes, none of / \\ : * ? " < > | and no dot or '
                "blank at its ends."
            )


def _check_columns(
    field: TextFieldConfig, schema: DataSchema, problems: Problems
) -> None:
    columns = _columns_of(field)
    for column in dict.fromkeys(columns):
        if column not in schema.text:
            problems.add(
                f"text field {field.name!r}: {column!r} is not a column of data.text."
                f"{did_you_mean(column, schema.text)} data.text has "
                f"{shorten(list(schema.text), 300)}."
            )
        if columns.count(column) > 1:
            problems.add(f"text field {field.name!r} lists {column!r} more than once.")


def _check_chunks(
    field: TextFieldConfig, steps: Sequence[Step], problems: Problems
) -> None:
    if "dialogue_chunker" not in steps and (field.max_total_chunks or 1) > 1:
        problems.add(
            f"text field {field.name!r}: max_total_chunks is {field.max_total_chunks}, "
            "but without the step dialogue_chunker a row has one chunk. Add the step, "
            "or set max_total_chunks to 1."
        )


def _resolve(
    field: TextFieldConfig, steps: tuple[Step, ...], config: TextConfig
) -> TextField:
    length = field.max_sen_len or config.max_sen_len
    chunks = field.max_total_chunks or config.max_total_chunks
    if "dialogue_chunker" not in steps:
        chunks = 1
    cut = field.chunk_truncate
    return TextField(
        name=field.name,
        columns=_columns_of(field),
        encoder=field.encoder or config.encoder,
        steps=steps,
        max_sen_len=length,
        max_total_chunks=chunks,
        chunk_truncate=config.chunk_truncate if cut is None else cut,
        max_characters=field.max_characters
        or config.max_characters
        or length * chunks * CHARACTERS_PER_TOKEN,
    )
