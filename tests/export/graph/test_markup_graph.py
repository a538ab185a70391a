from functools import cache

import numpy as np
import pytest

from preparation_fixtures import session_of, wordpiece_tables
from tabweave.export.gates.edge_texts import EDGE_TEXTS, fuzzed_texts, reference_texts
from tabweave.export.graph.character_tables import (
    END_OF_ROW,
    MESSAGE,
    OTHER,
    REMOVED,
    ROW_END,
)
from tabweave.export.graph.graph_builder import INT64, Graph
from tabweave.export.graph.markup_graph import resolve_markup
from tabweave.text.cleaning import normalize_html
from tabweave.text.dialogue import read_dialogue

BOTH = [(True, True), (True, False), (False, True)]
JOINS = [
    *("<b", ">", "<", "/", "x", "é", "😀", "[", "[bom]", "[eom]", "bom]", "eom]"),
    *("&", "&am", "p;", "&amp;", "&lt", ";", "&#65;", "&#91;bom]"),
]


@cache
def session(splits, cleans):
    tables = wordpiece_tables().characters
    graph = Graph()
    kinds = resolve_markup(
        graph, graph.input("kinds", INT64), tables, splits=splits, cleans=cleans
    )
    graph.output(kinds, "y", INT64, ["n"])
    return session_of(graph)


def resolved(texts, splits, cleans):
    """The codes of every row, as the graph leaves them."""
    tables = wordpiece_tables().characters
    rows = [[*(tables.classes.get(c, OTHER) for c in t), END_OF_ROW] for t in texts]
    feed = {"kinds": np.concatenate(rows).astype(np.int64)}
    (found,) = session(splits, cleans).run(None, feed)
    codes = tables.codes[found].reshape(-1)
    codes = codes[codes != REMOVED]
    ends = np.flatnonzero(codes == ROW_END)
    assert len(ends) == len(texts)
    return [row.tolist()[:-1] for row in np.split(codes, ends + 1)[:-1]]


def expected(text, splits, cleans):
    """The same by the functions of training, one message at a time."""
    tables = wordpiece_tables().characters
    dialogue = read_dialogue(text) if splits else None
    messages = dialogue.messages if splits else [text]
    codes = []
    for message in messages:
        codes += [MESSAGE] * (splits and dialogue.has_markers)
        for character in normalize_html(message) if cleans else message:
            row = tables.codes[tables.classes.get(character, OTHER)]
            codes += row[row != REMOVED].tolist()
    return codes


@pytest.mark.parametrize(("splits", "cleans"), BOTH)
def test_equals_training_on_all_texts_at_once_and_alone(splits, cleans):
    texts = [*(t for t in EDGE_TEXTS if len(t) < 5000), *fuzzed_texts(5, 1500)]
    wanted = [expected(text, splits, cleans) for text in texts]
    assert resolved(texts, splits, cleans) == wanted
    for text, one in list(zip(texts, wanted, strict=True))[:: len(texts) // 40]:
        assert resolved([text], splits, cleans) == [one], text


@pytest.mark.parametrize(("splits", "cleans"), BOTH)
def test_equals_training_on_random_joins_of_markup(splits, cleans):
    source = np.random.default_rng(8)
    texts = ["".join(source.choice(JOINS, source.integers(25))) for _ in range(3000)]
    wanted = [expected(text, splits, cleans) for text in texts]
    assert resolved(texts, splits, cleans) == wanted


def test_equals_training_on_references():
    texts = reference_texts()
    wanted = [expected(text, False, True) for text in texts]
    assert resolved(texts, False, True) == wanted


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("a<b>c", "a c"),
        ("&amp;lt;", "&lt;"),
        ("&ampé;", "&ampé;"),
        ("x<b", "x<b"),
        ("1 < 2 > 1", "1 < 2 > 1"),
        ("&#44032;", "가"),
        ("&#1234567;", "&#1234567;"),
    ],
)
def test_examples_of_cleaning(text, same_as):
    assert resolved([text], False, True) == resolved([same_as], True, False)


def test_a_row_knows_nothing_of_the_next_one():
    pairs = [
        ("<b", ">"),
        ("&am", "p;"),
        ("[bo", "m]x"),
        ("[bom]a", "b[eom]c"),
        ("x", "<"),
    ]
    for first, second in pairs:
        together = resolved([first, second, first], True, True)
        alone = [resolved([text], True, True)[0] for text in (first, second, first)]
        assert together == alone
