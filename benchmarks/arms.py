"""Arms of a comparison: processes that take turns, and what they printed."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.project import ROOT

Results = dict[str, list[dict[str, Any]]]
"""Every arm and what its processes printed."""


TRIAL: list[bool] = []
"""Not empty where everything runs in one process, whose figures mean nothing."""


class Failed(SystemExit):
    """A benchmark that ended without its line."""


def log(message: str) -> None:
    """Progress, away from the JSON line."""
    print(message, file=sys.stderr, flush=True)


def run(module: str, *arguments: object, any_status: bool = False) -> Any:
    """The last line that a module printed in a process of its own, as JSON.

    Raises:
        Failed: There is none, or the process failed; `any_status` looks at the line
            alone, for a module whose status is a verdict.
    """
    given = [module, *map(str, arguments)]
    status, printed = _trial(given) if TRIAL else _process(given)
    if status and not any_status:
        raise Failed(f"{module} ended with status {status}")
    try:
        return json.loads(printed.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise Failed(
            f"{module} ended with status {status} and without a line of JSON"
        ) from error


def _process(given: list[str]) -> tuple[int, str]:
    """Status and output of a module and its arguments, run by itself."""
    command = [sys.executable, "-m", *given]
    # What tabweave sets for itself on import must not reach the rival.
    env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, env=env
    )
    return done.returncode, done.stdout


def _trial(given: list[str]) -> tuple[int, str]:
    """The same in this process, which has its libraries loaded already."""
    own, sys.argv = sys.argv, given
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            status = import_module(given[0]).main()
    except SystemExit as ended:
        log(str(ended))
        status = ended.code if isinstance(ended.code, int) else 1
    except Exception:  # noqa: BLE001 - as the end of a process would be told
        traceback.print_exc()
        status = 1
    finally:
        sys.argv = own
    return status or 0, printed.getvalue()


def take_turns(
    ways: Iterable[str],
    one_arm: Callable[[str, argparse.Namespace, Path], dict[str, Any]],
    options: argparse.Namespace,
    folder: Path,
) -> Results:
    """Runs every arm `options.repeats` times, one after the other."""
    found: Results = {way: [] for way in ways}
    for repeat in range(options.repeats):
        for way, results in found.items():
            done = one_arm(way, options, folder)
            log(f"repeat {repeat + 1}: {way} {json.dumps(done)}")
            results.append(done)
    return found


def medians(found: Results, name: str) -> dict[str, float]:
    """The median of one figure for every arm."""
    return {way: median(one[name] for one in ones) for way, ones in found.items()}


def rounded(figures: dict[str, float], digits: int) -> dict[str, float]:
    """The same figures, shorter."""
    return {name: round(value, digits or None) for name, value in figures.items()}


def turns(text: str) -> int:
    """A number of turns, one at least.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of turns; give 1 or more"
        )
    return int(text)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that every comparison has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--encoder", type=Path, help="folder of a pretrained encoder")
    parser.add_argument("--data", type=Path, help="folder of the splits")
    parser.add_argument("--env", default="womens_clothing", help="names the columns")
    parser.add_argument("--repeats", type=turns, default=3)
    # The process of our own arm.
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    return parser


def answer(
    parser: argparse.ArgumentParser,
    compare: Callable[[argparse.Namespace, Path], dict[str, Any]],
    ours: Callable[[argparse.Namespace], dict[str, Any]],
) -> None:
    """Prints one line of JSON: the comparison, or what our own arm measured."""
    options = parser.parse_args()
    if options.ours:
        print(json.dumps(ours(options)))
        return
    if not options.encoder or not options.data:
        parser.error("--encoder and --data are needed")
    options.encoder, options.data = options.encoder.resolve(), options.data.resolve()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(options, Path(folder))))
