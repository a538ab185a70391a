"""Which files are parts of one table: told by the names that writers of parts give them.

Spark, Hadoop, Dask and Arrow write ``part-00000.csv`` or ``part.0.parquet``, Hugging Face
``train-00000-of-00003.parquet``, and Hive folders ``key=value/``. A browser that fetches
a file twice writes ``data (1).csv``: a copy, and no part of anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import PurePath
from urllib.parse import unquote

from tabweave.errors import Problems, SchemaError, some_of

PART = re.compile(r"part(?:-.|[_.]\d)", re.IGNORECASE)
ONE_OF = re.compile(
    r"(?P<of>.+)[-_.](?P<number>\d+)[-_]of[-_](?P<count>\d+)(?:-[0-9a-f]+)?(?=\.|$)",
    re.IGNORECASE,
)
COPY = re.compile(
    r"(?P<of>.+?)(?: ?\(\d+\)| - copy(?: \(\d+\))?| copy(?: \d+)?)", re.IGNORECASE
)
KEY = re.compile(r"(?P<key>[^=]+)=(?P<value>.*)", re.DOTALL)
SHOWN = 10
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark write for a value that is missing."""

Keys = tuple[tuple[str, str], ...]


def family(name: str) -> str | None:
    """What all parts of one table share in their names; None for any other file.

    Example:
        >>> family("part-00000-c000.snappy.parquet"), family("train-00001-of-00003.csv")
        ('part', 'train of 3')
        >>> family("data.csv"), family("part-00000 (1).csv")
        (None, None)
    """
    if original_of(name) is not None:
        return None
    numbered = ONE_OF.match(name)
    if numbered is not None:
        return f"{numbered['of']} of {int(numbered['count'])}"
    return "part" if PART.match(name) else None


def original_of(name: str) -> str | None:
    """The name that a numbered copy was made from, without its ending, or None.

    Example:
        >>> original_of("data (1).csv"), original_of("data - Copy.csv")
        ('data', 'data')
    """
    copy = COPY.fullmatch(PurePath(name).stem)
    return None if copy is None else copy["of"]


def whole_name(stem: str) -> str:
    """The name of the table that a numbered part, or a copy, is of; else the name itself.

    Example:
        >>> whole_name("reviews-00000-of-00002.snappy"), whole_name("data (1)")
        ('reviews.snappy', 'data')
    """
    while True:
        copy, numbered = COPY.fullmatch(stem), ONE_OF.match(stem)
        if copy is not None:
            stem = copy["of"]
        elif numbered is not None:
            stem = numbered["of"] + stem[numbered.end() :]
        else:
            return stem


def check_complete(where: PurePath, names: Iterable[str]) -> None:
    """Refuses parts that say how many they are, where some are missing or there twice.

    Raises:
        SchemaError: Names what is missing.
    """
    numbers: dict[int, str] = {}
    problems = Problems(f"{where}: the files are not one whole table")
    count = 0
    for name in names:
        part = ONE_OF.match(name)
        if part is None:
            return
        number, count = int(part["number"]), int(part["count"])
        if number in numbers:
            problems.add(f"{numbers[number]} and {name} have the same number.")
        numbers[number] = name
    # Some writers count from 1.
    first = 1 if 0 not in numbers and count in numbers else 0
    wanted = range(first, first + count)
    missing = count - sum(number in wanted for number in numbers)
    if missing:
        example = next(iter(numbers.values()))
        # A name may promise billions of files: only those that are shown are counted out.
        shown = list(islice((n for n in wanted if n not in numbers), SHOWN))
        more = f" and {missing - SHOWN} more" if missing > SHOWN else ""
        problems.add(
            f"there must be {count} files such as {example}, but {missing} of them "
            f"are missing, numbers {some_of(shown)}{more}."
        )
    if problems:
        raise SchemaError(
            f"{problems}\nFetch what is missing or remove what is double; or name what "
            "is to be read by a pattern, such as '*.parquet'."
        )


def folder_keys(name: PurePath) -> Keys:
    """Key and value of each folder ``key=value`` on the way to a file.

    Args:
        name: Path of the file below the folder of the table.

    Raises:
        SchemaError: A key stands twice, or is not UTF-8.

    Example:
        >>> folder_keys(PurePath("marketplace=US/day=2024-01-31/part-0.csv"))
        (('marketplace', 'US'), ('day', '2024-01-31'))
    """
    found: dict[str, str] = {}
    for part in name.parts[:-1]:
        pair = KEY.fullmatch(part)
        if pair is None:
            continue
        try:
            key, value = (unquote(text, errors="strict") for text in pair.groups())
            f"{key}{value}".encode()
        except UnicodeError as error:
            raise SchemaError(f"{name}: the folder {part!r} is not UTF-8.") from error
        if key in found:
            raise SchemaError(f"{name}: two folders have the key {key!r}.")
        found[key] = "" if value == NO_VALUE else value
    return tuple(found.items())


def natural_order(name: PurePath) -> tuple[list[list[str | int]], str]:
    """Sorts names as people count: ``part-2`` before ``part-10``; folder by folder."""
    parts: list[list[str | int]] = [
        [int(t) if n % 2 else t for n, t in enumerate(re.split("([0-9]+)", part))]
        for part in name.parts
    ]
    return parts, name.as_posix()
