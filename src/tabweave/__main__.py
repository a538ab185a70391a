"""``python -m tabweave``: the same as the `tabweave` command."""

from __future__ import annotations

import sys

from tabweave.running.signals import interruptible, run_again
from tabweave.storage.processes import typed_command


def main() -> None:
    """Runs the command line."""
    if sys.argv[1:2] == ["score"]:
        with interruptible(
            lambda: f"The same command goes on where it was: {typed_command()}"
        ):
            from tabweave.cli.score import main as score

            score(sys.argv[2:])
        return
    with interruptible(run_again):
        _run_command()


def _run_command() -> None:
    from tabweave.sagemaker.container import choose_logging

    choose_logging()  # before Kedro is imported
    from tabweave.cli.commands import main as run

    run()


if __name__ == "__main__":
    main()
