"""Which files a bundle may hold, of which kind, and how large each may be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

BUNDLE_FORMAT = 1
MANIFEST = "manifest.json"
PIPELINE, MODEL = "pipeline.onnx", "model.onnx"
INT8_PIPELINE, INT8_MODEL = "pipeline.int8.onnx", "model.int8.onnx"
SAMPLE_ROWS, SAMPLE_CSV = "sample/rows.json", "sample/rows.csv"
SAMPLE_ANSWERS = "sample/expected.json"
SAMPLE = (SAMPLE_ROWS, SAMPLE_CSV, SAMPLE_ANSWERS)
"""Files of the sample: all of them are there, or none."""
MEBIBYTE = 2**20
MAX_FILES = 1_000
LONGEST_NAME = 255

Kind = Literal["onnx", "json", "text"]


@dataclass(frozen=True)
class Part:
    """One file that a bundle may hold.

    Attributes:
        kind: How its content is checked.
        limit: Most bytes.
        required: Whether every bundle holds it.
    """

    kind: Kind
    limit: int
    required: bool = True


_ONNX = Part("onnx", 2**31 - 1)
_SMALL, _FITTED = Part("json", 16 * MEBIBYTE), Part("json", 256 * MEBIBYTE)
PARTS = {
    MODEL: _ONNX,
    # Absent when the gate refused it; the manifest says why.
    PIPELINE: Part("onnx", _ONNX.limit, required=False),
    INT8_MODEL: Part("onnx", _ONNX.limit, required=False),
    INT8_PIPELINE: Part("onnx", _ONNX.limit, required=False),
    "imputer.json": _FITTED,
    "risk_tables.json": _FITTED,
    "scaler.json": _FITTED,
    "impute_dict.json": _FITTED,
    "risk_table_map.json": _FITTED,
    "schema.json": _SMALL,
    "cell_rules.json": _SMALL,
    "metrics.json": _SMALL,
    "export_report.json": _SMALL,
    # One row may hold several texts of a mebibyte, which JSON writes six times as long.
    SAMPLE_ROWS: Part("json", 64 * MEBIBYTE, required=False),
    SAMPLE_CSV: Part("text", 64 * MEBIBYTE, required=False),
    SAMPLE_ANSWERS: Part("json", 16 * MEBIBYTE, required=False),
    "card.md": Part("text", MEBIBYTE, required=False),
}
TOKENIZER = Part("json", 64 * MEBIBYTE, required=False)
MANIFEST_LIMIT = 4 * MEBIBYTE

# They turn or hide what stands around them, so a name would not be what it looks like.
_DECEPTIVE = re.compile(
    "[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)


def part_of(path: str) -> Part | None:
    """What a path in a bundle is, or None when no bundle holds such a file."""
    if re.fullmatch(r"tokenizer/[^/]+/tokenizer\.json", path):
        return TOKENIZER
    return PARTS.get(path)


def tokenizer_path(field: str) -> str:
    """Where the tokenizer of a text field lies."""
    return f"tokenizer/{field}/tokenizer.json"


def name_fault(path: str) -> str:
    """Why a path cannot name a file of a bundle; "" when it can.

    Example:
        >>> name_fault("../secret"), name_fault("tokenizer/title/tokenizer.json")
        ("holds the step '..'", '')
    """
    if not path or len(path.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        return f"is empty or longer than {LONGEST_NAME} bytes"
    if path.startswith("/") or "\\" in path or ":" in path:
        return "is not a plain relative path with '/' between its steps"
    step = next((step for step in path.split("/") if step in ("", ".", "..")), None)
    if step is not None:
        return f"holds the step {step!r}"
    if any(unicodedata.category(ch) in ("Cc", "Cs") for ch in path):
        return "holds a control character or half a character"
    if _DECEPTIVE.search(path):
        return "holds a character that is invisible or turns the writing around"
    return ""


def look_alikes(paths: Iterable[str]) -> list[str]:
    """Paths that another one equals when case and spelling variants do not count.

    On some file systems both would be one file.
    """
    seen: dict[str, str] = {}
    found = []
    for path in paths:
        folded = unicodedata.normalize("NFKC", path).casefold()
        if folded in seen:
            found.append(path)
        seen[folded] = path
    return found
