"""The table half: shares as asked, and risk that moves the way the words say."""

import numpy as np
import pytest

from tabweave.fabrication.orders import (
    NEWCOMERS,
    RISKY_SELLERS,
    SELLERS,
    draw_names,
    draw_orders,
)


@pytest.fixture(scope="module")
def orders():
    return draw_orders(np.random.default_rng(0), 20_000, seed=3, newcomers=True)


def test_names_are_drawn_with_their_shares():
    names = draw_names(np.random.default_rng(0), {"a": 0.2, "b": 0.0, "c": 0.8}, 10_000)
    assert names.count("a") == pytest.approx(2000, abs=200)
    assert names.count("b") == 0
    assert len(names) == 10_000


def test_values_lie_in_their_ranges(orders):
    assert orders.price.min() > 0
    assert orders.quantity.min() == 1
    assert orders.account_age_days.min() >= 1
    ratings = orders.seller_rating[~np.isnan(orders.seller_rating)]
    assert 1 <= ratings.min() <= ratings.max() <= 5
    assert 0 <= orders.trust.min() <= orders.trust.max() <= 1


def test_risk_grows_with_youth_price_and_risky_sellers(orders):
    assert np.corrcoef(orders.log_odds, orders.youth)[0, 1] > 0.3
    assert np.corrcoef(orders.log_odds, np.log(orders.price))[0, 1] > 0.3
    risky = np.isin(orders.seller, RISKY_SELLERS)
    assert orders.log_odds[risky].mean() > orders.log_odds[~risky].mean() + 1.5


def test_only_later_splits_hold_newcomers(orders):
    first = SELLERS - NEWCOMERS
    assert (orders.seller >= first).mean() == pytest.approx(0.04, abs=0.01)
    assert orders.seller.max() < SELLERS
    train = draw_orders(np.random.default_rng(0), 20_000, seed=3, newcomers=False)
    assert train.seller.max() < first


def test_a_seller_keeps_its_rating_over_splits(orders):
    other = draw_orders(np.random.default_rng(1), 20_000, seed=3, newcomers=False)
    usual = [
        [np.nanmean(part.seller_rating[part.seller == s]) for s in range(40)]
        for part in (orders, other)
    ]
    assert np.corrcoef(usual)[0, 1] > 0.95


def test_as_text_writes_missing_as_empty_and_keeps_names(orders):
    columns = orders.as_text()
    missing = np.isnan(orders.seller_rating)
    assert [not cell for cell in columns["seller_rating"]] == missing.tolist()
    assert {len(name) for name in columns["seller_id"]} == {5}
    assert {len(cells) for cells in columns.values()} == {20_000}
