import unicodedata

from tabweave.export.gates.edge_texts import (
    EDGE_TEXTS,
    LONG,
    code_point_texts,
    fuzzed_texts,
    reference_texts,
)

KINDS = {
    "empty": lambda t: t == "",
    "only blanks": lambda t: t and not t.strip(" "),
    "prose of 10,000 characters": lambda t: len(t) == LONG and " " in t,
    "a word of 10,000 characters": lambda t: len(t) == LONG and t.isalpha(),
    "NUL": lambda t: "\0" in t,
    "BOM": lambda t: "\ufeff" in t,
    "right to left": lambda t: any(unicodedata.bidirectional(c) == "R" for c in t),
    "Hangul": lambda t: "가" in t,
    "Thai": lambda t: "ไ" in t,
    "joined emoji": lambda t: "👨\u200d👩" in t,
    "Chinese beyond the first plane": lambda t: "\U00020000" in t,
    "typed special token": lambda t: "[CLS]" in t,
    "unterminated message": lambda t: "[bom]" in t and "[eom]" not in t,
    "nested tags": lambda t: "<<b>>" in t or "<b<i>" in t,
    "private use": lambda t: any(unicodedata.category(c) == "Co" for c in t),
}


def test_every_kind_is_there():
    missing = [name for name, holds in KINDS.items() if not any(map(holds, EDGE_TEXTS))]
    assert missing == []
    assert len(set(EDGE_TEXTS)) == len(EDGE_TEXTS)


def test_fuzzed_texts_are_equal_for_equal_seeds_and_can_be_written():
    texts = fuzzed_texts(3, 400)
    assert texts == fuzzed_texts(3, 400) != fuzzed_texts(4, 400)
    assert len(texts) == 400
    assert all(text.encode() is not None for text in texts)
    for part in ("[bom]", "[eom]", "<b>", "&amp;", "\0"):
        assert sum(part in text for text in texts) > 3


def test_code_points_are_all_assigned_ones():
    points = {ord(text[1]) for text in code_point_texts()}
    assert {0, 0x41, 0x301, 0x4E00, 0xAC00, 0xE000, 0x1F600, 0x2A6D6} <= points
    assert not {0xD800, 0xDFFF, 0x378, 0xF0001} & points
    assert len(points) > 140_000


def test_references_have_both_forms_and_stay_short():
    texts = reference_texts()
    assert "a&#65;b &#x41;c" in texts
    assert any("&#x1100" in text for text in texts)
