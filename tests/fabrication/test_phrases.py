"""Complete phrase books, one file a language."""

from string import Formatter

import pytest

from tabweave.fabrication.phrases import CUES, SLOTS, phrases_of
from tabweave.fabrication.threads import LANGUAGES, MOST_EXCHANGES

BOOKS = {
    language: phrases_of(language)
    for language in sorted({"english", *(other for other, _ in LANGUAGES.values())})
}


@pytest.mark.parametrize("language", BOOKS)
def test_a_language_can_say_all_that_is_drawn(language):
    book = BOOKS[language]
    assert len(set(book.exchanges)) >= MOST_EXCHANGES
    assert set(book.requests) == set(book.mentions) == set(CUES)
    # A request may be made twice, in other words.
    assert all(len(set(said)) >= 2 for said in book.requests.values())
    assert all(book.mentions.values())


@pytest.mark.parametrize("language", BOOKS)
def test_every_slot_can_be_filled(language):
    book = BOOKS[language]
    sentences = [
        *book.openings,
        *book.closings,
        *(text for pair in book.exchanges for text in pair),
        *(text for said in book.requests.values() for text in said),
        *(text for said in book.mentions.values() for text in said),
    ]
    slots = {slot for text in sentences for _, slot, _, _ in Formatter().parse(text)}
    assert slots - {None} <= {*SLOTS, "item"}


@pytest.mark.parametrize("language", BOOKS)
def test_no_request_is_also_a_mention(language):
    book = BOOKS[language]
    for cue in CUES:
        assert not set(book.requests[cue]) & set(book.mentions[cue])
