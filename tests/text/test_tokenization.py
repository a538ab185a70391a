import json
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from tabweave.errors import ConfigError
from tabweave.text.config import TextConfig
from tabweave.text.tokenization import FieldTokenizer, load_tokenizer_json
from tabweave.text.vocabulary import learn_vocabulary

SAMPLE = [
    "The quick brown fox, don't e-mail: a/b $5.00 [cls] ά Σ ος ß ñ é ü ﬁ Ⅷ",
    "退款 한국어 조선 ひらがな カタカナ العربية עברית ไทย हिन्दी Привет й",
    "unaffable unaffordable affordable walking walked talking talked 2024 1999",
] * 3
EDGES = [
    "",
    "   ",
    "ΟΔΟΣ ΣΑΣ İstanbul ẞ",
    "a\x0bb a\x0cb a\x1cb a\x85b a\x00b",
    "a\u200bb a\u2028b a\u00adb \ufeffa \ufffd",
    "e\u0301\u0301\u0327 \u0301 Å ậ",
    "가각힣 ㄱㅏ",
    "[CLS] [SEP] [unk] [MASK]a[PAD]",
    "x" * 100 + " " + "x" * 101,
    "~^|<>=+$ “quoted” —",
]
fuzz = st.lists(
    st.one_of(
        st.sampled_from([*" \t\n\x0b\x0c\x1c\x85\u00a0\u2028\u3000", "[CLS]", "[SEP]"]),
        st.text("abcdefwlkingABC\u03a3\u03c3\u03c2İé.,-'[]$", min_size=1, max_size=6),
        st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=25,
).map("".join)


def learned(lowercase=True):
    config = TextConfig(
        vocabulary_size=400, vocabulary_min_frequency=1, lowercase=lowercase
    )
    return learn_vocabulary(SAMPLE, config)


def plain_ids(tokenizer_json, text):
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer.encode(text, add_special_tokens=False).ids


def ids_of(tokenizer, text):
    return np.frombuffer(tokenizer.encode([text])[0], tokenizer.dtype).tolist()


def byte_level_json():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *alphabet]
    tokenizer = Tokenizer(models.BPE({t: n for n, t in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer.to_str()


def unigram_json():
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(letter, -1.0) for letter in "▁abcdef"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer.to_str()


def word_piece_json(words=("a",), ends=True, pad=True):
    tokens = ["[UNK]", "[CLS]", "[SEP]", *words, *(["[PAD]"] if pad else [])]
    ids = {t: n for n, t in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if ends:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer.to_str()


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def bert(request):
    return learned(request.param)


@pytest.mark.parametrize("text", EDGES)
def test_the_memo_gives_the_tokens_of_the_tokenizer_on_edge_cases(bert, text):
    tokenizer = FieldTokenizer(bert)
    assert tokenizer.method == "word memo"
    for _ in range(2):  # the second time from memory
        assert ids_of(tokenizer, text) == plain_ids(bert, text)


def test_the_memo_gives_the_tokens_of_the_tokenizer_on_fuzzed_unicode(bert):
    tokenizer = FieldTokenizer(bert)
    plain = Tokenizer.from_str(bert)
    plain.encode_special_tokens = True

    @settings(max_examples=400, deadline=None)
    @given(fuzz)
    def same(text):
        expected = plain.encode(text, add_special_tokens=False).ids
        assert ids_of(tokenizer, text) == expected

    same()


def test_the_memo_gives_the_tokens_of_the_tokenizer_for_every_code_point(bert):
    tokenizer = FieldTokenizer(bert)
    points = [p for p in range(0x3100) if not 0xD800 <= p < 0xE000]
    points += range(0xAC00, 0xD7A4, 97)
    points += range(0xF900, 0x20000, 13)
    texts = [f"a{chr(p)}b x" for p in points if not 0xD800 <= p < 0xE000]
    assert tokenizer.encode(texts) == tokenizer._encode_plain(texts)


WORDS = ["Walking,", "walking", "don't", "x" * 120, "[CLS]", "a\x0bb", "café!", "", " "]
WORDS += ["\t", "\n", "\x00", "\x1c", "U.S.A.", "!!!", "(tree)", "\u3000", "very\x7f"]


def test_many_messages_at_once_give_the_tokens_of_the_tokenizer(bert):
    tokenizer = FieldTokenizer(bert)
    random = np.random.default_rng(0)
    for words in (WORDS, [w for w in WORDS if w.isascii() and w.isprintable()]):
        picked = random.integers(0, len(words), (200, 7))
        texts = [" ".join(words[i] for i in row) for row in picked]
        assert tokenizer.encode(texts) == tokenizer._encode_plain(texts)


@pytest.mark.parametrize("text", ["", " ", "\n", "\x0b"])
def test_many_messages_without_a_word_have_no_tokens(bert, text):
    assert FieldTokenizer(bert).encode([text] * 100) == [b""] * 100


def test_typed_special_tokens_stay_text(bert):
    tokenizer = FieldTokenizer(bert)
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id}
    for text in ("[CLS]", "[SEP] [PAD]", "a[CLS]b", "[cls]"):
        assert not special & set(ids_of(tokenizer, text))
    for other in (byte_level_json(), unigram_json()):
        tokenizer = FieldTokenizer(other)
        found = ids_of(tokenizer, "<s> a </s><pad>")
        assert not {0, 1, 2} & set(found)
        assert ids_of(tokenizer, "a")[-1] in found


def test_a_word_that_becomes_a_special_token_is_an_unknown_one():
    made = word_piece_json(["walk", "pad"], pad=False)
    spec = json.loads(made)
    spec["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 4,
        "pad_type_id": 0,
        "pad_token": "pad",
    }
    tokenizer = FieldTokenizer(json.dumps(spec))
    assert (tokenizer.pad_id, tokenizer.method) == (4, "word memo")
    assert ids_of(tokenizer, "walk pad walk") == [3, tokenizer.unk_id, 3]


def test_a_failing_check_gives_the_memo_up():
    tokenizer = FieldTokenizer(learned())
    tokenizer._memo.words = pa.array(["walking"], pa.large_string())
    tokenizer._memo.tokens = pa.array([b"\x00\x00"], pa.large_binary())
    assert not tokenizer.check(["walking"])
    assert tokenizer.method == "batch encoding"
    assert "differed" in tokenizer.reason
    assert ids_of(tokenizer, "walking") == plain_ids(learned(), "walking")
    assert tokenizer.check(["walking"])


def test_special_ids_of_a_bert_tokenizer():
    tokenizer = FieldTokenizer(learned())
    assert (tokenizer.pad_id, tokenizer.unk_id) == (0, 1)
    assert (tokenizer.cls_id, tokenizer.sep_id) == (2, 3)
    assert tokenizer.dtype == np.uint16
    assert tokenizer.cleans


@pytest.mark.parametrize(
    ("made", "unknown"), [(byte_level_json, None), (unigram_json, 3)]
)
def test_other_tokenizers_are_encoded_in_batches(made, unknown):
    tokenizer = FieldTokenizer(made())
    assert (tokenizer.cls_id, tokenizer.pad_id, tokenizer.sep_id) == (0, 1, 2)
    assert tokenizer.unk_id == unknown
    assert not tokenizer.cleans
    assert tokenizer.method == "batch encoding"
    assert "BERT-style WordPiece" in tokenizer.reason
    texts = ["abc def", "", "fade  a"]
    assert [ids_of(tokenizer, t) for t in texts] == [
        plain_ids(made(), t) for t in texts
    ]


def test_padding_and_truncation_of_the_file_are_not_applied():
    tokenizer = Tokenizer.from_str(learned())
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=4)
    text = "walking talking walked talked"
    assert ids_of(FieldTokenizer(tokenizer.to_str()), text) == plain_ids(
        learned(), text
    )


def test_an_added_token_with_a_blank_rules_the_memo_out():
    tokenizer = Tokenizer.from_str(learned())
    tokenizer.add_tokens([AddedToken("quick brown")])
    field = FieldTokenizer(tokenizer.to_str())
    assert "added tokens ['quick brown']" in field.reason
    text = "the quick brown fox"
    assert ids_of(field, text) == plain_ids(tokenizer.to_str(), text)


@pytest.mark.parametrize(("words", "dtype"), [(65_531, "uint16"), (65_532, "int32")])
def test_ids_are_two_bytes_while_the_vocabulary_allows_it(words, dtype):
    last = f"w{words - 1}"
    tokenizer = FieldTokenizer(word_piece_json([f"w{n}" for n in range(words)]))
    assert tokenizer.vocabulary_size == words + 4
    assert tokenizer.dtype == np.dtype(dtype)
    assert ids_of(tokenizer, last) == [words + 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not one that the tokenizers library reads"),
        ('{"version": "1.0"}', "not one that the tokenizers library reads"),
        (word_piece_json(ends=False), "exactly one token before and one behind"),
        (word_piece_json(pad=False), "no padding token"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        FieldTokenizer(text)


def test_a_word_piece_tokenizer_without_its_unknown_token_is_refused():
    spec = json.loads(word_piece_json())
    spec["model"]["unk_token"] = "[WHAT]"
    spec["model"]["vocab"]["##"] = 9
    with pytest.raises(ConfigError, match=r"names '\[WHAT\]' for unknown words"):
        FieldTokenizer(json.dumps(spec))


def test_a_folder_with_a_tokenizer_file_is_read(tmp_path):
    (tmp_path / "tokenizer.json").write_text(learned(), encoding="utf-8")
    assert load_tokenizer_json(str(tmp_path)) == learned()


def test_a_slow_only_folder_is_refused_by_name(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ConfigError, match=r"only a slow tokenizer is there \(vocab.txt\)"
    ):
        load_tokenizer_json(str(tmp_path))


def test_a_folder_without_any_tokenizer_says_what_it_holds(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"has no tokenizer.json. It holds \['config"):
        load_tokenizer_json(str(tmp_path))


@pytest.mark.parametrize(
    "encoder", ["./no", "/no/such", "~/no", "a/b/c", "no/", "a\\b"]
)
def test_what_looks_like_a_path_is_not_asked_of_the_hub(encoder):
    with pytest.raises(ConfigError, match="looks like a path, but is not a folder"):
        load_tokenizer_json(encoder)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="looks like a path, but is not a folder"):
        load_tokenizer_json(str(tmp_path / "tokenizer.json"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine that knows every repository and has none of the files."""

    class NoSuchFile(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with HTTPServer(("127.0.0.1", 0), NoSuchFile) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template
        )
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A hub that cannot be reached and a cache that holds owner/held."""
    held = tmp_path / "models--owner--held"
    (held / "refs").mkdir(parents=True)
    (held / "refs" / "main").write_text("0" * 40)
    (held / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (held / "snapshots" / ("0" * 40) / "tokenizer.json").write_text("the file")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_a_hub_id_in_the_cache_needs_no_network():
    assert load_tokenizer_json("owner/held") == "the file"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("encoder", "fault"),
    [
        (
            "owner/none",
            "'owner/none' is not a folder, and the hub did not give its tok",
        ),
        ("not an id!", "'not an id!' is neither a folder nor a hub id"),
    ],
)
def test_a_hub_id_that_cannot_be_had_says_the_way_out(encoder, fault):
    with pytest.raises(ConfigError, match=fault) as caught:
        load_tokenizer_json(encoder)
    assert "Use a folder on this machine" in str(caught.value)


@pytest.mark.usefixtures("hub")
def test_a_hub_id_with_a_slow_tokenizer_only_is_refused():
    with pytest.raises(
        ConfigError, match=r"has no tokenizer.json on the hub: it has a sl"
    ):
        load_tokenizer_json("owner/slow")


@pytest.mark.parametrize(
    "unit", ["a", "!", "退", "한", "a\u0301", "[CLS]", "a ", "a\x1c"]
)
def test_a_long_text_takes_seconds_at_most(unit):
    tokenizer = FieldTokenizer(learned())
    text = unit * (512 * 5 * 16 // len(unit))
    start = time.process_time()
    tokenizer.encode([text])
    assert time.process_time() - start < 5
