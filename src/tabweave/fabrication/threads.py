"""The text half of the demo: threads of messages, and the event logs of parcels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TypeVar

import numpy as np

from tabweave.fabrication.phrases import ITEMS, SLOTS, Phrases, phrases_of

T = TypeVar("T")

# marketplace: its other language beside English, and the share of that language
LANGUAGES = {
    "US": ("spanish", 0.05),
    "UK": ("english", 1.0),
    "DE": ("german", 0.6),
    "ES": ("spanish", 0.6),
    "FR": ("french", 0.6),
    "JP": ("japanese", 0.5),
    "CN": ("chinese", 0.5),
}
# how long a thread is: share of threads
LENGTHS = {"ordinary": 0.96, "long": 0.03, "empty": 0.01}
MOST_EXCHANGES = 3  # an ordinary thread has one to this many
LONG_EXCHANGES = 21  # in English certainly more than 512 WordPiece tokens
INSISTENCE = 0.75  # share of requests that are made a second time

# state of a parcel: share of orders
PARCEL_STATES = {
    "delivered": 0.62,
    "moving": 0.22,
    "delayed": 0.10,
    "returned": 0.05,
    "unknown": 0.01,
}
PARCEL_START = ("label created", "picked up by carrier")
PARCEL_ENDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "delivered": (
        ("out for delivery", "delivered, signed by resident"),
        ("out for delivery", "delivered, left at front door"),
        ("out for delivery", "delivered to mailbox"),
        ("delivered to parcel locker",),
    ),
    "moving": ((), ("arrived at local depot",), ("out for delivery",)),
    "delayed": (
        ("delay, address not found",),
        ("delay at customs",),
        ("carrier reports parcel lost",),
    ),
    "returned": (
        ("refused by resident", "returned to sender"),
        ("not collected from locker", "returned to sender"),
    ),
}
FIRST_DAY = date(2024, 1, 2)
EMOJI = ("😊", "🙏", "👍", "🎉", "📦", "😀", "❤️", "🚚")


class Writer:
    """Writes the texts of one split with one stream of random numbers."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def thread(
        self, marketplace: str, category: str, length: str, request: str, mention: str
    ) -> str:
        """A whole thread: opening, small talk with the cues in it, closing.

        Args:
            marketplace: Decides which languages are likely.
            category: Decides which items are talked about.
            length: A key of LENGTHS.
            request: Cue that somebody asks for, or "none".
            mention: Cue whose words are used harmlessly, or "none".
        """
        if length == "empty":
            return ""
        other, share = LANGUAGES[marketplace]
        in_other = length == "ordinary" and self._chance(share)
        phrases = phrases_of(other if in_other else "english")
        messages = self._small_talk(phrases, length)
        for message in self._cue_messages(phrases, request, mention):
            messages.insert(self._below(len(messages) + 1), message)
        if self._chance(0.8):
            messages.insert(0, self._pick(phrases.openings))
        if self._chance(0.6):
            messages.append(self._pick(phrases.closings))
        # Drawn once, so that question and answer talk of the same city and colour.
        values = {slot: self._pick(options) for slot, options in SLOTS.items()}
        values["item"] = self._pick(ITEMS[category])
        return " ".join(
            f"[bom] {self._as_web_form(message.format_map(values))} [eom]"
            for message in messages
        )

    def parcel(self, state: str) -> str:
        """Event log of a parcel whose last event fits `state`; empty when unknown."""
        if state == "unknown":
            return ""
        day = FIRST_DAY + timedelta(days=self._below(330))
        lines = []
        start = [*PARCEL_START, f"in transit via {self._pick(SLOTS['city'])}"]
        for event in (*start, *self._pick(PARCEL_ENDS[state])):
            lines.append(f"{day.isoformat()} {event}")
            day += timedelta(days=1 + self._below(3))
        return "; ".join(lines)

    def _small_talk(self, phrases: Phrases, length: str) -> list[str]:
        left = list(phrases.exchanges)
        count = LONG_EXCHANGES if length == "long" else 1 + self._below(MOST_EXCHANGES)
        return [
            message
            for _ in range(count)
            for message in left.pop(self._below(len(left)))
        ]

    def _cue_messages(self, phrases: Phrases, request: str, mention: str) -> list[str]:
        messages = []
        if mention != "none":
            messages.append(self._pick(phrases.mentions[mention]))
        if request != "none":
            times = 2 if self._chance(INSISTENCE) else 1
            left = list(phrases.requests[request])
            messages += [left.pop(self._below(len(left))) for _ in range(times)]
        return messages

    def _as_web_form(self, message: str) -> str:
        """The message with markup, entities and emoji, as web forms send them."""
        message = message.replace("&", "&amp;").replace('"', "&quot;")
        if self._chance(0.5):
            message = message.replace("'", self._pick(("&#39;", "&#8217;")))
        if self._chance(0.12):
            message = message.replace(" ", "&nbsp;", 1)
        if self._chance(0.10):
            message = message.replace(". ", ".<br/>", 1)
        if self._chance(0.12):
            message = f"{message} {self._pick(EMOJI)}"
        if self._chance(0.04):
            first, space, rest = message.partition(" ")
            message = f"<b>{first}</b>{space}{rest}"
        return f"<p>{message}</p>" if self._chance(0.2) else message

    def _chance(self, share: float) -> bool:
        return bool(self._generator.random() < share)

    def _below(self, bound: int) -> int:
        return int(self._generator.random() * bound)

    def _pick(self, options: Sequence[T]) -> T:
        return options[self._below(len(options))]
