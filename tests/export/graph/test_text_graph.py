import numpy as np
import pytest

from preparation_fixtures import (
    SCRATCH,
    run_graph,
    text_field,
    wordpiece_json,
    wordpiece_tables,
)
from tabweave.export.gates.edge_texts import EDGE_TEXTS, fuzzed_texts
from tabweave.export.graph.graph_builder import INT64, STRING, Graph
from tabweave.export.graph.text_graph import tokenize
from tabweave.text.cleaning import message_cleaner
from tabweave.text.tokenization import FieldTokenizer

WORDS = [
    "unaffable",
    "un",
    "##aff",
    "##able",
    "walk",
    "##ed",
    "Éa",
    "中",
    "a",
    ",",
    "b",
]
CASED = wordpiece_json(WORDS, lowercase=False)
SHORT = wordpiece_json(WORDS, longest=5)
NOTHING = wordpiece_json([])
PLAIN = ("tokenizer",)


def tokens_of(fields, tokenizer, **columns):
    """For each field, the tokens of every row, and the dropped characters."""
    graph = Graph()
    inputs = {name: graph.input(name, STRING) for name in columns}
    found = tokenize(graph, fields, inputs, wordpiece_tables(tokenizer))
    graph.output(found.ids, "ids", INT64, ["n"])
    graph.output(found.row_ends, "ends", INT64, ["rows"])
    for number, dropped in enumerate(found.dropped_characters):
        graph.output(dropped, f"dropped_{number}", INT64, ["batch"])
    got = run_graph(graph, **columns)
    rows = np.split(got["ids"], got["ends"])
    assert len(rows.pop()) == 0
    count = len(rows) // len(fields)
    return [
        (
            [row.tolist() for row in rows[number * count : (number + 1) * count]],
            got[f"dropped_{number}"].tolist(),
        )
        for number in range(len(fields))
    ]


def expected(texts, tokenizer, steps=PLAIN):
    own = FieldTokenizer(tokenizer)
    clean = message_cleaner(steps, tokenizer_cleans=own.cleans)
    encoded = own.encode(list(map(clean, texts)))
    return [np.frombuffer(one, own.dtype).tolist() for one in encoded]


@pytest.mark.parametrize("tokenizer", [SCRATCH, CASED, SHORT, NOTHING])
@pytest.mark.parametrize("steps", [PLAIN, ("emoji_remover", "tokenizer")])
def test_equals_the_tokenizer(tokenizer, steps):
    words = [" ".join(WORDS), "".join(WORDS[4:]), "walkedwalked unaffablea aab abab"]
    texts = [*EDGE_TEXTS, *fuzzed_texts(2, 500), *words]
    field = text_field(steps=steps, max_characters=10**5)
    ((found, dropped),) = tokens_of([field], tokenizer, chat=texts)
    assert found == expected(texts, tokenizer, steps)
    assert not any(dropped)


def test_a_word_is_unknown_as_a_whole():
    unknown = wordpiece_tables(CASED).unk_id
    texts = ["unaffablez", "zun", "a" * 100, "a" * 101, "a,z b"]
    ((found, _),) = tokens_of([text_field(steps=PLAIN)], CASED, chat=texts)
    assert [row.count(unknown) for row in found] == [1, 1, 0, 1, 1]
    assert [len(row) for row in found] == [1, 1, 100, 1, 4]


def test_no_entry_is_matched_across_words_that_no_blank_parts():
    across = wordpiece_json(["a,b", "中文", "...", "[CLS]", "x中", "a", "b", ",", "."])
    texts = ["a,b", "中文", "...", "[CLS]", "x中", "a ,b"]
    ((found, _),) = tokens_of([text_field(steps=PLAIN)], across, chat=texts)
    assert found == expected(texts, across)
    assert list(map(len, found)) == [3, 2, 3, 3, 2, 3]


def test_typed_special_tokens_are_text_even_where_the_vocabulary_spells_them():
    bare = wordpiece_json(
        ["a"], special=("pad", "unk", "cls", "sep", "mask"), lowercase=False
    )
    texts = ["cls a sep", "mask pad unk", "[CLS]"]
    ((found, _),) = tokens_of([text_field(steps=PLAIN)], bare, chat=texts)
    unknown = wordpiece_tables(bare).unk_id
    assert found == expected(texts, bare)
    assert found[0][0] == found[0][2] == unknown


def test_only_so_many_characters_are_looked_at_and_the_rest_is_counted():
    texts = ["un,a,b", "", "中" * 3, "a" * 3 + "é" * 50]
    for cap in (1, 2, 3, 4, 100):
        field = text_field(steps=PLAIN, max_characters=cap)
        ((found, dropped),) = tokens_of([field], CASED, chat=texts)
        assert found == expected([text[:cap] for text in texts], CASED)
        assert dropped == [max(len(text) - cap, 0) for text in texts]


def test_columns_are_joined_by_one_blank_before_they_are_cut():
    first, second = ["a", "", "unaffable"], ["b", "a", ""]
    for cap in (2, 3, 50):
        field = text_field(columns=("s", "t"), steps=PLAIN, max_characters=cap)
        ((found, dropped),) = tokens_of([field], CASED, s=first, t=second)
        joined = [f"{a} {b}" for a, b in zip(first, second, strict=True)]
        assert found == expected([text[:cap] for text in joined], CASED)
        assert dropped == [max(len(text) - cap, 0) for text in joined]


def test_fields_that_share_a_vocabulary_keep_their_own_steps_and_caps():
    fields = [
        text_field("x", ("s",), steps=("html_normalizer", "tokenizer")),
        text_field("y", ("t",), steps=PLAIN, max_characters=4),
        text_field("z", ("s",), steps=("emoji_remover", "tokenizer")),
    ]
    texts = ["a<b>b&amp;", "walked 😀a", "", "un😀aff" * 50]
    other = ["<b>", "unaffable", "😀", ""]
    found = tokens_of(fields, SCRATCH, s=texts, t=other)
    assert found[0][0] == expected(texts, SCRATCH, fields[0].steps)
    assert found[1][0] == expected([text[:4] for text in other], SCRATCH)
    assert found[2][0] == expected(texts, SCRATCH, fields[2].steps)
    assert found[1][1] == [0, 5, 0, 0]
    assert found[0][0] != found[2][0]


def test_tables_are_stored_once_for_all_fields():
    def size(fields):
        graph = Graph()
        columns = {name: graph.input(name, STRING) for name in "st"}
        found = tokenize(graph, fields, columns, wordpiece_tables())
        graph.output(found.ids, "ids", INT64, ["n"])
        return graph.model("g", 20).ByteSize()

    one = size([text_field("x", ("s",))])
    both = size([text_field("x", ("s",)), text_field("y", ("t",))])
    assert both < one + 100_000
