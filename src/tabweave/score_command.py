"""`tabweave score`: apart from the other commands, so that it starts without Kedro."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--rejects", help="File for rows that cannot be scored, with reasons.")
@click.option("--overwrite", is_flag=True, help="Replace OUT, rejects and old parts.")
@click.option("--threads", type=click.IntRange(1), help="Compute threads.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def score(
    bundle: Path,
    source: Path,
    output: Path,
    rejects: str | None,
    overwrite: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Add predictions to the rows of a file, with a bundle that the export wrote.

    IN is .csv, .tsv or .parquet; OUT gets the same format, rows, order and cells, and
    the columns prob_<class> and predicted. A scoring that was interrupted goes on where
    it was when the command is given again.
    """
    from tabweave.errors import TabweaveError
    from tabweave.scoring import ScoreConfig, score_file

    config = ScoreConfig(rejects=rejects, overwrite=overwrite, threads=threads)
    try:
        report = score_file(bundle, source, output, config, progress=not quiet)
    except TabweaveError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{output}: {report.sentence}")


def main(arguments: list[str]) -> None:
    """Runs the command with these arguments."""
    score(args=arguments, prog_name="tabweave score")
