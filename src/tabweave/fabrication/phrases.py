"""What a language of the demo has to say, and what fills the slots of its sentences.

A sentence names its slots in braces. A cue is a thing that abusers ask for; each cue
has requests (somebody asks for it) and mentions (the same words, used harmlessly).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Phrases:
    """What people say in one language.

    Attributes:
        openings: First message of a buyer.
        exchanges: A harmless message and the answer to it.
        closings: Last message of either side.
        requests: Cue -> sentences that ask for what an abuser wants.
        mentions: Cue -> sentences with the same words and no such wish.
    """

    openings: tuple[str, ...]
    exchanges: tuple[tuple[str, str], ...]
    closings: tuple[str, ...]
    requests: dict[str, tuple[str, ...]]
    mentions: dict[str, tuple[str, ...]]


@cache
def phrases_of(language: str) -> Phrases:
    """The phrases of a language: what ``languages/<language>.json`` holds."""
    place = files("tabweave.fabrication") / "languages" / f"{language}.json"
    said = json.loads(place.read_text(encoding="utf-8"))
    return Phrases(
        openings=tuple(said["openings"]),
        exchanges=tuple((asked, answer) for asked, answer in said["exchanges"]),
        closings=tuple(said["closings"]),
        requests={cue: tuple(texts) for cue, texts in said["requests"].items()},
        mentions={cue: tuple(texts) for cue, texts in said["mentions"].items()},
    )


CUES = ("pay_outside", "gift_card", "link", "code", "messenger", "not_arrived")

ITEMS = {
    "electronics": ("phone", "camera", "laptop", "headset", "tablet", "speaker"),
    "fashion": ("jacket", "dress", "pair of boots", "handbag", "sweater", "watch"),
    "home": ("lamp", "coffee table", "rug", "blender", "mirror", "curtain set"),
    "toys": ("puzzle", "train set", "board game", "doll house", "kite"),
    "sports": ("tent", "yoga mat", "bike helmet", "racket", "pair of skis"),
    "beauty": ("perfume", "hair dryer", "face cream", "brush set"),
    "books": ("atlas", "cookbook", "novel", "comic box", "dictionary"),
    "garden": ("hose", "lawn mower", "planter", "bird house", "parasol"),
    "collectibles": ("coin", "trading card", "stamp album", "vintage poster"),
}

SLOTS = {
    "app": ("WhatsApp", "Telegram", "Signal", "WeChat", "Viber"),
    "bank": ("bank transfer", "wire transfer", "crypto", "cash transfer"),
    "link": (
        "http://order-check.example/verify",
        "pay-secure.example/confirm",
        "http://parcel-fee.example/login",
        "https://account-refund.example/form",
    ),
    "official": (
        "https://help.market.example/returns",
        "https://www.market.example/orders",
        "https://carrier.example/track",
    ),
    "days": ("two", "three", "four", "five", "six", "ten"),
    "percent": ("10", "15", "20", "30"),
    "phone": ("555-0142", "555-0178", "555-0109", "555-0163"),
    "city": (
        "Leeds",
        "Porto",
        "Lyon",
        "Hamburg",
        "Austin",
        "Osaka",
        "Toronto",
        "Madrid",
    ),
    "colour": ("blue", "green", "black", "red", "grey", "white"),
    "name": ("Alex", "Sam", "Maria", "Jonas", "Priya", "Chen", "Emma", "Yuki", "Omar"),
    "size": ("small", "medium", "large", "extra large"),
}
