"""Nodes of the scoring stage."""

from __future__ import annotations

from pathlib import Path

from tabweave.datasets.scoring import ScoringJob
from tabweave.errors import ConfigError
from tabweave.scoring import ScoreConfig
from tabweave.tables.parted_tables import Source


def score_input(bundle: Path, source: Source, config: ScoreConfig) -> ScoringJob:
    """What is to be scored, with which bundle; the rows are scored as they are written."""
    if config.output is None:
        raise ConfigError(
            "score.output is not set. Name the file to write: "
            "--params=score.output=<file>."
        )
    return ScoringJob(bundle, source, config)
