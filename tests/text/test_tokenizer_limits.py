import json
import re
import time

import pytest
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from tabweave.errors import ConfigError
from tabweave.text.tokenization import FieldTokenizer, load_tokenizer_json
from tabweave.text.tokenizer_limits import MAX_BYTES, read_specification

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LINEAR = [
    *(r" {2,}", r"\s+", r"\n", r"\s{2,}|[\n\r\t]", r"[^\w\s]|\w+", GPT2, r"^\s+"),
    *(r" ?\p{L}+| ?\p{N}{1,3}", r"\p{Han}", r"[-_.]", r"a?b?c?", ".", r"\u3000+"),
]
BACKTRACKING = [
    *(
        r"(a+)+$",
        r"(a|a)*b",
        r"a+b",
        r"a*a*",
        r"\s+$",
        r"(?:\s+)+x",
        r"(x)\1",
        r"\g<0>",
    ),
    *(r"a{1,1000}b", r"(?=a)b", r"[a[b]]+c", r"a+?b", r"a?" * 30 + "a" * 30, r"a{2,}*"),
    *(r"a+|(b", r"a{0,9}" * 6, "a" * 501, r"(?x) a", r"[a&&b]", r"\X+", r"a**"),
]


def spec(**changes):
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4}
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocabulary,
    }
    ends = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    found = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": ends,
        "decoder": None,
        "model": model,
    }
    model |= changes.pop("model", {})
    return json.dumps(found | changes)


def split(pattern):
    return json.loads(pre_tokenizers.Split(Regex(pattern), "isolated").__getstate__())


def refused(text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        FieldTokenizer(text)
    return str(caught.value)


@pytest.mark.parametrize("pattern", LINEAR)
def test_patterns_of_published_tokenizers_are_read(pattern):
    tokenizer = FieldTokenizer(spec(pre_tokenizer=split(pattern)))
    started = time.process_time()
    tokenizer.encode(["a" * 100_000, " " * 100_000, "a " * 50_000])
    assert time.process_time() - started < 5


@pytest.mark.parametrize("pattern", BACKTRACKING)
@pytest.mark.parametrize("place", ["normalizer", "pre_tokenizer"])
def test_patterns_that_may_try_again_are_refused(pattern, place):
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    if place == "normalizer":
        step = {"type": "Replace", "pattern": {"Regex": pattern}, "content": " "}
    inside = {"type": "Sequence", f"{place}s".replace("e_t", "et"): [step]}
    for value in (step, inside):
        found = refused(spec(**{place: value}), "may try a text again and again")
        assert f"{place}: the pattern" in found


def test_the_pattern_itself_is_judged_in_no_time():
    started = time.process_time()
    for text in ("a?" * 249, "[" * 499, r"\p{" * 160, "a{1,2}" * 83, "a|" * 249 + "("):
        step = {"type": "Split", "pattern": {"Regex": text}}
        with pytest.raises(ConfigError, match="again and again"):
            read_specification(spec(pre_tokenizer=step))
    assert time.process_time() - started < 1


def test_replacements_that_multiply_a_text_are_refused():
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 63}
    steps = {"type": "Sequence", "normalizers": [step] * 4}
    refused(spec(normalizer=steps), "make up to 16,777,216 characters of one")
    long = {"type": "Prepend", "prepend": "x" * 5_000}
    refused(spec(normalizer=long), "make up to 5,001 characters")
    sound = normalizers.Sequence(
        [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Prepend("_")]
    )
    FieldTokenizer(spec(normalizer=json.loads(sound.__getstate__())))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"continuing_subword_prefix": "x" * 10**6}, "prefix has 1,000,000 characters"),
        ({"max_input_chars_per_word": 10**9}, "per_word is 1,000,000,000"),
        ({"vocab": {"[UNK]": 0, "a": 4 * 10**9}}, "the id 4,000,000,000"),
    ],
)
def test_sizes_without_measure_are_refused(model, words):
    refused(spec(model=model), words)


def test_all_faults_come_in_one_message():
    step = {"type": "Replace", "pattern": {"Regex": "(a*)*"}, "content": "x" * 2_000}
    found = refused(
        spec(normalizer=step, model={"max_input_chars_per_word": 10**6}), "per_word"
    )
    assert "again and again" in found
    assert "2,001 characters" in found


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"model": ' + "[" * 100_000,
        '{"model": ' + '{"a":' * 5_000 + "1" + "}" * 5_001,
        "[]",
        "{}",
        '{"model": 1}',
        "nothing",
        "",
    ],
)
def test_what_is_no_tokenizer_or_nested_too_deeply_is_refused(text):
    refused(text, "is not one that the tokenizers library reads")


def test_a_file_beyond_the_limit_is_not_read_whole(tmp_path):
    path = tmp_path / "tokenizer.json"
    with open(path, "wb") as file:
        file.truncate(3 * MAX_BYTES)
    text = load_tokenizer_json(str(tmp_path))
    assert len(text) == MAX_BYTES + 1
    refused(text, re.escape(f"at most {MAX_BYTES:,} are read"))
    path.write_bytes(b"\xff{}")
    with pytest.raises(ConfigError, match=r"tokenizer\.json is not UTF-8"):
        load_tokenizer_json(str(tmp_path))


def test_what_the_library_writes_is_what_is_judged():
    """A tokenizer's own file names patterns as the check expects them."""
    tokenizer = Tokenizer.from_str(spec())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Split(Regex("(a+)+b"), "removed")]
    )
    refused(tokenizer.to_str(), "again and again")
