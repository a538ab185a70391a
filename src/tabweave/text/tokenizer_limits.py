r"""What a tokenizer.json may ask for: one from outside must not take hours or all memory.

The tokenizers library runs the patterns of the file with a matcher that backtracks, and
its normalizers may write any text in place of a character. So patterns have a form in
which nothing is tried twice, as those of the published tokenizers of BERT, RoBERTa, XLM-R,
CamemBERT and DeBERTa have: a part that may repeat without end is the last one of its
alternative. ``\s+`` is such a pattern; ``(\s+)+x`` and ``\s+x`` are not.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tabweave.errors import ConfigError, Problems, shorten

MAX_BYTES = 64 * 2**20
MAX_TOKENS = 10_000_000
MAX_PATTERN, MAX_AFFIX, MAX_WORD = 500, 64, 1_000
MAX_CHOICES = 256
"""Most ways in which the bounded repeats of a pattern can share a text."""
MAX_GROWTH = 1_024
"""Most characters that all replacements together may make of one."""

_CLASS = r"\\[sSdDwWhHnrtfv]|\\[pP]\{\^?\w{1,40}\}|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}"
_SIGN = r"\\[^\w\s]"
_ATOM = (
    rf"(?>{_CLASS}|{_SIGN}|\[(?>{_CLASS}|{_SIGN}|[^\[\]\\&])+\]|[^\\\[\](){{}}|*+?^$])"
)
_FEW = r"(?>\?|\{\d{1,2}(?:,\d{1,2})?\})"
_STEP = re.compile(rf"{_ATOM}({_FEW})?")
_WITHOUT_END = r"(?>\*|\+|\{\d{1,2},\})"
_ALTERNATIVE = rf"(?>{_ATOM}{_FEW}?(?![*+?{{]))*(?>{_ATOM}{_WITHOUT_END})?"
_PATTERN = re.compile(rf"\^?{_ALTERNATIVE}(?:\|{_ALTERNATIVE})*")
# GPT-2, and so RoBERTa where it is written out. The end of a run of blanks is tried once.
_KNOWN = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}


def read_specification(tokenizer_json: str) -> dict[str, Any]:
    """The content of a tokenizer.json whose work is bounded.

    Raises:
        ConfigError: It is too large or no JSON object with a model, or asks for work or
            memory without measure; the message lists all that it asks for.
    """
    if len(tokenizer_json) > MAX_BYTES:
        raise ConfigError(
            f"The tokenizer.json has {len(tokenizer_json):,} characters; at most "
            f"{MAX_BYTES:,} are read. Use another encoder, or text.encoder: scratch."
        )
    try:
        spec = json.loads(tokenizer_json)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"The tokenizer.json is not one that the tokenizers library reads: "
            f"{shorten(str(error), 200)}."
        ) from error
    if not isinstance(spec, dict) or not isinstance(spec.get("model"), dict):
        raise ConfigError(
            "The tokenizer.json is not one that the tokenizers library reads: it is no "
            "JSON object with a model."
        )
    problems = Problems(
        "The tokenizer.json asks for more work than a text may cost. Use another "
        "encoder, or text.encoder: scratch"
    )
    for fault in (*_step_faults(spec), *_model_faults(spec["model"])):
        problems.add(fault)
    problems.raise_as(ConfigError)
    return spec


def _step_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    growth = 1
    for step in _steps(spec.get("normalizer")):
        added = step.get("content" if step.get("type") == "Replace" else "prepend")
        if isinstance(added, str):
            growth *= 1 + len(added)
    if growth > MAX_GROWTH:
        yield (
            f"normalizer: its replacements make up to {growth:,} characters of one; "
            f"allowed are {MAX_GROWTH:,}."
        )
    for part in ("normalizer", "pre_tokenizer"):
        for step in _steps(spec.get(part)):
            pattern = step.get("pattern")
            expression = pattern.get("Regex") if isinstance(pattern, dict) else None
            if isinstance(expression, str) and not _is_bounded(expression):
                yield (
                    f"{part}: the pattern {shorten(expression)} may try a text again and "
                    "again. Allowed: characters, classes, and a part that repeats without "
                    "end only as the last one of an alternative."
                )


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, those within sequences included."""
    waiting = [part]
    while waiting:
        step = waiting.pop()
        if isinstance(step, list):
            waiting += step
        elif isinstance(step, dict):
            yield step
            waiting += [step.get(name) for name in ("normalizers", "pretokenizers")]


def _is_bounded(expression: str) -> bool:
    if expression in _KNOWN:
        return True
    if len(expression) > MAX_PATTERN or not _PATTERN.fullmatch(expression):
        return False
    repeats = (step[1] for step in _STEP.finditer(expression) if step[1])
    return math.prod(map(_choices, repeats)) <= MAX_CHOICES


def _choices(repeat: str) -> int:
    """How many lengths a bounded repeat may try: of ``?`` 2, of ``{1,3}`` 3."""
    if repeat == "?":
        return 2
    low, _, high = repeat.strip("{}").partition(",")
    return max(1, int(high or low) - int(low) + 1)


def _model_faults(model: Mapping[str, Any]) -> Iterator[str]:
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        affix = model.get(name)
        if isinstance(affix, str) and len(affix) > MAX_AFFIX:
            yield f"model.{name} has {len(affix):,} characters; allowed: {MAX_AFFIX}."
    longest = model.get("max_input_chars_per_word")
    if isinstance(longest, int) and longest > MAX_WORD:
        yield (
            f"model.max_input_chars_per_word is {longest:,}; allowed: {MAX_WORD:,}, as "
            "the time for a word grows with the square of its length."
        )
    vocabulary = model.get("vocab")
    ids = vocabulary.values() if isinstance(vocabulary, dict) else ()
    largest = max((i for i in ids if isinstance(i, int)), default=0)
    if largest >= MAX_TOKENS:
        yield f"model.vocab has the id {largest:,}; allowed are ids below {MAX_TOKENS:,}."
