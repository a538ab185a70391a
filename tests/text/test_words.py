import string
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from tabweave.text.words import WordMemo, find_words, split_words

BLANKS = " \t\n\r"
pieces = st.one_of(
    st.sampled_from(
        [*BLANKS, *".,!'-$", "a", "Word", "É", "退", "\u0301", "\x00", "\x0b"]
    ),
    st.sampled_from(["\u00a0", "\u3000", "\u037e", "\u0338", "Σ", "İ"]),
    st.characters(exclude_categories=["Cs"]),
)
texts = st.lists(st.lists(pieces, max_size=12).map("".join), max_size=8)


def strings(values):
    return pa.array(values, pa.large_string())


def words_of(values, **options):
    found = find_words(strings(values), lowercase=options.get("lowercase", False))
    ends = found.offsets.tolist()
    words = found.words.to_pylist()
    return [words[a:b] for a, b in pairwise(ends)]


def by_characters(text):
    """Slow oracle: one character after the other."""
    words, fresh = [], True
    for c in text:
        alone = c in string.punctuation
        if fresh or alone or c in BLANKS:
            words.append("")
        words[-1] += c
        fresh = alone
    return words


@given(texts)
def test_words_equal_the_oracle(values):
    assert words_of(values) == [by_characters(text) for text in values]


@given(texts)
def test_words_are_the_text_and_only_ascii_letters_become_small(values):
    lowered = [
        "".join(c.lower() if c.isascii() else c for c in text) for text in values
    ]
    assert ["".join(words) for words in words_of(values)] == values
    assert ["".join(w) for w in words_of(values, lowercase=True)] == lowered


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip", [True, False, None])
@pytest.mark.parametrize("clean", [True, False])
def test_a_bert_tokenizer_cuts_where_words_are_cut(lowercase, strip, clean):
    normalize = BertNormalizer(
        lowercase=lowercase, strip_accents=strip, clean_text=clean
    ).normalize_str
    cut = BertPreTokenizer().pre_tokenize_str

    @given(texts)
    def same(values):
        for text, words in zip(
            values, words_of(values, lowercase=lowercase), strict=True
        ):
            whole = [piece for piece, _ in cut(normalize(text))]
            assert [p for w in words for p, _ in cut(normalize(w))] == whole

    same()


def test_a_slice_of_texts_is_read_from_its_start():
    whole = strings(["one two", "Three, four", "", "five"])
    found = find_words(whole[1:], lowercase=True)
    assert found.words.to_pylist() == ["three", ",", " four", "five"]
    assert found.offsets.tolist() == [0, 3, 3, 4]


@pytest.mark.parametrize("values", [[], [""], ["", "", ""]])
def test_texts_without_a_character_have_no_words(values):
    assert words_of(values) == [[] for _ in values]


@given(st.text(max_size=30))
def test_words_lose_nothing_but_blanks(text):
    blank = "\t\n\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
        map(chr, range(0x2000, 0x200B))
    )
    assert "".join(split_words(text)) == "".join(c for c in text if c not in blank)


class Backwards:
    """Stands for a tokenizer and tells what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, words):
        self.asked.append(words)
        return [word[::-1].encode() for word in words]


@pytest.mark.parametrize("together", [1, 3, 1000])
def test_the_memo_answers_as_the_tokenizer_and_asks_once_for_a_word(
    monkeypatch, together
):
    monkeypatch.setattr("tabweave.text.words.WORDS_PER_BLOCK", together)

    @given(st.lists(st.lists(st.text("ab é", max_size=3), max_size=10), max_size=5))
    def same(batches):
        tokenizer = Backwards()
        memo = WordMemo(tokenizer)
        for words in batches:
            expected = [word[::-1].encode() for word in words]
            assert memo.look_up(strings(words)).to_pylist() == expected
        asked = [word for words in tokenizer.asked for word in words]
        assert asked == list(dict.fromkeys(w for words in batches for w in words))
        assert memo.words.to_pylist() == asked

    same()


def test_the_memo_is_bounded(monkeypatch):
    monkeypatch.setattr("tabweave.text.words.REMEMBERED_WORDS", 10)
    tokenizer = Backwards()
    memo = WordMemo(tokenizer)
    for n in range(50):
        words = [f"w{n}", "walking", f"w{n // 2}"]
        expected = [word[::-1].encode() for word in words]
        assert memo.look_up(strings(words)).to_pylist() == expected
        assert len(memo) == len(memo.words) == len(memo.tokens) <= 10
    assert memo.words.to_pylist()[:3] == ["w0", "walking", "w1"]
    assert len(memo) == 10
    monkeypatch.setattr("tabweave.text.words.REMEMBERED_WORDS", 100)
    memo.look_up(strings(["y" * 64, "z" * 65]))
    assert "y" * 64 in memo.words.to_pylist()
    assert "z" * 65 not in memo.words.to_pylist()
    found = memo.look_up(strings(["z" * 65, "y" * 64])).to_pylist()
    assert found == [b"z" * 65, b"y" * 64]


def test_words_of_a_million_letters_are_found_in_linear_time():
    for text in ("a" * 2**20, "a " * 2**19, "!" * 2**20, " " * 2**20):
        found = find_words(strings([text]), lowercase=True)
        assert np.diff(found.offsets).tolist() == [len(by_characters(text))]
