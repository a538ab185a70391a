import time
import unicodedata
from html.entities import html5
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.text import cleaning
from tabweave.text.cleaning import (
    EMOJI,
    JOINER,
    NAMED,
    code_point,
    message_cleaner,
    normalize_html,
    remove_emoji,
)
from tabweave.text.config import ALL_STEPS

FRAGMENTS = [
    *"<>&;#xXaZ1!/ ",
    *("<b>", "</p>", "<br/>", "<!--", "-->", "amp;", "lt;", "é", "한", "退"),
    *("&amp;", "&lt;", "&gt;", "&nbsp", "&nbsp;", "&AMP;", "&#39;", "&#x27;", "&#146;"),
    *("&#128512;", "&#0;", "&#55296;", "&#1234567;", "&#999999;", "&#x110000;", "&#x;"),
    *("\u200d", "😀", "👩\u200d👩", "❤\ufe0f", "\u00a0"),
]
strings = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join),
    st.text(max_size=40),
)
ASCII_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def slow_tags(text):
    out, at = "", 0
    while at < len(text):
        if text[at] == "<" and text[at + 1 : at + 2] in (*ASCII_LETTERS, "/", "!"):
            rest = [c for c in text[at + 1 :] if c in "<>"]
            if rest[:1] == [">"]:
                out, at = out + " ", text.index(">", at) + 1
                continue
        out, at = out + text[at], at + 1
    return out


def slow_number(body):
    digits, allowed, base = body[1:], "0123456789", 10
    if digits[:1] in ("x", "X"):
        digits, allowed, base = digits[1:], "0123456789abcdefABCDEF", 16
    if not 1 <= len(digits) <= 6 or any(c not in allowed for c in digits):
        return None
    return chr(code_point(int(digits, base)))


def slow_entities(text):
    out, at = "", 0
    while at < len(text):
        end = text.find(";", at)
        body = text[at + 1 : end] if text[at] == "&" and end > 0 else ""
        found = slow_number(body) if body[:1] == "#" else NAMED.get(body)
        if found is None:
            out, at = out + text[at], at + 1
        else:
            out, at = out + found, end + 1
    return out


def slow_emoji(text):
    out, behind = "", False
    for c in text:
        is_emoji = any(first <= ord(c) <= last for first, last in EMOJI)
        behind = is_emoji or (behind and c == JOINER)
        out += "" if behind else c
    return out


@given(strings)
def test_html_equals_the_slow_reference(text):
    assert normalize_html(text) == slow_entities(slow_tags(text))


@given(strings)
def test_emoji_equals_the_slow_reference(text):
    assert remove_emoji(text) == slow_emoji(text)


@given(strings)
def test_all_steps_are_tags_then_entities_then_emoji(text):
    clean = message_cleaner(ALL_STEPS, tokenizer_cleans=True)
    assert clean(text) == slow_emoji(slow_entities(slow_tags(text)))


@given(strings)
def test_steps_that_are_not_configured_do_nothing(text):
    steps = ("dialogue_splitter", "text_normalizer", "dialogue_chunker", "tokenizer")
    assert message_cleaner(steps, tokenizer_cleans=True)(text) == text
    only_emoji = message_cleaner(("emoji_remover", "tokenizer"), tokenizer_cleans=True)
    assert only_emoji(text) == slow_emoji(text)


