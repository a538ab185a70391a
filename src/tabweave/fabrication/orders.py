"""The table half of the demo: orders, their sellers, and how risky they look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SELLERS = 900
NEWCOMERS = 60  # the last of the sellers, who open after train was collected
NEWCOMER_SHARE = 0.04
# Sellers by their rank in sales; the first ones are seen often.
RISKY_SELLERS = (4, 9, 17, 23, 38, 52, 71, 90, 120, 160, 210, 275, 350, 430, 520, 610)
MISSING_RATING = 0.10
MAX_AGE_DAYS = 2000

# marketplace: share of orders; log-odds of abuse
MARKETPLACES = {
    "US": (0.36, 0.0),
    "UK": (0.20, 0.0),
    "DE": (0.12, 0.0),
    "ES": (0.11, 0.2),
    "FR": (0.11, 0.0),
    "JP": (0.05, -0.2),
    "CN": (0.05, 0.2),
}
# category: share of orders; log-odds of abuse; median price
CATEGORIES = {
    "electronics": (0.24, 0.8, 160.0),
    "fashion": (0.20, 0.1, 55.0),
    "home": (0.16, -0.3, 48.0),
    "toys": (0.10, -0.4, 26.0),
    "sports": (0.08, -0.1, 70.0),
    "beauty": (0.07, 0.0, 32.0),
    "books": (0.07, -1.0, 15.0),
    "garden": (0.04, -0.5, 40.0),
    "collectibles": (0.04, 1.2, 95.0),
}
# payment method: share of orders; log-odds of abuse
PAYMENTS = {
    "card": (0.52, -0.4),
    "wallet": (0.20, 0.0),
    "invoice": (0.12, -0.2),
    "prepaid_card": (0.09, 1.2),
    "bank_transfer": (0.07, 0.8),
}


@dataclass(frozen=True)
class Orders:
    """Columns of the table, one entry per order.

    Attributes:
        seller: Rank of the seller in sales, from 0.
        seller_rating: 1 to 5 stars; NaN is missing.
        youth: 1 for a brand-new account, falling towards 0 with its age.
        trust: 1 for an old account that deals with a high-rated seller, else near 0.
        log_odds: What the table alone says about abuse, up to a constant.
    """

    price: Floats
    quantity: Ints
    account_age_days: Ints
    seller_rating: Floats
    marketplace: list[str]
    category: list[str]
    payment_method: list[str]
    seller: Ints
    youth: Floats
    trust: Floats
    log_odds: Floats

    def as_text(self) -> dict[str, list[str]]:
        """The columns as they are written to a file; missing is empty."""
        return {
            "price": [f"{value:.2f}" for value in self.price],
            "quantity": [str(value) for value in self.quantity],
            "account_age_days": [str(value) for value in self.account_age_days],
            "seller_rating": [
                "" if np.isnan(value) else f"{value:.1f}"
                for value in self.seller_rating
            ],
            "marketplace": self.marketplace,
            "category": self.category,
            "payment_method": self.payment_method,
            "seller_id": [f"S{value:04d}" for value in self.seller],
        }


def draw_names(
    generator: np.random.Generator, shares: Mapping[str, float], rows: int
) -> list[str]:
    """Names drawn with the given shares."""
    names = list(shares)
    edges = np.cumsum(list(shares.values()))
    drawn = np.searchsorted(edges, generator.random(rows) * edges[-1], side="right")
    return [names[index] for index in drawn]


def draw_orders(
    generator: np.random.Generator, rows: int, *, seed: int, newcomers: bool
) -> Orders:
    """Orders of one split.

    Args:
        generator: Source of everything that differs between splits.
        rows: Number of orders.
        seed: Decides the usual ratings of the sellers, which all splits share.
        newcomers: Whether sellers appear whom train never shows.
    """
    marketplace = draw_names(
        generator, {k: v[0] for k, v in MARKETPLACES.items()}, rows
    )
    category = draw_names(generator, {k: v[0] for k, v in CATEGORIES.items()}, rows)
    payment = draw_names(generator, {k: v[0] for k, v in PAYMENTS.items()}, rows)
    seller = _draw_sellers(generator, rows, newcomers=newcomers)
    medians = np.array([CATEGORIES[name][2] for name in category])
    price = medians * np.exp(0.6 * generator.standard_normal(rows))
    age = 1 + (MAX_AGE_DAYS * generator.random(rows) ** 1.5).astype(np.int64)
    quantity = 1 + (-0.7 * np.log(1.0 - generator.random(rows))).astype(np.int64)
    noise = 0.15 * generator.standard_normal(rows)
    rating = np.clip(_usual_ratings(seed)[seller] + noise, 1.0, 5.0).round(1)
    missing = generator.random(rows) < MISSING_RATING

    youth = np.exp(-age / 250.0)
    log_odds = (
        3.4 * youth
        + 0.8 * np.log(price / 50.0)
        + 1.8 * np.clip(4.5 - rating, 0.0, 1.5)
        + 2.4 * np.isin(seller, RISKY_SELLERS)
        + np.array([MARKETPLACES[name][1] for name in marketplace])
        + np.array([CATEGORIES[name][1] for name in category])
        + np.array([PAYMENTS[name][1] for name in payment])
    )
    return Orders(
        price=price,
        quantity=quantity,
        account_age_days=age,
        seller_rating=np.where(missing, np.nan, rating),
        marketplace=marketplace,
        category=category,
        payment_method=payment,
        seller=seller,
        youth=youth,
        trust=(1.0 - youth) * (rating >= 4.3),
        log_odds=log_odds,
    )


def _draw_sellers(
    generator: np.random.Generator, rows: int, *, newcomers: bool
) -> Ints:
    """Sellers with a long tail: a few sell much, most sell little."""
    known = SELLERS - NEWCOMERS
    edges = np.cumsum(1.0 / (np.arange(known) + 12.0))
    sellers = np.searchsorted(edges, generator.random(rows) * edges[-1], side="right")
    if not newcomers:
        return sellers
    new = known + (generator.random(rows) * NEWCOMERS).astype(np.int64)
    return np.where(generator.random(rows) < NEWCOMER_SHARE, new, sellers)


def _usual_ratings(seed: int) -> Floats:
    generator = np.random.default_rng((seed, SELLERS))
    lower = 0.5 * np.isin(np.arange(SELLERS), RISKY_SELLERS)
    return 4.6 - 0.35 * np.abs(generator.standard_normal(SELLERS)) - lower
