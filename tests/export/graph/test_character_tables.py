import numpy as np
import pytest
from tokenizers import Tokenizer

from preparation_fixtures import SCRATCH, wordpiece_json, wordpiece_tables
from tabweave.export.graph.character_tables import (
    BLANK,
    EVENTS,
    FIRST_CODE,
    GONE,
    NOT_ASCII,
    OTHER,
    PADDING,
    PAGE,
    REMOVED,
    TAG_BLANK,
    UNKNOWN,
    UNKNOWN_ALONE,
)
from tabweave.text import cleaning

WORDS = ["straße", "Éa", "가", "ᄀ", "ᅡ", "中", "豈", "a", "I", "i", ","]
CASED = wordpiece_json(WORDS, lowercase=False)
STRIPPING = wordpiece_json(WORDS, lowercase=False, strip_accents=True)
JOINED = wordpiece_json(WORDS, lowercase=False, handle_chinese_chars=False)


def codes(tables, character):
    row = tables.codes[tables.classes.get(character, OTHER)]
    return [int(code) for code in row if code != REMOVED]


def spelled(tables, character):
    names = {code: c for c, code in tables.code_of.items()} | {BLANK: " "}
    return [names.get(code, code) for code in codes(tables, character)]


@pytest.mark.parametrize(
    ("tokenizer", "character", "expected"),
    [
        (CASED, "É", ["É"]),
        (STRIPPING, "Ó", [UNKNOWN]),  # O is not in the vocabulary
        (STRIPPING, "\u00e1", ["a"]),
        (CASED, "\u00e1", [UNKNOWN]),
        (CASED, "가", ["가"]),
        (STRIPPING, "가", ["ᄀ", "ᅡ"]),
        (CASED, "中", ["中"]),
        (CASED, "\uf900", [UNKNOWN_ALONE]),
        (STRIPPING, "\uf900", ["豈"]),
        (JOINED, "\uf900", [UNKNOWN]),
        (CASED, "文", [UNKNOWN_ALONE]),
        (JOINED, "文", [UNKNOWN]),
        (CASED, "\u3000", [" "]),
        (CASED, "\x00", []),
        (CASED, "\u200d", []),
        (CASED, "\U000f0001", []),
        (CASED, "\u0301", [UNKNOWN]),
        (STRIPPING, "\u0301", []),
        (CASED, ",", [","]),
        (CASED, ";", [UNKNOWN_ALONE]),
        (CASED, "\u0378", [UNKNOWN]),
    ],
)
def test_characters_become_what_the_normaliser_says(tokenizer, character, expected):
    assert spelled(wordpiece_tables(tokenizer).characters, character) == expected


def test_an_upper_case_letter_is_read_as_a_small_one_where_the_tokenizer_does():
    tables = wordpiece_tables(SCRATCH).characters
    assert spelled(tables, "A") == ["a"]
    assert spelled(tables, "İ") == ["i"]


@pytest.mark.parametrize("tokenizer", [SCRATCH, CASED, STRIPPING, JOINED])
def test_all_characters_become_as_many_codes_as_letters(tokenizer):
    tables = wordpiece_tables(tokenizer).characters
    normalize = Tokenizer.from_str(tokenizer).normalizer.normalize_str
    for point in [*range(0x3100), *range(0xAC00, 0xAC80), *range(0x1F000, 0x1F100)]:
        text = normalize(chr(point))
        expected = len(text.strip(" ")) or len(text)
        assert len(codes(tables, chr(point))) == expected, hex(point)


def test_punctuation_and_chinese_stand_alone():
    tables = wordpiece_tables(CASED).characters
    alone = {c for c, code in tables.code_of.items() if tables.stands_alone[code]}
    assert {",", "中", "豈", "["} <= alone
    assert not {"a", "É", "가"} & alone
    assert tables.stands_alone[UNKNOWN_ALONE]
    assert not tables.stands_alone[:UNKNOWN_ALONE].any()
    assert len(tables.stands_alone) == len(tables.code_of) + FIRST_CODE


def test_classes_of_markup_come_first_and_know_their_ascii_value():
    tables = wordpiece_tables().characters
    assert [tables.classes[c] for c in "[<>&"] == list(EVENTS[1:])
    assert tables.classes[""] == PADDING
    for character in "bom];#xX09~":
        assert tables.ascii[tables.classes[character]] == ord(character)
    for character in "é中\0\x7f\u200d":
        assert tables.ascii[tables.classes.get(character, OTHER)] == NOT_ASCII


def test_emoji_go_only_where_they_are_to_be_removed():
    tables = wordpiece_tables().characters
    keeps = tables.codes_for(removes_emoji=False)
    removes = tables.codes_for(removes_emoji=True)
    for first, last in cleaning.EMOJI:
        for point in (first, last):
            number = tables.classes[chr(point)]
            assert (removes[number] == REMOVED).all()
    assert codes(tables, "😀") == [UNKNOWN]
    for character in "a中가é":
        number = tables.classes[character]
        assert (keeps[number] == removes[number]).all()


def test_the_joiner_of_emoji_is_deleted_everywhere():
    assert codes(wordpiece_tables().characters, cleaning.JOINER) == []


def test_a_reference_has_the_class_of_what_it_means():
    tables = wordpiece_tables().characters
    page_of, pages = tables.pages()

    def resolved(number):
        return int(pages[page_of[number // PAGE] * PAGE + number % PAGE])

    for number in [0, 10, 65, 127, 128, 146, 160, 0x4E2D, 0xAC00, 0x1F600, 0xD800]:
        meant = chr(cleaning.code_point(number))
        assert resolved(number) == tables.classes.get(meant, OTHER), number
    assert resolved(0x110000) == resolved(0xFFFD) == resolved(0)
    assert resolved(0xF0001) == tables.classes["\U000f0001"]
    assert resolved(0x2003) in (TAG_BLANK, tables.classes["\u2003"])
    assert (tables.codes[resolved(0)] == tables.codes[GONE]).all()
    assert pages.dtype == np.int16
