"""How the cost of every text step grows on hostile inputs: t(2n) / t(n), 2 if linear.

    python -m benchmarks.text_growth --characters 1000000

Steps get the whole input, as if the character cap did not exist. Prints the ratios of
three doublings and ends with one JSON line of their geometric means: a linear step has 2,
a quadratic one 4. A single doubling may cost more, where memory outgrows what the
allocator keeps. What takes too little to time is printed, but not in the JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from tabweave.text import FieldTokenizer, TextConfig
from tabweave.text.chunking import pack_messages
from tabweave.text.cleaning import blank_normalizer, normalize_html, remove_emoji
from tabweave.text.dialogue import read_dialogue
from tabweave.text.vocabulary import learn_vocabulary

ROUNDS, DOUBLINGS = 4, 3
TIMEABLE = 2e-3
"""CPU seconds below which a ratio says more about the clock than about the step."""
LIMIT, CHUNKS = 510, 5

HOSTILE = {
    "opening markers": "[bom]",
    "pairs of markers": "[bom][eom]",
    "open comments": "<!",
    "open tags": "<a ",
    "nested tags": "<a<b>>",
    "ampersands": "&",
    "unfinished references": "&#x41",
    "combining marks": "e" + "\u0301" * 30,
    "one word": "a",
    "CJK": "\u4f60\u597d",
    "emoji": "\U0001f600\u200d",
    "blanks": " \u3000\n",
    "control characters": "\x00\x0b",
    "punctuation": "!?",
    "different words": "",
}


def hostile(name: str, characters: int) -> str:
    """An input of about so many characters."""
    if name == "different words":
        return " ".join(f"w{n:x}" for n in range(characters // 7))[:characters]
    unit = HOSTILE[name]
    return (unit * (characters // len(unit) + 1))[:characters]


def steps() -> dict[str, Callable[[str], object]]:
    """Every step of the chain as a function of one text."""
    tokenizer_json = learn_vocabulary(["some words to learn from"] * 2, TextConfig())

    def tokenize(text: str) -> object:
        # A new one each time: a memo that knows the words would hide their cost.
        return FieldTokenizer(tokenizer_json).encode([text])

    return {
        "dialogue_splitter": read_dialogue,
        "html_normalizer": normalize_html,
        "emoji_remover": remove_emoji,
        "text_normalizer": blank_normalizer(),
        "dialogue_chunker": _pack,
        "tokenizer": tokenize,
    }


def _pack(text: str) -> object:
    messages = (part.encode() for part in read_dialogue(text).messages)
    return pack_messages(messages, LIMIT, CHUNKS, truncate=False, width=1)


def cpu_seconds(function: Callable[[str], object], texts: list[str]) -> list[float]:
    """CPU seconds for each text, the best of some rounds.

    The texts take turns, so that a busy moment of the machine meets all of them.
    """
    best = [float("inf")] * len(texts)
    for _ in range(ROUNDS):
        for place, text in enumerate(texts):
            started = time.process_time()
            function(text)
            best[place] = min(best[place], time.process_time() - started)
        if best[-1] < TIMEABLE:
            break
    return best


def measure(characters: int) -> dict[str, Any]:
    """Seconds at the largest size and the growth per doubling, per step and input."""
    slowest = 0.0
    growth: dict[str, dict[str, float]] = {}
    for step, function in steps().items():
        growth[step] = {}
        for name in HOSTILE:
            texts = [hostile(name, characters >> k) for k in range(DOUBLINGS, -1, -1)]
            seconds = cpu_seconds(function, texts)
            slowest = max(slowest, seconds[-1])
            ratios = [twice / max(once, 1e-9) for once, twice in pairwise(seconds)]
            shown = "  ".join(f"x {ratio:4.2f}" for ratio in ratios)
            print(f"{step:18} {name:22} {seconds[-1]:8.4f} s  {shown}", file=sys.stderr)
            if seconds[-1] >= TIMEABLE:
                mean = (seconds[-1] / seconds[0]) ** (1 / DOUBLINGS)
                growth[step][name] = round(mean, 2)
    worst = max(ratio for by_name in growth.values() for ratio in by_name.values())
    return {
        "benchmark": "text_growth",
        "characters": characters,
        "worst": worst,
        "slowest_seconds": round(slowest, 2),
        "growth": growth,
    }


def main() -> None:
    """Prints the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=1_000_000, help="at most")
    print(json.dumps(measure(parser.parse_args().characters)))


if __name__ == "__main__":
    main()
