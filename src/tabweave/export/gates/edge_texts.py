"""Texts on which two ways of tokenising are most likely to differ."""

# ruff: noqa: RUF001 - letters that look like others are the point

from __future__ import annotations

import random
import sys
import unicodedata
from collections.abc import Callable

from tabweave.text import dialogue

BEGIN, END = dialogue.BEGIN, dialogue.END
LONG = 10_000
"""Characters of the longest texts."""

_WRITING = (
    "Crème brûlée naïve coöperate Ærøskøbing",
    "Čeština řeka ğüşıöç İstanbul ıI ẞ straße",
    "Привет ё й Й Ёлка",
    "Ελληνικά ά ΐ ΟΔΟΣ ΣΑΣ ος",
    "Việt ngữ ậ ữ ở",
    "e\u0301\u0301\u0327 \u0301 A\u030a o\u0308\u0304",
    "안녕하세요 가각힣 ㄱㅏ \u1112\u1161\u11ab",
    "退款 中文字符 豈 \uf900\ufa0e",
    "\U00020000\U0002a6d6\U0002f800 \U00030000",
    "ひらがな カタカナ がぎぐ ﾊﾟ は\u3099",
    "العربية مُحَمَّد \u200f٠١٢",
    "עברית שָׁלוֹם \u202babc\u202c",
    "ภาษาไทย น้ำ ที่นี่",
    "हिन्दी क्षत्रिय ज़",
    "ﬁ ﬂ ﬃ Ⅷ ½ ② ₃ ⅓ ǆ Ǆ",
    "ＦＵＬＬ ｗｉｄｔｈ １２３ ！？",
    "\U0001d400\U0001d41a \U0001d7d8 \U0001d160",
    "٣४५ ௧ 〇 ㊗ ㌀",
)
_SYMBOLS = (
    "😀 👍🏽 👨\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 ☺\ufe0f 🇩🇪 ✂ ➰",
    "a😀b a\u200db a\ufe0fb ✈\ufe0fx \u200d😀\u200d",
    "\u24c2 \u2460 \u25a0 \u2600 \u2702 \u27b0 \U0001f251",
    "“quoted” ‘single’ — – … • · « » „",
    "$5.00 €5 £3 ¥9 50% a/b a_b a@b.c #tag ~^|<>=+`´",
    "\uf8ff \ue000 \U000f0001 x\U000f0000y \U0010fffd",
    "\ufffd \ufffe \uffff \U0001ffff \u0378 \U000e0001",
)
_CONTROLS = (
    "",
    " ",
    "   ",
    "\t\n\r ",
    "a\x00b \x00",
    "\ufeffbom a\ufeffb",
    "a\x07b\x0bc\x0cd\x1ce\x1ff\x7fg\x85h\x9fi",
    "a\u00a0b\u1680c\u2003d\u2028e\u2029f\u202fg\u205fh\u3000i",
    "a\u200bb\u00adc\u2060d\u061ce\u180ef",
    "no blank at the end\n",
)
_WORDS = (
    "[CLS] [SEP] [PAD] [MASK] [UNK] [unk] [cls]a[sep]",
    "<s> </s> <pad> <unk> <mask>",
    "##ing ## # a##b [unused1]",
    "x" * 99,
    "x" * 100 + " " + "x" * 101,
    "é" * 100 + " " + "é" * 101,
    "中" * 101,
    "a" * 100 + "😀" + "b",
    "x" * LONG,
    ("lorem ipsum dolor sit amet, " * (LONG // 28 + 1))[:LONG],
    "," * LONG,
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
)
_MARKUP = (
    "<b>bold</b><br/>x<br>y",
    "<<b>> <b<i>> </b> <!doctype> <!-- c -->x",
    '<a href="x>y">z</a>',
    "a <b c> d < b> 1 < 2 and 3 > 2 a<b",
    "<b",
    "<b>",
    "<>",
    "< b >",
    "<1>",
    "<é>",
    "x<b>y>z",
    "&amp; &lt;b&gt; &quot;q&quot; &apos; &nbsp;| &amp;lt; &amp;amp;",
    "&amp &&amp;; &AMP; &Amp; &unknown; &; & ;",
    "&ampé; &é; &amp\x00; &am\u200bp; &hellip;&mdash;",
    "&#65;&#x41;&#X41; &#0; &#128; &#146; &#159; &#xD800; &#x10FFFF; &#x110000;",
    "&#1114111; &#1234567; &#x1234567; &#; &#x; &#-1; &#6 5; &#65 &#xg1; &#1a;",
    "&#44032; &#x4E2D; &#128512; &#x1F600; &#8205; &#769;a &#60;b&#62; &#38;lt;",
    "x&am<b>p; &a<b>mp; <b&amp;> &amp<b>;",
    "&#91;bom] [b<i>om] [&#98;om]",
)
_DIALOGUES = (
    f"{BEGIN}hello{END} {BEGIN}it is on the way{END}",
    f"before {BEGIN} one {END} between {BEGIN} two",
    f"{BEGIN}",
    f"{END}",
    f"{BEGIN}{END}{BEGIN}{END}",
    f"{BEGIN}{BEGIN}x{END}{END}y",
    f"{END} stray {END} and <b>no</b> begin &amp;",
    f"{END} stray {BEGIN} x <b{END}> out > {BEGIN}y>",
    f"<b {BEGIN} c> {END} <i>{BEGIN} &am{END}p; {BEGIN}p; x",
    f"{BEGIN[:-1]} {BEGIN[1:]} [{BEGIN}] {BEGIN.upper()} [ bom]",
    f"a{BEGIN}b{END}c{BEGIN}{'long words ' * 90}{END}{BEGIN}d",
    f"{BEGIN}{'one two ' * 40}" * 12,
    f"{BEGIN}x{END}" * 300,
    f"{BEGIN}unterminated &lt",
    f"{BEGIN}unterminated <b",
)

EDGE_TEXTS: tuple[str, ...] = (
    *_CONTROLS,
    *_WRITING,
    *_SYMBOLS,
    *_WORDS,
    *_MARKUP,
    *_DIALOGUES,
)
"""Every kind of text that ever made two tokenizers differ."""

_FRAGMENTS = (
    *(BEGIN, END, BEGIN[:-1], BEGIN[1:], END[1:], "[", "]", "<", ">", "&", ";"),
    *("<b>", "</p>", "<b", "/>", "<!--", "&amp;", "&am", "p;", "&lt;", "&gt;"),
    *("&#39;", "&#x1F600;", "&#", "&#x", "65;", "41;", "amp;", "&#91;bom]", "&eacute;"),
    *("😀", "\u200d", "\ufe0f", "中", "가", "é", "e\u0301", "İ", "ß", "\u00a0", "\x00"),
    *("hello", "world", "unaffable", "[CLS]", "##", "x" * 99, "12.50", "don't", " "),
)


def fuzzed_texts(seed: int, count: int) -> list[str]:
    """Random texts: fragments of markup, words, and characters of all of Unicode."""
    source = random.Random(seed)  # noqa: S311 - equal texts in every run, no secret
    makers: tuple[Callable[[random.Random], str], ...] = (
        lambda r: r.choice(_FRAGMENTS),
        lambda r: r.choice(_FRAGMENTS),
        lambda r: chr(r.randrange(32, 127)),
        lambda r: " ",
        lambda r: chr(r.randrange(0x3000)),
        _any_character,
    )
    return [
        "".join(source.choice(makers)(source) for _ in range(source.randrange(40)))
        for _ in range(count)
    ]


def _any_character(source: random.Random) -> str:
    point = source.randrange(sys.maxunicode + 1 - 0x800)
    return chr(point if point < 0xD800 else point + 0x800)


def code_point_texts() -> list[str]:
    """Every assigned code point within a word, before another word.

    Neither surrogates, which no text can hold, nor the two planes of private use, of
    which some are among the other texts.
    """
    points = (p for p in range(0xF0000) if not 0xD800 <= p < 0xE000)
    assigned = (p for p in points if unicodedata.category(chr(p)) != "Cn")
    return [f"a{chr(point)}b x" for point in assigned]


def reference_texts() -> list[str]:
    """Numeric references to code points of every block, in both forms, valid or not."""
    numbers = [*range(0x500), *range(0x500, 0x110400, 0x25), 999_999]
    return [f"a&#{number};b &#x{number:X};c" for number in numbers]
