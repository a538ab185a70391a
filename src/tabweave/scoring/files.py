"""A file in, the same file with predictions out: whole, resumable, in bounded memory."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tabweave import __version__
from tabweave.errors import ArtifactError, SchemaError, some_of
from tabweave.running.run_locks import above, locked, writing
from tabweave.schema import Quoting
from tabweave.scoring.config import ScoreConfig
from tabweave.scoring.input_file import InputFile, Survey, check_fits
from tabweave.scoring.parts import claimed_paths, opened_parts
from tabweave.scoring.paths import ScoringPaths
from tabweave.scoring.runtime import BatchSize, available_threads
from tabweave.scoring.scorer import Scorer
from tabweave.scoring.work import REJECT_COLUMNS, Work, progress_bar
from tabweave.storage.artifacts import replacing_folder
from tabweave.tables.files import write_rows
from tabweave.tables.lookup import find_table
from tabweave.tables.parted_tables import (
    open_table,
    parts_of,
    unread_sentence,
    with_options,
)

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
        files: Files of the input.
    """

    rows: int
    scored: int
    rejected: int
    resumed: int
    repaired: Mapping[str, int]
    seconds: float
    files: int = 1

    @property
    def sentence(self) -> str:
        """The report in one line."""
        rate = (self.rows - self.resumed) / max(self.seconds, 1e-9)
        parts = [f"{self.scored:,} of {self.rows:,} rows scored"]
        if self.files > 1:
            parts[0] += f" in {self.files:,} files"
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
    that was interrupted goes on where it was, to the same bytes. The parts in a folder,
    or the files that match a pattern, become files of the same names in a folder.

    Args:
        bundle: Folder of the bundle.
        source: The file, the folder of parts or the pattern; it is never changed.
        output: The file to write, or the folder where the source is no single file.
        config: Sizes, threads, `int8`, `quoting`, `rejects` and `overwrite`; its other
            paths are not looked at.
        progress: Whether stderr shows a bar.

    Raises:
        ConfigError: A path cannot be used, or exists and may not be replaced.
        SchemaError: A file does not fit the model, or the model has no answer to some
            rows; the message lists rows and columns.
        InUseError: Another process writes one of the files.
        ArtifactError: The bundle is not usable, its sample is not answered rightly on
            this machine, or a file changed meanwhile.
        WriteError: The disk is full or a folder cannot be written. What was scored
            stays for the next run.
    """
    started = time.monotonic()
    config = config or ScoreConfig()
    rejects = None if config.rejects is None else Path(config.rejects)
    paths = ScoringPaths(Path(bundle), Path(source), Path(output), rejects)
    claimed = claimed_paths(paths.output)
    paths.check(overwrite=config.overwrite, claimed=claimed)
    table = open_table(paths.found, "input").pinned()
    if unread := unread_sentence(table, "score.input"):
        logger.warning("%s.", unread)
    content = paths.found.content
    scorer = _scorer(paths, config)
    table = with_options(table, quoting=config.quoting or scorer.rules.quoting)
    added = [*scorer.added, *(REJECT_COLUMNS if rejects else ())]
    check_fits(table, list(scorer.reads), added)
    files = [
        InputFile(part.table, scorer.reads, scorer.rules, part.keys)
        for part in parts_of(table)
    ]
    surveys = _surveys(files, may_reject=rejects is not None)
    record = _record(content, scorer, config, table.quoting)
    with (
        locked([writing(rejects), *above(rejects)] if rejects else []),
        opened_parts(paths.output, record, overwrite=config.overwrite) as parts,
    ):
        works, before = [], 0
        for file, survey in zip(files, surveys, strict=True):
            works.append(Work(file, scorer, parts.after(before), config))
            before += survey.rows
        resumed = _score(works, surveys, progress=progress)
        _check_same_files(paths)
        unanswered = _unanswered(works, may_reject=rejects is not None)
        # Someone may have put other files there meanwhile.
        paths.check(overwrite=config.overwrite, claimed=claimed)
        parts.claim(paths.written.values())
        if rejects is not None:
            tables = [(work.rejects(), work.rejects_schema()) for work in works]
            _write(paths, rejects, tables, table.quoting)
        tables = [(work.scored(), work.output_schema()) for work in works]
        _write(paths, paths.output, tables, table.quoting)
    rejected = sum(survey.rejected for survey in surveys) + unanswered
    report = ScoringReport(
        rows=before,
        scored=before - rejected,
        rejected=rejected,
        resumed=resumed,
        repaired=sum((Counter(survey.repaired) for survey in surveys), Counter()),
        seconds=time.monotonic() - started,
        files=len(files),
    )
    logger.info("%s: %s", paths.output, report.sentence)
    return report


def _surveys(files: Sequence[InputFile], *, may_reject: bool) -> list[Survey]:
    """Reads every file once, before any row is scored.

    Raises:
        SchemaError: Rows or columns of some files do not fit; all of them are listed.
    """
    surveys, refusals = [], []
    for file in files:
        try:
            surveys.append(file.survey(may_reject=may_reject))
        except SchemaError as error:
            refusals.append(str(error))
            continue
        for doubt in surveys[-1].doubts:
            logger.warning("%s: %s", file.raw.path, doubt)
    if refusals:
        raise SchemaError("\n".join(refusals))
    return surveys


def _score(works: Sequence[Work], surveys: Sequence[Survey], *, progress: bool) -> int:
    """Scores what is not there yet; gives the rows that were there."""
    if len(works) == 1:
        return works[0].score(surveys[0].rows, progress=progress)
    with progress_bar(len(works), "file", shown=progress) as bar:
        resumed = 0
        for work, survey in zip(works, surveys, strict=True):
            resumed += work.score(survey.rows, progress=False)
            bar.update()
    return resumed


def _unanswered(works: Sequence[Work], *, may_reject: bool) -> int:
    """How many rows the model has no finite answer to.

    Raises:
        SchemaError: There are such rows, and they may not be left out; all are listed.
    """
    refusals = [
        work.file.refusal(work.unanswered)
        for work in works
        if work.unanswered.counts.total()
    ]
    if refusals and not may_reject:
        raise SchemaError("\n".join(refusals))
    return sum(work.unanswered.counts.total() for work in works)


def _check_same_files(paths: ScoringPaths) -> None:
    """Refuses an input that has got, or lost, files since it was read."""
    now = find_table(paths.source, "score.input").names
    changed = sorted(map(str, {*now} ^ {*paths.found.names}))
    if changed:
        raise ArtifactError(
            f"{paths.source} changed while it was scored: {some_of(changed)} came or "
            "went. The output was not written; score it again."
        )


def _write(
    paths: ScoringPaths,
    target: Path,
    tables: Sequence[tuple[Iterator[pa.RecordBatch], pa.Schema]],
    quoting: Quoting | None,
) -> None:
    """Writes one file, or a folder with one file per file of the input, in one step."""
    if paths.found.is_file:
        write_rows(target, *tables[0], quoting)
        return
    # A link stays one: the folder that it leads to is replaced.
    with replacing_folder(target.resolve() if target.is_symlink() else target) as part:
        for name, (batches, schema) in zip(paths.found.names, tables, strict=True):
            write_rows(part / name, batches, schema, quoting)
        paths.check_folder(target)  # what has come there would go with the old folder


def _scorer(paths: ScoringPaths, config: ScoreConfig) -> Scorer:
    size = BatchSize(config.batch_rows, config.batch_bytes)
    scorer = Scorer.open(
        paths.bundle, threads=config.threads, size=size, int8=config.int8
    )
    scorer.check_sample()  # a machine may give wrong answers without an error
    return scorer


def _record(
    content: str, scorer: Scorer, config: ScoreConfig, quoting: Quoting | None
) -> dict[str, Any]:
    """All that decides the bytes of the predictions."""
    from onnxruntime import __version__ as runtime

    threads = config.threads or available_threads()
    chosen = ("int8", "batch_rows", "batch_bytes", "window_rows", "window_bytes")
    return {
        "input": content,
        "bundle": scorer.identity,
        "options": {name: getattr(config, name) for name in chosen}
        | {"threads": threads, "quoting": quoting},
        "versions": {"tabweave": __version__, "onnxruntime": runtime},
    }
