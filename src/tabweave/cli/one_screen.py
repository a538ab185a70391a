"""Errors that a user can mend fit one screen, exit code 1; ours keep their traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import click

from tabweave.errors import cut, own_error

LINES, WIDTH = 38, 2000
"""A screen: so many lines, none longer than a list of all parameters."""
SELECTIONS = (
    "from_inputs",
    "to_outputs",
    "from_nodes",
    "to_nodes",
    "node_names",
    "tags",
    "namespaces",
    "pipeline",
    "pipelines",
    "runner",
    "env",
)
"""Options of `kedro run` that choose something, and stand for everything when left out."""
Kinds = tuple[tuple[Any, Callable[[Any], str | None]], ...]
"""Kind of error -> what it says, or None where it does not concern the user."""


@contextmanager
def shown_on_one_screen(kinds: Kinds = ()) -> Iterator[None]:
    """Turns an error that a user can mend into one screen and exit code 1.

    Any other error keeps its traceback: it is ours to mend, and hiding it would hide it
    from us as well.

    Args:
        kinds: Kinds of errors of other libraries that a user can mend.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        message = _message(error, kinds)
        if message is None:
            raise
        raise click.ClickException(one_screen(message)) from error


def one_screen(text: str) -> str:
    """As much of a message as fits, and how much more there was."""
    lines = [cut(_without_controls(line), WIDTH) for line in text.splitlines()]
    if len(lines) <= LINES:
        return "\n".join(lines)
    head, tail = LINES - 4, 3
    left_out = f"… {len(lines) - head - tail} more lines …"
    return "\n".join([*lines[:head], left_out, *lines[-tail:]])


def _without_controls(line: str) -> str:
    """What a terminal would obey is shown instead."""
    return "".join(
        letter if letter.isprintable() or letter in " \t" else repr(letter)[1:-1]
        for letter in line
    )


class Command(click.Command):
    """A command whose errors fit one screen, those of its options included."""

    shown: Callable[[], AbstractContextManager[None]] = staticmethod(
        shown_on_one_screen
    )

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """As click's."""
        with self.shown():
            return super().make_context(*arguments, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, but an option that is given twice, or as nothing, is refused.

        Kedro would take `--pipelines=`, such as a script with an empty variable gives, for
        all of them.
        """
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for param in self.get_params(ctx):
            single = isinstance(param, click.Option) and not param.multiple
            if single and order.count(param) > 1:
                raise click.UsageError(f"{param.opts[0]} is given twice.", ctx)
            empty = param.name in SELECTIONS and param.name in given
            if empty and not str(given[param.name]).strip(" ,"):
                raise click.UsageError(
                    f"{param.opts[0]} is empty, which names nothing. Name something, or "
                    "leave the option out.",
                    ctx,
                )
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's."""
        with self.shown():
            return super().invoke(ctx)


def _message(error: Exception, kinds: Kinds) -> str | None:
    """The message for an error that a user can mend; None for one that is ours."""
    ours = own_error(error)
    if ours is not None:
        return str(ours)
    known = (*kinds, *SYSTEM)
    return next((say(error) for kind, say in known if isinstance(error, kind)), None)


def _refused_by_the_system(error: OSError) -> str | None:
    """What the system says of a path; without one, it is not the user's."""
    if error.filename is None or error.strerror is None:
        return None
    paths = [str(p) for p in (error.filename, error.filename2) if p is not None]
    return f"{cut(' -> '.join(paths), 300)}: {error.strerror}."


def _too_large(error: MemoryError) -> str:
    said = f" ({cut(str(error), 200)})" if str(error) else ""
    return (
        f"There is not enough memory{said}. Take smaller values for what the run was asked "
        "to hold at once: rows, batches, widths, resamples."
    )


SYSTEM: Kinds = ((OSError, _refused_by_the_system), (MemoryError, _too_large))
