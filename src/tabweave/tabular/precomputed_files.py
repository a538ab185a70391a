"""Finds and reads what an upstream step has computed: plain values, as JSON or pickle."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tabweave.errors import ArtifactError, MissingDataError, shorten, some_of
from tabweave.storage.artifacts import differences
from tabweave.storage.restricted_pickle import MAX_BYTES, MAX_DEPTH, Plain, read_pickle

# What an upstream step may hand over -> the endings it may have; the first one wins.
PRECOMPUTED_FILES = {
    "impute_dict": (".json", ".pkl"),
    "risk_table_map": (".json", ".pkl"),
    "selected_features": (".json",),
}
HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class PrecomputedFile:
    """A file of an upstream step, and the plain value in it, not yet checked."""

    path: Path
    value: Plain


def find_precomputed(folder: Path, name: str) -> Path:
    """The file of an upstream step, such as ``impute_dict``; JSON wins over pickle.

    Raises:
        MissingDataError: The folder has no such file; the message lists what it has.
    """
    candidates = [Path(folder) / f"{name}{end}" for end in PRECOMPUTED_FILES[name]]
    for path in candidates:
        if path.is_file():
            return path
    held = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    raise MissingDataError(
        f"No {' or '.join(p.name for p in candidates)} found in {folder}, which holds "
        f"{some_of(held) or 'nothing'}. Put the file there, name the folder with "
        "--params=model_artifacts_input=<folder>, or let the tabular stage learn from "
        "train."
    )


def read_precomputed(folder: Path, name: str) -> PrecomputedFile:
    """Reads the file of an upstream step.

    Raises:
        MissingDataError: The folder has no such file.
        ArtifactError: A file cannot be read, or JSON and pickle are both there and hold
            different values.
    """
    path = find_precomputed(folder, name)
    value = _read(path)
    for twin in (path.with_suffix(end) for end in PRECOMPUTED_FILES[name]):
        if twin != path and twin.is_file():
            other = _read(twin)
            if other != value:
                raise ArtifactError(_differ(path, twin, value, other))
    return PrecomputedFile(path, value)


def _differ(path: Path, twin: Path, value: Plain, other: Plain) -> str:
    lines = [shorten(line, 120) for line in differences(value, other, path.stem)]
    return (
        f"{path} and {twin.name} hold different values, and only one can be meant: "
        f"{'; '.join(lines[:3])}{f' and {len(lines) - 3} more' if lines[3:] else ''}. "
        "Remove one of the two files."
    )


def _read(path: Path) -> Plain:
    if path.suffix == ".pkl":
        return read_pickle(path)
    if path.stat().st_size > MAX_BYTES:
        raise ArtifactError(
            f"{path} has {path.stat().st_size:,} bytes; such files are read up to "
            f"{MAX_BYTES:,}. Leave out the columns that are not used."
        )
    try:
        return _strict_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path} cannot be read: {error}. Write it as JSON (UTF-8, no key twice, no "
            "NaN)."
        ) from error


def _strict_json(text: str) -> Any:
    value = json.loads(
        text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant
    )
    if HALF_CHARACTER.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        holders = [v for v in level if isinstance(v, dict | list)]
        level = [c for v in holders for c in (v.values() if isinstance(v, dict) else v)]
        if not level:
            return
    raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = sorted(name for name, count in counts.items() if count > 1)
        raise ValueError(f"it has the key {some_of(twice, 3)} twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not a number")
