"""What a user reads of a run: one line per stage, and at the end what came out."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from tabweave import __version__
from tabweave.hooks.stages import STAGES, artifact_path, stage_of
from tabweave.schema import SPLITS

logger = logging.getLogger(__name__)


def _rows(report: dict[str, Any]) -> str:
    rows = [f"{report['splits'][split]['rows']:,}" for split in SPLITS]
    return f"{' / '.join(rows)} rows (train / val / test)"


def _loaded(report: dict[str, Any]) -> str:
    severities = [finding["severity"] for finding in report["findings"]]
    counts = {kind: severities.count(kind) for kind in ("error", "warning")}
    found = [f"{n} {kind}{'s' * (n > 1)}" for kind, n in counts.items() if n]
    notice = f"; {', '.join(found)}, see data_report.json" if found else ""
    return f"{_rows(report)}{notice}"


def _tokens(report: dict[str, Any]) -> str:
    train = report.get("train", {})
    parts = [f"{name} {field['tokens']:,} tokens" for name, field in train.items()]
    return f"train: {', '.join(parts) or 'no text'}"


def _training(history: dict[str, Any]) -> str:
    best = history["best"]
    return (
        f"{history['model_class']}, {history['parameters']:,} parameters, "
        f"{history['precision']}, {history['samples_per_second']:.0f} rows/s, best "
        f"{best['metric']} {best['value']:.4f}"
    )


def _parity(report: dict[str, Any]) -> str:
    return (
        f"model.onnx differs from PyTorch by at most {report['largest_difference']:.1e} "
        f"on {report['rows']} val rows"
    )


def _metrics(metrics: dict[str, float | None]) -> str:
    found = (
        f"{name} {value:.4f}"
        for name, value in metrics.items()
        if name.startswith("test/") and value is not None
    )
    return next(found, "no metric of test is defined")


DETAILS: dict[str, Callable[[Any], str]] = {
    "split_report": _rows,
    "data_report": _loaded,
    "text_report": _tokens,
    "scaler": lambda scaler: f"{len(scaler.features)} scaled features",
    "training_history": _training,
    "parity_report": _parity,
    "metrics": _metrics,
}


@dataclass
class _Run:
    """What one run has done so far."""

    waiting: dict[str, set[str]]
    started: float
    last_saved: float
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    process: int = 0
    details: dict[str, str] = field(default_factory=dict)
    saved: set[str] = field(default_factory=set)
    metrics: dict[str, Any] | None = None


class SummaryHooks:
    """One line per stage, and at the end what came out and where it is."""

    def __init__(self) -> None:
        self.run = _Run({}, 0.0, 0.0)
        self.one_at_a_time = threading.Lock()  # ThreadRunner saves from several threads

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline
    ) -> None:
        """Says what is about to run."""
        waiting: dict[str, set[str]] = {}
        for node in pipeline.nodes:
            waiting.setdefault(stage_of(node), set()).update(node.outputs)
        now = time.monotonic()
        self.run = _Run(waiting, now, now, process=os.getpid())
        env = run_params.get("env") or "base"
        stages = ", ".join(stage for stage in STAGES if stage in waiting)
        logger.info("tabweave %s, environment %s: %s", __version__, env, stages)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Ends a stage with its last output.

        Nodes of several stages may take turns, so a stage's seconds are those that led
        to its outputs, and the seconds of all stages add up to the run's.
        """
        run, stage = self.run, stage_of(node)
        if run.process != os.getpid():
            return  # a process of ParallelRunner sees a part of the run only
        with self.one_at_a_time:
            now = time.monotonic()
            run.seconds[stage] += now - run.last_saved
            run.last_saved = now
            self._note(dataset_name, data, stage, f"{run.seconds[stage]:7.1f} s")

    def _note(self, dataset_name: str, data: Any, stage: str, seconds: str) -> None:
        run = self.run
        run.saved.add(dataset_name)
        if dataset_name in DETAILS:
            run.details[stage] = DETAILS[dataset_name](data)
        if dataset_name == "metrics":
            run.metrics = data
        waiting = run.waiting.get(stage, set())
        waiting.discard(dataset_name)
        if not waiting:
            detail = run.details.get(stage, "")
            logger.info("%-9s %9s  %s", stage, seconds, detail)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Metrics beside the baselines, and where the files are."""
        run = self.run
        if not pipeline.nodes:
            logger.warning("Nothing was run: no node belongs to what was asked for.")
        for node in pipeline.nodes:
            # What processes of ParallelRunner have saved; their seconds overlap.
            for name in (name for name in node.outputs if name not in run.saved):
                data = catalog.load(name) if name in DETAILS else None
                self._note(name, data, stage_of(node), "")
        logger.info("%-9s %7.1f s", "total", time.monotonic() - run.started)
        if run.metrics is None:
            return
        from tabweave.evaluation.summary import summary_lines

        for line in summary_lines(run.metrics):
            logger.info(line)
        names = ("model", "onnx_model", "test.predictions", "test.scored", "metrics")
        # A file of an earlier run may belong to another model than these metrics.
        for name in (name for name in names if name in run.saved):
            path = artifact_path(catalog, name)
            if path is not None:
                logger.info("%-17s %s", name, _relative(path))


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
