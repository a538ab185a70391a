"""A bundle and rows in, predictions out: onnxruntime, numpy and pyarrow alone."""

from __future__ import annotations

from tabweave.scoring.config import ScoreConfig
from tabweave.scoring.files import ScoringReport, score_file
from tabweave.scoring.scorer import Scorer

__all__ = ["ScoreConfig", "Scorer", "ScoringReport", "score_file"]
