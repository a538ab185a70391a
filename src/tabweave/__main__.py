"""``python -m tabweave``: the same as the `tabweave` command."""

from __future__ import annotations


def main() -> None:
    """Runs the command line."""
    from tabweave.container import choose_logging

    choose_logging()  # before Kedro is imported
    from tabweave.cli import main as run

    run()


if __name__ == "__main__":
    main()
