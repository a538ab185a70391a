"""The text half: complete phrase books, well-formed threads, plausible parcels."""

import html
import re
from datetime import date

import numpy as np
import pytest

from tabweave.fabrication.orders import CATEGORIES, MARKETPLACES
from tabweave.fabrication.phrases import ITEMS, SLOTS, phrases_of
from tabweave.fabrication.threads import (
    LANGUAGES,
    LONG_EXCHANGES,
    MOST_EXCHANGES,
    PARCEL_STATES,
    Writer,
)

MESSAGE = re.compile(r"\[bom\] (.+?) \[eom\](?: |$)")


@pytest.fixture
def writer():
    return Writer(np.random.default_rng(5))


def test_long_threads_have_enough_to_say():
    assert len(set(phrases_of("english").exchanges)) >= LONG_EXCHANGES


def test_tables_of_both_halves_agree():
    assert set(LANGUAGES) == set(MARKETPLACES)
    assert set(ITEMS) == set(CATEGORIES)


def test_a_thread_is_messages_between_markers(writer):
    for _ in range(200):
        thread = writer.thread("DE", "home", "ordinary", "link", "code")
        messages = MESSAGE.findall(thread)
        assert " ".join(f"[bom] {m} [eom]" for m in messages) == thread
        assert 4 <= len(messages) <= 2 * MOST_EXCHANGES + 5
        assert "{" not in thread


def test_a_request_is_in_the_thread_and_a_quiet_one_has_none(writer):
    asked = {text.split("{")[0] for text in phrases_of("english").requests["code"]}

    def asks(request: str) -> bool:
        thread = writer.thread("UK", "toys", "ordinary", request, "none")
        plain = re.sub(r"<[^<>]*>", " ", html.unescape(thread)).replace("\u2019", "'")
        plain = re.sub(r"\s+", " ", plain)
        return any(start in plain for start in asked)

    assert all(asks("code") for _ in range(100))
    assert not any(asks("none") for _ in range(100))


def test_threads_hold_what_a_cleaner_must_handle(writer):
    threads = " ".join(
        writer.thread(place, "books", "ordinary", "none", "none")
        for place in MARKETPLACES
        for _ in range(150)
    )
    found = ("<p>", "</p>", "<br/>", "<b>", "&amp;", "&nbsp;", "&#39;", "&quot;")
    for piece in (*found, "&#8217;", "😊", "订单", "注文", "ñ", "ü", "é"):
        assert piece in threads, piece
    assert "& " not in threads


def test_one_thread_speaks_of_one_city(writer):
    for _ in range(100):
        thread = writer.thread("UK", "toys", "long", "none", "none")
        assert sum(city in thread for city in SLOTS["city"]) <= 1


def test_an_empty_thread_is_empty(writer):
    assert writer.thread("UK", "toys", "empty", "none", "none") == ""


@pytest.mark.parametrize("state", PARCEL_STATES)
def test_parcel_events_are_dated_in_order_and_fit_the_state(writer, state):
    for _ in range(50):
        log = writer.parcel(state)
        if state == "unknown":
            assert log == ""
            continue
        events = log.split("; ")
        days = [date.fromisoformat(event[:10]) for event in events]
        assert days == sorted(set(days))
        assert events[0].endswith("label created")
        assert ("delivered" in log) == (state == "delivered")