@pytest.mark.parametrize(
    ("typed", "clean"),
    [
        ("<<b>>", "< >"),
        ("a <b> c", "a   c"),
        ("< b>", "< b>"),
        ("a<b", "a<b"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("price <5 and a>d", "price <5 and a>d"),
        ("<!-- c -->x", " x"),
        ('<a href="x>y">z', ' y">z'),
        ("x&am<b>p;", "x&am p;"),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("&lt;b&gt;", "<b>"),
        ("&&amp;;", "&&;"),
        ("&amp &AMP; &unknown;", "&amp &AMP; &unknown;"),
        ("&#8217;&#x2019;&#X2019;", "\u2019" * 3),
        ("&#0000065; &#000065;", "&#0000065; A"),
        ("&#0;&#xD800;&#x110000;", "\ufffd" * 3),
        ("&#146;&#x80;&#129;", "\u2019€\x81"),
        ("&#91;bom]", "[bom]"),
    ],
)
def test_html_rules(typed, clean):
    assert normalize_html(typed) == clean


def test_named_entities_are_those_of_html():
    assert {name: html5[f"{name};"] for name in NAMED} == NAMED
    assert max(map(len, NAMED)) <= 8


def test_numeric_references_follow_the_html_standard():
    import html

    # html.unescape drops what it calls invalid; the standard keeps it.
    for number in [*range(0x10000), *range(0x10000, 0x110000, 251)]:
        expected = html.unescape(f"&#{number};")
        if expected:
            assert code_point(number) == ord(expected)
    assert code_point(0x110000) == 0xFFFD


class _Text(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.found = []

    def handle_data(self, data):
        self.found.append(data)


@given(
    st.lists(
        st.sampled_from(["<p>", "</p>", "<br/>", '<a href="u">', "word", "&amp;", " "]),
        max_size=12,
    ).map("".join)
)
def test_simple_markup_reads_as_an_html_parser_reads_it(text):
    parser = _Text()
    parser.feed(text)
    parser.close()
    assert normalize_html(text).split() == " ".join(parser.found).split()


def test_no_emoji_range_holds_a_letter_or_mark_of_a_script():
    held = {chr(p) for first, last in EMOJI for p in range(first, last + 1)}
    kinds = {c: unicodedata.category(c) for c in held}
    assert {c for c, kind in kinds.items() if kind[0] in "LM"} == {"\ufe0f"}


@pytest.mark.parametrize(
    "script",
    [
        "退款 refund 繁體字 𠀋",
        "한국어 조선말",
        "ひらがな カタカナ ｶﾀｶﾅ",
        "العربية עברית ไทย हिन्दी",
        "क्\u200dष ශ්\u200dරී",
        "① Ⓜ ㊗ № ™ © ½ € →",
    ],
)
def test_every_script_survives_emoji_removal(script):
    assert remove_emoji(script) == script


@pytest.mark.parametrize(
    "emoji", ["😀", "👍🏽", "👩\u200d👩\u200d👧", "❤\ufe0f", "🇩🇪", "🚀🤖🪐✂"]
)
def test_emoji_leave_nothing_behind(emoji):
    assert remove_emoji(f"a{emoji}b") == "ab"


def test_the_text_normalizer_does_what_a_tokenizer_does_that_does_not():
    typed = "\ta\u3000\u00a0b\x0bc\x00 \u200bd\r\n退"
    steps = ("text_normalizer", "tokenizer")
    assert message_cleaner(steps, tokenizer_cleans=False)(typed) == "a bc d 退"
    assert message_cleaner(steps, tokenizer_cleans=True)(typed) == typed


@given(st.text(max_size=40))
def test_the_text_normalizer_would_change_no_token_of_a_bert_tokenizer(text):
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    def words(message):
        for lowercase in (True, False):
            clean = BertNormalizer(lowercase=lowercase).normalize_str(message)
            yield [word for word, _ in BertPreTokenizer().pre_tokenize_str(clean)]

    assert list(words(cleaning.blank_normalizer()(text))) == list(words(text))


HOSTILE = [
    "<!",
    "<a",
    "<a>",
    "<div>",
    "&",
    "&#1",
    "&amp;",
    "&#x",
    "a\u0301",
    "退",
    "😀\u200d",
]


def seconds(clean, text):
    start = time.process_time()
    clean(text)
    return time.process_time() - start


@pytest.mark.parametrize("unit", [*HOSTILE, "a", " \u3000"])
@pytest.mark.parametrize("cleans", [True, False])
def test_a_hostile_megabyte_takes_seconds_at_most(unit, cleans):
    text = unit * (2**20 // len(unit.encode()))
    assert seconds(message_cleaner(ALL_STEPS, tokenizer_cleans=cleans), text) < 5


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_in_step_with_the_length(unit):
    clean = message_cleaner(ALL_STEPS, tokenizer_cleans=True)
    once = unit * (200_000 // len(unit))
    for _ in range(6):  # another process may slow one of the two measurements
        short = min(seconds(clean, once) for _ in range(5))
        long = min(seconds(clean, once * 2) for _ in range(5))
        if long <= 2.6 * short:
            return
    pytest.fail(f"{short:.4f} s for n, {long:.4f} s for 2n")
