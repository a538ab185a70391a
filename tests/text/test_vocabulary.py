import hashlib
import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from tokenizers import Tokenizer

from tabweave.errors import ConfigError
from tabweave.text import vocabulary
from tabweave.text.config import TextConfig
from tabweave.text.vocabulary import SPECIAL_TOKENS, learn_vocabulary

LEARN = """
import hashlib, random
from tabweave.text.config import TextConfig
from tabweave.text.vocabulary import learn_vocabulary
draw = random.Random(7)
syllables = ["an", "ba", "co", "de", "ef", "gé", "한", "退", "ы", "'", "-", "Q"]
texts = [
    " ".join(
        "".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(30)
    )
    for _ in range(300)
]
found = learn_vocabulary(texts, TextConfig(vocabulary_size=900))
print(hashlib.sha256(found.encode()).hexdigest())
"""


def test_equal_texts_give_equal_bytes_in_any_process():
    started = [
        subprocess.Popen(
            [sys.executable, "-c", LEARN],
            env={**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads},
            stdout=subprocess.PIPE,
        )
        for seed, threads in [("1", "1"), ("2", "2"), ("3", "3"), ("4", "1")]
    ]
    hashes = {process.communicate()[0] for process in started}
    assert all(process.returncode == 0 for process in started)
    assert len(hashes) == 1
    assert len(hashes.pop().strip()) == len(hashlib.sha256().hexdigest())


def test_the_order_of_the_texts_does_not_matter():
    texts = ["walking talked", "walked talking walk", "talk talk 退款"] * 4
    config = TextConfig(vocabulary_size=100)
    assert learn_vocabulary(texts, config) == learn_vocabulary(texts[::-1], config)


def test_the_tokenizer_is_a_complete_bert_tokenizer():
    texts = ["walking walked talking talked walk talk"] * 5
    tokenizer = Tokenizer.from_str(
        learn_vocabulary(texts, TextConfig(vocabulary_size=100))
    )
    assert [tokenizer.id_to_token(n) for n in range(5)] == list(SPECIAL_TOKENS)
    spec = json.loads(tokenizer.to_str())
    assert spec["normalizer"]["type"] == "BertNormalizer"
    assert spec["pre_tokenizer"]["type"] == "BertPreTokenizer"
    assert spec["model"]["type"] == "WordPiece"
    assert {t["content"] for t in spec["added_tokens"]} == set(SPECIAL_TOKENS)
    assert all(t["special"] for t in spec["added_tokens"])
    assert tokenizer.encode("WALKED").tokens == ["[CLS]", "walked", "[SEP]"]
    assert tokenizer.decode(tokenizer.encode("walked talk").ids) == "walked talk"
    pair = tokenizer.encode("walk", "talk")
    assert pair.tokens == ["[CLS]", "walk", "[SEP]", "talk", "[SEP]"]
    assert pair.type_ids == [0, 0, 0, 1, 1]


def test_frequent_words_become_one_piece_and_unseen_words_are_composed():
    texts = ["walking talking"] * 20 + ["wing tail gnat"] * 3
    tokenizer = Tokenizer.from_str(
        learn_vocabulary(texts, TextConfig(vocabulary_size=200))
    )
    assert tokenizer.encode("walking", add_special_tokens=False).tokens == ["walking"]
    unseen = tokenizer.encode("kangat", add_special_tokens=False).tokens
    assert len(unseen) > 1
    assert "[UNK]" not in unseen


def test_ids_are_whole_numbers_without_gaps_and_within_the_size():
    texts = [f"word{n} number{n % 7} \u00e9t\u00e9 退款 한국어" for n in range(200)]
    config = TextConfig(vocabulary_size=150)
    ids = Tokenizer.from_str(learn_vocabulary(texts, config)).get_vocab()
    assert sorted(ids.values()) == list(range(len(ids)))
    assert len(ids) <= 150


def test_letter_case_is_kept_on_request():
    texts = ["Walk walk WALK \u00c9t\u00e9"] * 5
    lower = Tokenizer.from_str(learn_vocabulary(texts, TextConfig(vocabulary_size=100)))
    kept = Tokenizer.from_str(
        learn_vocabulary(texts, TextConfig(vocabulary_size=100, lowercase=False))
    )
    assert lower.encode("Walk").ids == lower.encode("walk").ids
    assert lower.encode("ete").ids == lower.encode("\u00c9t\u00e9").ids
    assert kept.encode("Walk").ids != kept.encode("walk").ids


def test_rare_characters_are_unknown_and_teach_nothing():
    texts = ["aba"] * 10 + ["abq"]
    config = TextConfig(vocabulary_size=100, vocabulary_min_frequency=2)
    tokenizer = Tokenizer.from_str(learn_vocabulary(texts, config))
    assert not any("q" in token for token in tokenizer.get_vocab())
    assert tokenizer.encode("abq", add_special_tokens=False).tokens == ["[UNK]"]


def test_many_characters_leave_room_for_words():
    texts = [chr(0x4E00 + n) + " walking" for n in range(500)] * 2
    ids = Tokenizer.from_str(
        learn_vocabulary(texts, TextConfig(vocabulary_size=200))
    ).get_vocab()
    assert "walking" in ids
    assert sum(len(token) == 1 for token in ids) <= 200 // 4


def test_a_tiny_text_still_has_a_vocabulary():
    config = TextConfig(vocabulary_min_frequency=5)
    ids = Tokenizer.from_str(learn_vocabulary(["ab"], config)).get_vocab()
    assert {"a", "b", "##b"} <= set(ids)


@pytest.mark.parametrize("texts", [[], ["", "  \n"], ["\u0301 \x00"]])
def test_texts_without_a_word_are_refused(texts):
    with pytest.raises(ConfigError, match="train has no word in it"):
        learn_vocabulary(texts, TextConfig())


def test_counting_is_bounded(monkeypatch):
    monkeypatch.setattr(vocabulary, "COUNTED_WORDS", 100)
    texts = ["often seen words", *(f"once{n}" for n in range(500))] + ["often"] * 9
    counts = vocabulary._count_words([texts[0], *texts])
    assert len(counts) <= 100
    assert counts["often"] >= 9


def test_every_word_is_fed_as_often_as_it_was_seen(monkeypatch):
    monkeypatch.setattr(vocabulary, "_WORDS_PER_LINE", 4)
    words = Counter({"b": 9, "a": 4, "q": 3})
    fed = list(vocabulary._repeated(words, {"a", "b"}))
    assert Counter(" ".join(fed).split()) == {"a": 4, "b": 9}
    assert [line[:1] for line in fed if line] == ["a", "b", "b", "b"]
