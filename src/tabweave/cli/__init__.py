"""The commands; Kedro finds them here."""

from tabweave.cli.commands import cli

__all__ = ["cli"]
