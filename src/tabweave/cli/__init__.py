"""The commands. Kedro finds `cli` here; `tabweave score` starts without Kedro."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabweave.cli.commands import cli

__all__ = ["cli"]


def __getattr__(name: str) -> Any:
    if name == "cli":
        from tabweave.cli import commands

        return commands.cli
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
