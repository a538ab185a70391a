"""Parameter group ``score``: which file a bundle scores, and how."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveInt

from tabweave.schema import Parameters, PathText, Quoting


class ScoreConfig(Parameters):
    """Parameter group ``score``: a bundle, a file of raw rows, and where answers go."""

    OF_THE_RUN: ClassVar[frozenset[str]] = frozenset({"overwrite"})

    bundle: PathText | None = None
    """Folder of the bundle; None is the one that the export stage has written."""
    input: PathText | None = None
    """The rows to score, .csv, .tsv or .parquet, or a folder or pattern of such files;
    relative to the project root."""
    output: PathText | None = None
    """File for the rows with predictions, in the format of the input; a folder where the
    input is no single file."""
    rejects: PathText | None = None
    """File, or folder, for rows that cannot be scored; None refuses an input with such a
    row."""
    quoting: Quoting | None = None
    """Whether cells of a CSV or TSV may be in quotes (standard) or a quote is a character
    like any other (none); None takes what the bundle was trained with."""
    overwrite: bool = False
    """Whether output, rejects and parts of another scoring may be replaced."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Compute threads; None takes one per core that the process may use."""
    int8: bool = False
    """Whether pipeline.int8.onnx of the bundle answers, instead of pipeline.onnx."""
    batch_rows: PositiveInt = 32
    """Most rows that the model sees at once."""
    batch_bytes: PositiveInt = 2**14
    """Most bytes of text that the model sees at once, counting each row as the longest."""
    window_rows: PositiveInt = 4096
    """Most rows that are sorted by length, and saved, together."""
    window_bytes: PositiveInt = 2**24
    """Most bytes of text in such a window; a longer row has one of its own."""
