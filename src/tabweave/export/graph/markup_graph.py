"""Dialogue markers, tags and entities on classes of characters, in a graph.

The rules are those of `tabweave.text.dialogue` and `tabweave.text.cleaning`, whose tables
are used here. All rows lie one behind the other in one vector, each followed by its
END_OF_ROW. Only few characters can begin something: the events. All logic runs on their
list, so a batch without markup costs little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tabweave.export.graph.character_tables import (
    AMPERSAND,
    BEYOND_UNICODE,
    END_OF_ROW,
    EVENTS,
    GONE,
    LESS,
    MESSAGE_BEGIN,
    MORE,
    OPEN,
    PAGE,
    TAG_BLANK,
    CharacterTables,
    Integers,
)
from tabweave.export.graph.graph_builder import INT64, Graph, Tensor, Value
from tabweave.text import cleaning, dialogue

ASCII = 128
NO_DIGIT = 99


def _folded(text: str) -> int:
    """A short ASCII text as one whole number: 7 bits for each character."""
    return sum(ord(character) * ASCII**at for at, character in enumerate(text))


def _look_ahead() -> int:
    """Characters behind an event that decide about it."""
    spelled = [f"{name};" for name in cleaning.NAMED]
    spelled += [dialogue.BEGIN[1:], dialogue.END[1:]]
    return max(len("#x;") + cleaning.LONGEST_REFERENCE, *map(len, spelled))


def _by_ascii(values: Mapping[str, int], default: int) -> Integers:
    return np.array([values.get(chr(value), default) for value in range(ASCII)])


@dataclass
class Changes:
    """What markup does to the characters, collected step by step.

    Attributes:
        edges: Positions at which text begins or ends to be hidden.
        steps: +1 or -1 for each of them; the running sum is positive in hidden text.
        places: Positions that receive another class, hidden or not.
        classes: The class for each of them.
    """

    edges: list[Tensor] = field(default_factory=list)
    steps: list[Tensor] = field(default_factory=list)
    places: list[Tensor] = field(default_factory=list)
    classes: list[Tensor] = field(default_factory=list)

    def hide(self, first: Tensor, behind: Tensor) -> None:
        """Hides the text from `first` to before `behind`, for each pair."""
        self.edges += [first, behind]
        self.steps += [first * 0 + 1, first * 0 - 1]

    def put(self, places: Tensor, classes: Value) -> None:
        """Gives the characters at some places other classes."""
        self.places.append(places)
        self.classes.append(places * 0 + classes)


class Markup:
    """The events of one text field, and what is known about each of them.

    Attributes:
        at: Position of each event; the lists below have one entry for each as well.
        is_end: Whether it is the end of its row.
        inside: Whether it is a part of some message.
        borders: Whether a message, and so every tag, ends or begins there.
    """

    def __init__(self, graph: Graph, kinds: Tensor, tables: CharacterTables) -> None:
        self.graph = graph
        self.kinds = kinds
        self.tables = tables
        self.changes = Changes()
        self.look_ahead = _look_ahead()
        self.padded = graph.concat(kinds, [GONE] * self.look_ahead)
        self.at = (kinds <= EVENTS[-1]).places()
        self.seen = kinds[self.at]
        self.is_end = self.seen.equals(END_OF_ROW)
        self.ahead = self.at.column() + (np.arange(self.look_ahead)[None] + 1)
        self.window = graph.constant(tables.ascii)[self.padded[self.ahead]]
        self.inside: Tensor | None = None
        self.borders = self.is_end

    def is_class(self, event: int) -> Tensor:
        """Which events are of a class and part of a message."""
        found = self.seen.equals(event)
        return found if self.inside is None else found & self.inside

    def spells(self, text: str) -> Tensor:
        """Behind which events a text follows."""
        here = np.arange(self.look_ahead)[None]
        weights = np.where(here < len(text), ASCII ** np.minimum(here, len(text)), 0)
        return (self.window * weights).row_sum().equals(_folded(text))

    def previous(self, flags: Tensor, among: Tensor, number: Tensor) -> Tensor:
        """The flag of event number `number` (from 1) among some events; false for 0."""
        return self.graph.concat([0], flags.number().where(among))[number] > 0

    def following(self, values: Tensor, among: Tensor, number: Tensor) -> Tensor:
        """The value of the event behind number `number` among some events, or 0."""
        return self.graph.concat(values.where(among), [0])[number]


def resolve_markup(
    graph: Graph,
    kinds: Tensor,
    tables: CharacterTables,
    *,
    splits: bool,
    cleans: bool,
) -> Tensor:
    """Classes of characters with dialogue markers, tags and entities resolved.

    What is not read becomes GONE, a tag TAG_BLANK, an entity the class of its character,
    and the '[' of a marker that opens a message MESSAGE_BEGIN.

    Args:
        graph: Where the nodes go.
        kinds: Classes of the characters of all rows, each row ended by END_OF_ROW.
        tables: Where the classes come from.
        splits: Whether dialogue_splitter is one of the steps.
        cleans: Whether html_normalizer is one of the steps.
    """
    markup = Markup(graph, kinds, tables)
    if splits:
        _split_messages(markup)
    if cleans:
        amp = _remove_tags(markup)
        _resolve_entities(markup, amp)
    return _changed(markup)


def _split_messages(markup: Markup) -> None:
    """Hides what lies outside of messages, in rows that have a message marker."""
    graph, at, is_end = markup.graph, markup.at, markup.is_end
    bracket = markup.seen.equals(OPEN)
    begin = bracket & markup.spells(dialogue.BEGIN[1:])
    end = bracket & markup.spells(dialogue.END[1:])
    marker = begin | end | is_end
    number = marker.number().running_sum()
    in_message = markup.previous(begin, marker, number)
    was_in_message = markup.previous(begin, marker, number - marker.number())
    opens = begin & ~was_in_message
    closes = (end | is_end) & was_in_message
    row = is_end.number().running_sum(exclusive=True)
    end_at = at.where(is_end)
    no_row = graph.zeros(end_at.size())
    opened_rows = row.where(opens)
    has_begin = no_row.with_entries(opened_rows, opened_rows * 0 + 1)
    markup.inside = in_message | has_begin[row].equals(0)
    markup.borders = is_end | opens | closes
    start_at = graph.concat([0], end_at.cut([0], [-1]) + 1)
    _hide_outside(markup.changes, (start_at, end_at, has_begin), (opens, closes), at)


def _hide_outside(
    changes: Changes,
    rows: tuple[Tensor, Tensor, Tensor],
    flags: tuple[Tensor, Tensor],
    at: Tensor,
) -> None:
    """A row with a marker is hidden as a whole, and its messages are brought back."""
    start_at, end_at, has_begin = rows
    opens_at, closes_at = at.where(flags[0]), at.where(flags[1])
    changes.edges += [start_at, end_at + 1]
    changes.steps += [has_begin, has_begin * -1]
    changes.edges += [opens_at + len(dialogue.BEGIN), closes_at]
    changes.steps += [opens_at * 0 - 1, closes_at * 0 + 1]
    changes.put(opens_at, MESSAGE_BEGIN)
    changes.put(end_at, END_OF_ROW)


def _remove_tags(markup: Markup) -> Tensor:
    """Turns tags into a blank; returns which events are an '&' outside of tags."""
    at = markup.at
    less, more = markup.is_class(LESS), markup.is_class(MORE)
    delimiter = markup.borders | less | more
    number = delimiter.number().running_sum()
    closed = markup.following(more.number(), delimiter, number) > 0
    openers = _by_ascii(dict.fromkeys(cleaning.TAG_OPENERS, 1), 0)
    first = markup.graph.op("Gather", markup.window, 0, axis=1)
    tag = less & closed & (markup.graph.constant(openers)[first] > 0)
    tag_at = at.where(tag)
    behind = (markup.following(at, delimiter, number) + 1).where(tag)
    markup.changes.hide(tag_at, behind)
    markup.changes.put(tag_at, TAG_BLANK)
    return markup.is_class(AMPERSAND) & ~markup.previous(tag, delimiter, number)


def _resolve_entities(markup: Markup, ampersand: Tensor) -> None:
    """Turns references into the class of the character that they mean."""
    graph, here = markup.graph, np.arange(markup.look_ahead)[None]
    window = markup.window.where(ampersand, axis=0)
    semicolons = window.equals(ord(";")).number().running_sum(axis=1)
    before_end = semicolons.equals(0).number()
    length = before_end.row_sum()  # of the whole window if there is no semicolon
    named = _named(graph, window * before_end)
    numeric, point = _numeric(graph, window, length)
    point = graph.select(numeric, point, named)
    found = (point >= 0) & (length < markup.look_ahead)
    point, length = point.where(found), length.where(found)
    page_of, pages = markup.tables.pages()
    page = point // PAGE
    entry = graph.constant(page_of)[page] * PAGE + (point - page * PAGE)
    markup.changes.put(
        markup.at.where(ampersand).where(found),
        graph.constant(pages)[entry].cast(INT64),
    )
    ahead = markup.ahead.where(ampersand, axis=0).where(found, axis=0)
    belongs = graph.op("LessOrEqual", here, length.column())
    markup.changes.put(ahead.reshape(-1).where(belongs.reshape(-1)), GONE)


def _named(graph: Graph, names: Tensor) -> Tensor:
    """Code point of each name [references, letters], -1 for an unknown one."""
    weights = np.array([[ASCII**at for at in range(_look_ahead())]], np.int64)
    keys = [_folded(name) for name in cleaning.NAMED]
    points = [ord(character) for character in cleaning.NAMED.values()]
    return graph.lookup((names * weights).row_sum(), keys, points, -1)


def _numeric(graph: Graph, window: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Which references are numbers, and the number of each."""
    look = _look_ahead()
    here = np.arange(look)[None]
    first = graph.op("Gather", window, 0, axis=1)
    second = graph.op("Gather", window, 1, axis=1)
    is_hex = (second.equals(ord("x")) | second.equals(ord("X"))).number()
    digits = length - 1 - is_hex
    power = (length - 1).column() - here
    used = ((power >= 0) & (power < digits.column())).number()
    values = {c: int(c, 16) for c in "0123456789abcdefABCDEF"}
    digit = graph.constant(_by_ascii(values, NO_DIGIT))[window]
    wrong = used * (digit >= (is_hex * 6 + 10).column()).number()
    weights = np.array([base**at for base in (10, 16) for at in range(look)], np.int64)
    weight = graph.constant(weights)[graph.most(power, 0) + (is_hex * look).column()]
    number = (digit * weight * used).row_sum()
    right = (digits >= 1) & (digits <= cleaning.LONGEST_REFERENCE)
    numeric = first.equals(ord("#")) & wrong.row_sum().equals(0) & right
    return numeric, graph.least(number, BEYOND_UNICODE)


def _changed(markup: Markup) -> Tensor:
    """The classes after all changes."""
    graph, kinds, changes = markup.graph, markup.kinds, markup.changes
    unhidden = graph.zeros(markup.padded.size())
    edges = unhidden.with_entries(
        graph.concat(*changes.edges), graph.concat(*changes.steps), "add"
    )
    size = kinds.size().reshape(1)
    hidden = edges.running_sum().cut([0], size) > 0
    return graph.select(hidden, GONE, kinds).with_entries(
        graph.concat(*changes.places), graph.concat(*changes.classes)
    )
