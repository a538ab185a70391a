"""`tabweave score`: apart from the other commands, so that it starts without Kedro."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tabweave.cli.one_screen import Command
from tabweave.errors import shorten

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_DATA = 16 * 2**30
"""Most bytes of a process that only scores, texts and weights included."""


class LocalPath(click.Path):
    """A path of this machine; an address such as ``s3://`` is refused."""

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """The path as it was given."""
        from tabweave.storage.local_paths import local_path

        try:
            local_path(os.fspath(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return super().convert(value, param, ctx)


@click.command(cls=Command)
@click.argument("bundle", type=LocalPath(path_type=Path))
@click.argument("source", metavar="IN", type=LocalPath(path_type=Path))
@click.argument("output", metavar="OUT", type=LocalPath(path_type=Path))
@click.option(
    "--rejects",
    type=LocalPath(),
    help="File for rows that cannot be scored, with reasons.",
)
@click.option(
    "--quoting",
    type=click.Choice(["standard", "none"]),
    help="Whether cells of a CSV or TSV may be in quotes; by default as in training.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT, rejects and old parts.")
@click.option("--threads", type=int, help="Compute threads.")
@click.option("--int8", is_flag=True, help="Use pipeline.int8.onnx of the bundle.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def score(
    bundle: Path,
    source: Path,
    output: Path,
    rejects: str | None,
    quoting: Literal["standard", "none"] | None,
    overwrite: bool,
    threads: int | None,
    int8: bool,
    quiet: bool,
) -> None:
    """Add predictions to the rows of a file, with a bundle that the export wrote.

    IN is .csv, .tsv or .parquet; OUT gets the same format, rows, order and cells, and
    the columns prob_<class> and predicted. A folder of parts, or a pattern in quotes,
    becomes a folder: each file keeps its name. A scoring that was interrupted goes on
    where it was when the command is given again.
    """
    from pydantic import ValidationError

    from tabweave.scoring import ScoreConfig, score_file

    try:
        config = ScoreConfig(
            rejects=rejects,
            quoting=quoting,
            overwrite=overwrite,
            threads=threads,
            int8=int8,
        )
    except ValidationError as error:
        raise click.UsageError(_refused(error)) from error
    report = score_file(bundle, source, output, config, progress=not quiet)
    click.echo(f"{output}: {report.sentence}")


def _refused(error: ValidationError) -> str:
    """One line per option whose value is not allowed."""
    return "\n".join(
        f"Invalid value for '--{fault['loc'][0]}': {fault['msg']}, got "
        f"{shorten(fault['input'])}."
        for fault in error.errors()
    )


def bound_this_process() -> None:
    """Bounds the memory of a process that does nothing but score.

    Texts that a graph repeats are not in the memory that sessions share. A lower limit
    that is set already stays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > MAX_DATA:
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA, hard))


def main(arguments: list[str]) -> None:
    """Runs the command with these arguments, in a process that does nothing else."""
    bound_this_process()
    score(args=arguments, prog_name="tabweave score")
