"""A file in, the same file with predictions out: whole, resumable, in bounded memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabweave import __version__
from tabweave.artifacts import content_hash
from tabweave.errors import SchemaError
from tabweave.scoring.config import ScoreConfig
from tabweave.scoring.input_file import InputFile
from tabweave.scoring.parts import claimed_paths, opened_parts
from tabweave.scoring.paths import ScoringPaths
from tabweave.scoring.runtime import BatchSize, available_threads
from tabweave.scoring.scorer import Scorer
from tabweave.scoring.work import REJECT_COLUMNS, FileState, Work
from tabweave.tables import RawTable, write_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoringReport:
    """How a file was scored.

    Attributes:
        rows: Rows of the input; each is in the output or among the rejects.
        scored: Rows of the output.
        rejected: Rows among the rejects.
        resumed: Rows that an earlier, interrupted scoring had done.
        repaired: Column -> byte sequences that became U+FFFD.
        seconds: From start to end.
    """

    rows: int
    scored: int
    rejected: int
    resumed: int
    repaired: Mapping[str, int]
    seconds: float

    @property
    def sentence(self) -> str:
        """The report in one line."""
        rate = (self.rows - self.resumed) / max(self.seconds, 1e-9)
        parts = [f"{self.scored:,} of {self.rows:,} rows scored"]
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        if self.resumed:
            parts.append(f"{self.resumed:,} were there from before")
        if self.repaired:
            count = sum(self.repaired.values())
            parts.append(f"{count:,} byte sequences that are not UTF-8 became U+FFFD")
        return f"{', '.join(parts)}; {self.seconds:.1f} s, {rate:,.0f} rows/s"


def score_file(
    bundle: Path,
    source: Path,
    output: Path,
    config: ScoreConfig | None = None,
    *,
    progress: bool = False,
) -> ScoringReport:
    """Writes the rows of a file with ``prob_<class>`` and ``predicted`` added.

    Same format, rows, order and cells. The output appears whole or not at all. A scoring
    that was interrupted goes on where it was, to the same bytes.

    Args:
        bundle: Folder of the bundle.
        source: The file; it is never changed.
        output: The file to write.
        config: Sizes, threads, `int8`, `rejects` and `overwrite`; its other paths are
            not looked at.
        progress: Whether stderr shows a bar.

    Raises:
        ConfigError: A path cannot be used, or exists and may not be replaced.
        SchemaError: The file does not fit the model, or the model has no answer to some
            rows; the message lists rows and columns.
        ArtifactError: The bundle is not usable, its sample is not answered rightly on
            this machine, or the file changed meanwhile.
        WriteError: The disk is full or a folder cannot be written. What was scored
            stays for the next run.
    """
    started = time.monotonic()
    config = config or ScoreConfig()
    rejects = None if config.rejects is None else Path(config.rejects)
    paths = ScoringPaths(Path(bundle), Path(source), Path(output), rejects)
    paths.check(overwrite=config.overwrite, claimed=claimed_paths(paths.output))
    state, content = FileState.of(paths.source), content_hash(paths.source)
    scorer = _scorer(paths, config)
    file = InputFile(RawTable(paths.source, "input"), scorer.reads, scorer.rules)
    file.check_columns([*scorer.added, *(REJECT_COLUMNS if rejects else ())])
    survey = file.survey(may_reject=rejects is not None)
    record = _record(content, scorer, config)
    with opened_parts(paths.output, record, overwrite=config.overwrite) as parts:
        work = Work(file, state, scorer, parts, config)
        resumed = work.score(survey.rows, progress=progress)
        unanswered = work.unanswered.counts.total()
        if unanswered and rejects is None:
            raise SchemaError(file.refusal(work.unanswered))
        parts.claim(paths.written.values())
        if rejects is not None:
            write_rows(rejects, work.rejects(), work.rejects_schema())
        write_rows(paths.output, work.scored(), work.output_schema())
    rejected = survey.rejected + unanswered
    report = ScoringReport(
        rows=survey.rows,
        scored=survey.rows - rejected,
        rejected=rejected,
        resumed=resumed,
        repaired=survey.repaired,
        seconds=time.monotonic() - started,
    )
    logger.info("%s: %s", paths.output, report.sentence)
    return report


def _scorer(paths: ScoringPaths, config: ScoreConfig) -> Scorer:
    size = BatchSize(config.batch_rows, config.batch_bytes)
    scorer = Scorer.open(
        paths.bundle, threads=config.threads, size=size, int8=config.int8
    )
    scorer.check_sample()  # a machine may give wrong answers without an error
    return scorer


def _record(content: str, scorer: Scorer, config: ScoreConfig) -> dict[str, Any]:
    """All that decides the bytes of the predictions."""
    from onnxruntime import __version__ as runtime

    threads = config.threads or available_threads()
    chosen = ("int8", "batch_rows", "batch_bytes", "window_rows", "window_bytes")
    return {
        "input": content,
        "bundle": scorer.identity,
        "options": {name: getattr(config, name) for name in chosen}
        | {"threads": threads},
        "versions": {"tabweave": __version__, "onnxruntime": runtime},
    }
