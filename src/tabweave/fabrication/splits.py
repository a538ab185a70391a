"""Puts orders and threads together and draws the label."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field, NonNegativeInt, PositiveInt

from tabweave.errors import ConfigError
from tabweave.fabrication.orders import Floats, Orders, draw_names, draw_orders
from tabweave.fabrication.phrases import CUES
from tabweave.fabrication.threads import LENGTHS, PARCEL_STATES, Writer
from tabweave.schema import SPLITS, Parameters

COLUMNS = (
    "order_id",
    "dialogue",
    "shiptrack",
    "price",
    "quantity",
    "account_age_days",
    "seller_rating",
    "marketplace",
    "category",
    "payment_method",
    "seller_id",
    "is_abuse",
)
# Ids are multiples of the step modulo a prime: unique, in no order, nine digits.
ID_PRIME = 999_999_937
ID_STEP = 618_033_989

# cue: share of threads that request it; log-odds of abuse that the request brings
REQUESTS = {
    "pay_outside": (0.055, 5.0),
    "gift_card": (0.055, 5.0),
    "link": (0.055, 5.0),
    "code": (0.055, 5.0),
    "messenger": (0.06, 3.0),
    "not_arrived": (0.08, 2.0),
    "none": (0.64, 0.0),
}
# cue: share of threads that mention it harmlessly; a thread may do both
MENTIONS = dict.fromkeys(CUES, 0.05) | {"none": 0.70}


class FabricationConfig(Parameters):
    """Parameter group ``fabricate``: how much demo data, and from which seed."""

    seed: NonNegativeInt = 20
    """Seed of everything that is drawn."""
    train_rows: PositiveInt = 3000
    """Rows of the train split."""
    val_rows: PositiveInt = 600
    """Rows of the val split."""
    test_rows: PositiveInt = 1500
    """Rows of the test split."""
    abuse_rate: float = Field(default=0.12, gt=0.0, lt=1.0)
    """Expected share of abusive threads, between 0 and 1."""

    def rows(self, split: str) -> int:
        """Rows of a split."""
        rows = {
            "train": self.train_rows,
            "val": self.val_rows,
            "test": self.test_rows,
        }
        return rows[split]


def fabricate(config: FabricationConfig) -> dict[str, pa.Table]:
    """All splits, by name."""
    return {split: fabricate_split(config, split) for split in SPLITS}


def fabricate_split(config: FabricationConfig, split: str) -> pa.Table:
    """One split as a table of strings; equal arguments give equal bytes.

    Raises:
        ConfigError: There is no such split.
    """
    if split not in SPLITS:
        raise ConfigError(f"There is no split {split!r}; use one of {list(SPLITS)}.")
    generator = np.random.default_rng((config.seed, SPLITS.index(split)))
    rows = config.rows(split)
    orders = draw_orders(generator, rows, seed=config.seed, newcomers=split != "train")
    states = draw_names(generator, PARCEL_STATES, rows)
    lengths = draw_names(generator, LENGTHS, rows)
    mentions = draw_names(generator, MENTIONS, rows)
    requests = _draw_requests(generator, lengths)
    odds = _log_odds(orders, requests, states)
    abusive = generator.random(rows) < _calibrated(odds, config.abuse_rate)
    writer = Writer(generator)
    talk = zip(
        orders.marketplace, orders.category, lengths, requests, mentions, strict=True
    )
    columns = {
        "order_id": _order_ids(config, split),
        "dialogue": [writer.thread(*about) for about in talk],
        "shiptrack": [writer.parcel(state) for state in states],
        **orders.as_text(),
        "is_abuse": [str(int(value)) for value in abusive],
    }
    return pa.table(columns, schema=pa.schema([(c, pa.string()) for c in COLUMNS]))


def _draw_requests(generator: np.random.Generator, lengths: list[str]) -> list[str]:
    shares = {cue: share for cue, (share, _) in REQUESTS.items()}
    drawn = draw_names(generator, shares, len(lengths))
    # An empty thread asks for nothing; its label comes from the table alone.
    return [
        "none" if length == "empty" else cue
        for length, cue in zip(lengths, drawn, strict=True)
    ]


def _log_odds(orders: Orders, requests: list[str], states: list[str]) -> Floats:
    """Log-odds of abuse of every row, up to a constant: table, text, and both together.

    "It never arrived" counts when a young account says so of a delivered parcel; "write
    me on another app" counts for young accounts, and hardly where there is trust.
    """
    text = np.array([REQUESTS[cue][1] for cue in requests])
    claims = np.array([cue == "not_arrived" for cue in requests])
    invites = np.array([cue == "messenger" for cue in requests])
    delivered = np.array([state == "delivered" for state in states])
    together = 7.0 * claims * delivered * orders.youth
    together += invites * (4.0 * orders.youth - 2.0 * orders.trust)
    return orders.log_odds + text + together


def _calibrated(odds: Floats, rate: float) -> Floats:
    """Probabilities whose mean is `rate`; the constant is found by bisection."""
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = float(np.mean(1.0 / (1.0 + np.exp(-(odds + middle)))))
        low, high = (middle, high) if mean < rate else (low, middle)
    return 1.0 / (1.0 + np.exp(-(odds + low)))


def _order_ids(config: FabricationConfig, split: str) -> list[str]:
    """Ids of ten digits with leading zeros, unique over all splits."""
    first = 1 + sum(config.rows(name) for name in SPLITS[: SPLITS.index(split)])
    numbers = range(first, first + config.rows(split))
    return [f"{number * ID_STEP % ID_PRIME:010d}" for number in numbers]
