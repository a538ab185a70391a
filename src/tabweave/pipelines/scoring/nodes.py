"""Nodes of the scoring stage."""

from __future__ import annotations

from pathlib import Path

from tabweave.datasets.scoring import ScoringOutput
from tabweave.errors import ConfigError
from tabweave.schema import typed
from tabweave.scoring import ScoreConfig, ScoringReport, score_file
from tabweave.tables.parted_tables import Source


@typed
def score_input(
    bundle: Path, source: Source, output: ScoringOutput, config: ScoreConfig
) -> ScoringReport:
    """Scores the file window by window and writes it in one step.

    Raises:
        ConfigError: No output is named; else as `tabweave.scoring.score_file`.
    """
    if config.output is None:
        raise ConfigError(
            "score.output is not set. Name the file to write: "
            "--params=score.output=<file>."
        )
    # The catalog says where rejects go: a path of the parameters is not resolved.
    config = config.model_copy(update={"rejects": output.rejects})
    return score_file(bundle, source.path, output.path, config, progress=True)
