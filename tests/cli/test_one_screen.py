import click
import pytest
from click.testing import CliRunner

from tabweave.cli.one_screen import (
    LINES,
    WIDTH,
    Command,
    one_screen,
    shown_on_one_screen,
)
from tabweave.errors import ConfigError


def shown(error, kinds=()):
    with pytest.raises(click.ClickException) as caught, shown_on_one_screen(kinds):
        raise error
    assert caught.value.exit_code == 1
    return caught.value.message


def test_an_error_of_the_system_names_the_path(tmp_path):
    for action in (
        (tmp_path / "x").read_text,
        tmp_path.read_text,
        (tmp_path / ("n" * 5000)).read_text,
    ):
        try:
            action()
        except OSError as error:
            message = shown(error)
            assert message.startswith(f"{tmp_path}"[:20])
            assert len(message) < 400


def test_too_little_memory_says_what_to_lower():
    assert shown(MemoryError("of 8 TiB")).startswith("There is not enough memory (of 8")


@pytest.mark.parametrize("error", [OSError("x"), KeyError("x"), RuntimeError("x")])
def test_an_error_that_is_ours_keeps_its_traceback(error):
    with pytest.raises(type(error)), shown_on_one_screen():
        raise error


def test_a_kind_of_another_library_is_shown_in_its_words():
    assert shown(KeyError("x"), ((KeyError, "no key {}".format),)) == "no key 'x'"


@pytest.mark.parametrize("lines", [1, LINES, LINES + 1, 10_000])
def test_a_message_is_a_screen_at_most_and_says_what_is_left_out(lines):
    found = one_screen("\n".join(f"line {n}" for n in range(lines))).splitlines()
    assert len(found) <= LINES
    assert found[-1] == f"line {lines - 1}"
    assert (f"… {lines - LINES + 1} more lines …" in found) == (lines > LINES)


def test_a_long_line_is_cut():
    assert len(one_screen("x" * 100_000)) == WIDTH


@click.command(cls=Command)
@click.option("--one")
@click.option("--many", multiple=True)
@click.option("--number", type=click.IntRange(1), callback=lambda *a: a[2])
def command(one, many, number):
    """A command."""
    if one == "ours":
        raise ConfigError("not so")
    click.echo(f"{one} {many} {number}")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["--one=a", "--many=x", "--many=y", "--number=2"], 0, "a ('x', 'y') 2"),
        (["--one=a", "--one=b"], 2, "--one is given twice"),
        (["--one=ours"], 1, "Error: not so"),
        (["--number=0"], 2, "0 is not in the range x>=1"),
        (["--help"], 0, "A command."),
        (["--nothing"], 2, "No such option"),
    ],
)
def test_a_command_says_what_is_wrong_with_its_line(arguments, code, part):
    done = CliRunner().invoke(command, arguments)
    assert (done.exit_code, part in done.output) == (code, True), done.output
