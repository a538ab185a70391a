import json

import pytest
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors

from preparation_fixtures import SCRATCH, wordpiece_json, wordpiece_tables
from tabweave.export.graph.wordpiece import CONTINUATION, WORD, why_not
from tabweave.text.tokenization import FieldTokenizer


def changed(change):
    tokenizer = Tokenizer.from_str(SCRATCH)
    change(tokenizer)
    return tokenizer.to_str()


def spec_with(part, **values):
    spec = json.loads(SCRATCH)
    spec[part].update(values)
    return json.dumps(spec)


def set_normalizer(normalizer):
    return lambda t: setattr(t, "normalizer", normalizer)


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (
            changed(
                set_normalizer(
                    normalizers.Sequence(
                        [normalizers.Replace("a", "b"), normalizers.BertNormalizer()]
                    )
                )
            ),
            "normalizer is Sequence, not BertNormalizer",
        ),
        (
            changed(set_normalizer(normalizers.Replace("a", "b"))),
            "normalizer is Replace",
        ),
        (spec_with("normalizer", clean_text=False), "clean_text is not true"),
        (
            changed(lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.ByteLevel())),
            "pre-tokenizer is ByteLevel, not BertPreTokenizer",
        ),
        (
            changed(lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Whitespace())),
            "pre-tokenizer is Whitespace",
        ),
        (
            changed(lambda t: t.add_tokens([AddedToken("order number")])),
            "added tokens",
        ),
        (spec_with("model", continuing_subword_prefix="@@"), "prefix is '@@'"),
        (
            changed(
                lambda t: setattr(
                    t,
                    "post_processor",
                    processors.TemplateProcessing(
                        "[CLS] [CLS] $A [SEP]",
                        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
                    ),
                )
            ),
            "exactly one token before",
        ),
        ("{}", "is not a tokenizer that is known"),
        ("no json", "is not a tokenizer that is known"),
    ],
)
def test_what_a_graph_cannot_compute_is_refused(tokenizer, reason):
    assert reason in why_not(tokenizer)


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [None, True, False])
@pytest.mark.parametrize("chinese", [True, False])
def test_all_settings_of_the_normaliser_are_taken(lowercase, strip_accents, chinese):
    tokenizer = wordpiece_json(
        ["a"],
        lowercase=lowercase,
        strip_accents=strip_accents,
        handle_chinese_chars=chinese,
    )
    assert why_not(tokenizer) == ""


def test_scratch_is_taken():
    assert why_not(SCRATCH) == ""


def walk(tables, root, text):
    """The token that the trie has for a text, if any."""
    code_of, alphabet = tables.characters.code_of, tables.alphabet
    state = tables.trie.first[(root - WORD) * alphabet + code_of[text[0]]]
    for character in text[1:]:
        state = tables.trie.edges.get(int(state) * alphabet + code_of[character], 0)
    assert tables.trie.lengths[state] in (0, len(text))
    return int(tables.trie.tokens[state])


def test_the_trie_holds_every_piece_once():
    tables = wordpiece_tables()
    vocabulary = json.loads(SCRATCH)["model"]["vocab"]
    ends = {tables.cls_id, tables.sep_id, tables.pad_id, 4}
    for piece, token in vocabulary.items():
        continues = piece.startswith("##") and len(piece) > 2
        found = walk(
            tables, CONTINUATION if continues else WORD, piece[2 * continues :]
        )
        assert found == (tables.unk_id if token in ends else token), piece
    assert (tables.trie.tokens >= 0).sum() == len(vocabulary)
    assert tables.trie.longest == max(len(p.removeprefix("##")) for p in vocabulary)
    assert walk(tables, CONTINUATION, "qu") == -1


def test_special_tokens_are_those_of_training():
    tables, tokenizer = wordpiece_tables(), FieldTokenizer(SCRATCH)
    for name in ("unk_id", "cls_id", "sep_id", "pad_id"):
        assert getattr(tables, name) == getattr(tokenizer, name)
    assert tables.longest_word == 100
