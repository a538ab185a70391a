"""Finds the messages of a dialogue: ``[bom] first [eom] [bom] second [eom]``.

A message runs from ``[bom]`` to the next ``[eom]``, or to the end of the text. Markers
are lower case. A ``[bom]`` inside a message is text; a stray ``[eom]`` between messages
is passed over with everything else that lies outside. A text without any ``[bom]`` is
one message, a stray ``[eom]`` included. The scan is linear in the length of the text.
"""

from __future__ import annotations

from typing import NamedTuple

BEGIN, END = "[bom]", "[eom]"


class Dialogue(NamedTuple):
    """The messages of one text.

    Attributes:
        messages: In their order, without markers; an empty message stays "".
        has_markers: False when the text held no ``[bom]`` and is one message.
        has_text_outside: Whether something other than blanks and stray ``[eom]`` lay
            outside the messages and is therefore not read.
    """

    messages: list[str]
    has_markers: bool
    has_text_outside: bool


def read_dialogue(text: str) -> Dialogue:
    """The messages of a text and what was found around them.

    Example:
        >>> read_dialogue("intro [bom] hi [eom] [bom] bye").messages
        [' hi ', ' bye']
        >>> read_dialogue("no markers").messages
        ['no markers']
    """
    begin = text.find(BEGIN)
    if begin < 0:
        return Dialogue([text], has_markers=False, has_text_outside=False)
    messages, outside, done = [], [], 0
    while begin >= 0:
        outside.append(text[done:begin])
        start = begin + len(BEGIN)
        end = text.find(END, start)
        if end < 0:
            messages.append(text[start:])
            done = len(text)
            break
        messages.append(text[start:end])
        done = end + len(END)
        begin = text.find(BEGIN, done)
    outside.append(text[done:])
    rest = "".join(outside).replace(END, "")
    return Dialogue(messages, has_markers=True, has_text_outside=bool(rest.strip()))


def split_dialogue(text: str) -> list[str]:
    """The messages of a text, without markers, in their order."""
    return read_dialogue(text).messages
