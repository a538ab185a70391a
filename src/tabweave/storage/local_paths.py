"""Paths of this machine: the address of a file elsewhere is refused where it is given.

`pathlib` reads ``gs://bucket/x`` as the folder ``gs:`` of the current one. Whoever takes
a path from a user asks here first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from tabweave.errors import ConfigError, Problems, shorten

# Two letters at least: C:/ is a drive. One slash: pathlib makes one of two.
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def local_path(value: str) -> str:
    """The path as it was given.

    Raises:
        ValueError: It is an address such as ``s3://bucket/key``.

    Example:
        >>> local_path("data/01_raw")
        'data/01_raw'
    """
    if "://" in value or SCHEME.match(value):
        raise ValueError(
            f"{shorten(value)} is an address, but only files and folders of this "
            "machine are read and written. Copy or mount it here and give that path"
        )
    return value


def check_local_paths(named: Mapping[str, str | os.PathLike[str] | None]) -> None:
    """Refuses addresses.

    Args:
        named: What a message calls the path -> the path as it was given.

    Raises:
        ConfigError: Lists every address.
    """
    problems = Problems("Some paths cannot be used")
    for name, path in named.items():
        try:
            local_path(os.fspath(path or ""))
        except ValueError as error:
            problems.add(f"{name}: {error}.")
    problems.raise_as(ConfigError)
