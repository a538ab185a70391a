"""`tabweave score`: apart from the other commands, so that it starts without Kedro."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from pydantic import ValidationError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--rejects", help="File for rows that cannot be scored, with reasons.")
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

    from tabweave.errors import TabweaveError
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
    try:
        report = score_file(bundle, source, output, config, progress=not quiet)
    except TabweaveError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{output}: {report.sentence}")


def _refused(error: ValidationError) -> str:
    """One line per option whose value is not allowed."""
    return "\n".join(
        f"Invalid value for '--{fault['loc'][0]}': {fault['msg']}, got "
        f"{fault['input']!r}."
        for fault in error.errors()
    )


def main(arguments: list[str]) -> None:
    """Runs the command with these arguments."""
    score(args=arguments, prog_name="tabweave score")
