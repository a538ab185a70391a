import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabweave.text.dialogue import read_dialogue, split_dialogue

PIECES = [
    "[bom]",
    "[eom]",
    "[bom",
    "eom]",
    "[",
    "]",
    "a",
    " ",
    "\n",
    "[BOM]",
    "<b>",
    "한",
]
texts = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


def by_characters(text):
    """Slow oracle: walks over the text one character at a time."""
    if "[bom]" not in text:
        return [text], False
    messages, current, outside, at = [], None, "", 0
    while at < len(text):
        marker = text[at : at + 5]
        if current is None and marker == "[bom]":
            current, at = "", at + 5
        elif current is not None and marker == "[eom]":
            messages.append(current)
            current, at = None, at + 5
        else:
            if current is None:
                outside += text[at]
            else:
                current += text[at]
            at += 1
    if current is not None:
        messages.append(current)
    return messages, bool(outside.replace("[eom]", "").strip())


@given(texts)
def test_equals_the_oracle(text):
    found = read_dialogue(text)
    messages, outside = by_characters(text)
    assert found.messages == messages == split_dialogue(text)
    assert found.has_markers == ("[bom]" in text)
    assert found.has_text_outside == outside


@given(st.lists(st.text("ab <>\n", max_size=6), min_size=1, max_size=6))
def test_well_formed_dialogues_split_as_the_regular_expression_does(messages):
    text = " ".join(f"[bom]{message}[eom]" for message in messages)
    assert split_dialogue(text) == messages
    assert re.findall(r"\[bom\](.*?)\[eom\]", text, re.DOTALL) == messages


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", [""]),
        ("plain review", ["plain review"]),
        ("stray [eom] only", ["stray [eom] only"]),
        ("[BOM]upper[EOM]", ["[BOM]upper[EOM]"]),
        ("[bom]a[eom]lost[eom][bom]b", ["a", "b"]),
        ("[bom]a[bom]b[eom]", ["a[bom]b"]),
        ("[bom][eom]", [""]),
        ("[bom]", [""]),
    ],
)
def test_rules(text, messages):
    assert split_dialogue(text) == messages


def test_text_outside_is_told_but_blanks_and_stray_ends_are_not():
    assert read_dialogue("hello [bom]a[eom]").has_text_outside
    assert read_dialogue("[bom]a[eom] bye").has_text_outside
    assert not read_dialogue(" [bom]a[eom] [eom]\n[bom]b").has_text_outside


@pytest.mark.parametrize(
    "unit", ["[bom]", "[eom]", "[bom][eom]", "[bom", "[", "[bom]a[eom]b"]
)
def test_a_hostile_megabyte_takes_seconds_at_most(unit):
    text = "[bom]" + unit * (2**20 // len(unit))
    start = time.process_time()
    read_dialogue(text)
    assert time.process_time() - start < 5
