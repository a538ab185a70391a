"""What Kedro and what it reads with say of a user's mistakes, in words that help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.utils import KedroCliError
from kedro.io.core import DatasetError
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tabweave.cli.one_screen import Command, Kinds, one_screen, shown_on_one_screen

EXTRAS = {
    "train": (
        "torch",
        "lightning",
        "transformers",
        "torchmetrics",
        "safetensors",
        "onnx",
    ),
    "viz": ("kedro_viz",),
    "lora": ("peft",),
}


@contextmanager
def one_screen_errors() -> Iterator[None]:
    """Turns an error that a user can mend into one screen and exit code 1.

    Any other error keeps its traceback: it is ours to mend.
    """
    try:
        with shown_on_one_screen(KINDS):
            yield
    except KedroCliError as error:
        # Kedro would show the last exception that is being handled, which is none.
        raise click.ClickException(one_screen(error.message)) from error


class KedroCommand(Command):
    """A command that runs Kedro."""

    shown = staticmethod(one_screen_errors)


def _unknown_name(message: str) -> str | None:
    """What may be named, when Kedro says that a pipeline, node or dataset is not there."""
    from kedro.framework.project import pipelines

    if message.startswith("Failed to find the pipeline"):
        known = ", ".join(name for name in pipelines if name != "__default__")
        return f"{message}\nPipelines: {known}; without --pipelines all stages run."
    if message.startswith("Pipeline does not contain nodes named"):
        names = sorted(node.name for node in pipelines["__default__"].nodes)
        return f"{message}\nNodes: {', '.join(names)}."
    if message.startswith("Pipeline contains no nodes after"):
        tags = sorted(
            {tag for node in pipelines["__default__"].nodes for tag in node.tags}
        )
        return (
            "No node is left by the options --tags, --nodes, --from-nodes, --to-nodes, "
            "--from-inputs, --to-outputs and --namespaces together, so nothing would run."
            f"\nTags: {', '.join(tags)}."
        )
    return message if message.startswith("Pipeline does not contain") else None


def _missing_extra(error: ModuleNotFoundError) -> str | None:
    for extra, modules in EXTRAS.items():
        if (error.name or "").split(".")[0] in modules:
            return (
                f"{error.name} is not installed. This stage needs the extra "
                f"'{extra}': pip install 'tabweave[{extra}]'"
            )
    return None


KINDS: Kinds = (
    (
        (OmegaConfBaseException, YAMLError),
        "The configuration cannot be read: {}".format,
    ),
    (
        MissingConfigException,
        "{}. A folder of configurations holds base/ and one per environment.".format,
    ),
    (ModuleNotFoundError, _missing_extra),
    (DatasetError, str),
    (ValueError, lambda error: _unknown_name(str(error))),
)
