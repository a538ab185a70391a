"""What happens around a run: stale inputs are refused, and the user is told how it went.

Behaviour lives in `tabweave.artifacts` and `tabweave.evaluation.summary`; the hooks see
what Kedro does and call them.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from tabweave import __version__
from tabweave.artifacts import STAGE_FORMATS, Provenance, content_hash, differences
from tabweave.errors import ArtifactError, MissingDataError, Problems
from tabweave.parameters import PARAMETER_TYPES
from tabweave.schema import SPLITS

logger = logging.getLogger(__name__)

STAGES = tuple(STAGE_FORMATS)
PARAMETER = "params:"


def stage_of(node: Node) -> str:
    """The stage that a node belongs to, by its tag."""
    return next((stage for stage in STAGES if stage in node.tags), node.short_name)


def artifact_path(catalog: CatalogProtocol, name: str) -> Path | None:
    """Where a dataset lies on the disk, or None when it is not one of our files."""
    dataset = catalog.get(name)
    try:
        path = getattr(dataset, "path", None)
    except MissingDataError:
        # A user's file; the staleness check says what it means that it is not there.
        return None
    return path if isinstance(path, Path) else None


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _command(stages: list[str], run_params: dict[str, Any]) -> str:
    """The command that runs stages in the environment and parameters of this run."""
    env, given = run_params.get("env"), run_params.get("runtime_params")
    words = ["kedro run", f"--env={env}" if env else ""]
    words.append(f"--pipelines={','.join(stages)}")
    words.append(f"--params={','.join(_flat(given))}" if given else "")
    return " ".join(word for word in words if word)


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value}"


class _Hashes:
    """Content hashes, computed once per state of a file."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int, int], str] = {}

    def of(self, path: Path) -> str:
        """The hash of a file, or of a folder."""
        if path.is_dir():
            return content_hash(path)
        state = path.stat()
        key = (str(path), state.st_mtime_ns, state.st_size)
        if key not in self.known:
            self.known[key] = content_hash(path)
        return self.known[key]


class ProvenanceHooks:
    """Writes beside each artifact what it was made from, and refuses stale inputs."""

    def __init__(self) -> None:
        self.hashes = _Hashes()
        self.inputs: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.catalog: CatalogProtocol | None = None

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Checks every persisted input of the run against what is there now.

        Raises:
            ArtifactError: An input is missing, changed or stale; the message says why and
                which stages to run again.
        """
        given = run_params.get("runtime_params") or {}
        check = _StalenessCheck(catalog, self.hashes, given)
        for name in sorted(pipeline.inputs()):
            check.visit(name)
        if not check.faults:
            _warn_of(check.gone)
            return
        problems = Problems("Inputs of this run are missing or out of date")
        for reason, names in check.faults.items():
            problems.add(f"{', '.join(names)}: {reason}")
        if not check.to_run:
            raise ArtifactError(str(problems))
        again = check.to_run | {stage_of(node) for node in pipeline.nodes}
        stages = [stage for stage in STAGES if stage in again]
        raise ArtifactError(f"{problems}\nRe-run: {_command(stages, run_params)}")

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: CatalogProtocol, inputs: dict[str, Any]
    ) -> None:
        """Notes what the node reads."""
        self.catalog = catalog
        persisted = {
            name: path
            for name in node.inputs
            if not name.startswith(PARAMETER)
            and (path := artifact_path(catalog, name)) is not None
            and path.is_file() | (Provenance.path_for(path).exists())
        }
        self.inputs[node.name] = (
            {name: self.hashes.of(path) for name, path in persisted.items()},
            {
                name.removeprefix(PARAMETER): _plain(inputs[name])
                for name in node.inputs
                if name.startswith(PARAMETER)
            },
        )

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Writes the record beside the artifact."""
        assert self.catalog is not None
        path = artifact_path(self.catalog, dataset_name)
        if path is None or not path.exists():
            return
        inputs, parameters = self.inputs[node.name]
        Provenance(
            dataset=dataset_name,
            stage=stage_of(node),
            format=STAGE_FORMATS.get(stage_of(node)),
            content=self.hashes.of(path),
            inputs=inputs,
            parameters=parameters,
            version=__version__,
        ).write(path)


def _warn_of(gone: dict[str, str]) -> None:
    if gone:
        logger.warning(
            "%s: cannot be compared with what was made from them, which is used as it "
            "is: %s",
            ", ".join(gone),
            next(iter(gone.values())),
        )


def _writers() -> dict[str, str]:
    """Catalog name of every artifact of a stage -> the stage that writes it."""
    from kedro.framework.project import pipelines

    return {
        name: stage
        for stage in STAGES
        if stage in pipelines
        for name in pipelines[stage].all_outputs()
    }


class _StalenessCheck:
    """Compares the records of artifacts with what is on the disk and in the parameters."""

    def __init__(
        self, catalog: CatalogProtocol, hashes: _Hashes, given: dict[str, Any]
    ) -> None:
        self.catalog, self.hashes, self.writers = catalog, hashes, _writers()
        self.given = given
        # The user's files that are not found -> where they were sought.
        self.gone: dict[str, str] = {}
        self.to_run: set[str] = set()
        # What is wrong -> the artifacts it is wrong with.
        self.faults: dict[str, list[str]] = {}
        self.stale: dict[str, bool] = {}

    def visit(self, name: str) -> bool:
        """Notes what is wrong with an artifact or with anything it was made from."""
        if name not in self.stale:
            self.stale[name] = False
            self.stale[name] = self._visit(name)
        return self.stale[name]

    def _visit(self, name: str) -> bool:
        stage = self.writers.get(name)
        path = artifact_path(self.catalog, name) if stage else None
        if stage is None or path is None:
            return False
        reasons = list(self._own_faults(name, path))
        for reason in reasons:
            self.faults.setdefault(f"{reason} (stage {stage})", []).append(name)
        record = Provenance.read(path) if path.exists() else None
        upstream = [self.visit(source) for source in record.inputs] if record else []
        if reasons or any(upstream):
            self.to_run.add(stage)
            return True
        return False

    def _look_for(self, name: str) -> None:
        """Notes a raw file that is gone; one that is named for this run must be there."""
        split = name.removesuffix(".raw")
        if split == name or split not in SPLITS:
            return
        try:
            getattr(self.catalog.get(name), "path", None)
        except MissingDataError as error:
            filenames = self.given.get("data") or {}
            if "data_dir" in self.given or f"{split}_filename" in filenames:
                self.faults[str(error)] = [name]
            else:
                self.gone[name] = str(error)

    def _own_faults(self, name: str, path: Path) -> Iterator[str]:
        if not path.exists():
            yield f"{path} does not exist"
            return
        record = Provenance.read(path)
        if record is None or record.dataset != name:
            yield f"{path} has no record of what it was made from"
            return
        stage = self.writers[name]
        if record.format != STAGE_FORMATS[stage]:
            yield (
                f"made by another version of the stage {stage} "
                f"({record.format or 'unknown'}, now {STAGE_FORMATS[stage]})"
            )
        if record.content != self.hashes.of(path):
            yield f"{path} was changed after it was written"
        for group, then in record.parameters.items():
            for line in differences(then, self._parameters(group, then), group):
                yield f"made with other parameters, {line}"
        for source, then in record.inputs.items():
            self._look_for(source)
            now = artifact_path(self.catalog, source)
            if now is not None and now.exists() and self.hashes.of(now) != then:
                yield f"made from another {source} than {now} is now"

    def _parameters(self, group: str, then: Any) -> Any:
        """The parameters of a group now, in the form of the record: defaults filled in."""
        now = _plain(self.catalog.load(f"{PARAMETER}{group}"))
        return PARAMETER_TYPES[group](**now).model_dump(mode="json")


def _rows(report: dict[str, Any]) -> str:
    rows = [f"{split['rows']:,}" for split in report["splits"].values()]
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
    "scaler": lambda scaler: f"{len(scaler['features'])} scaled features",
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
    details: dict[str, str] = field(default_factory=dict)
    saved: set[str] = field(default_factory=set)
    metrics: dict[str, Any] | None = None


class SummaryHooks:
    """One line per stage, and at the end what came out and where it is."""

    def __init__(self) -> None:
        self.run = _Run({}, 0.0, 0.0)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline
    ) -> None:
        """Says what is about to run."""
        waiting: dict[str, set[str]] = {}
        for node in pipeline.nodes:
            waiting.setdefault(stage_of(node), set()).update(node.outputs)
        now = time.monotonic()
        self.run = _Run(waiting, now, now)
        env = run_params.get("env") or "base"
        stages = ", ".join(stage for stage in STAGES if stage in waiting)
        logger.info("tabweave %s, environment %s: %s", __version__, env, stages)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Ends a stage with its last output.

        Nodes of several stages may take turns, so a stage's seconds are those that led
        to its outputs, and the seconds of all stages add up to the run's.
        """
        run, stage, now = self.run, stage_of(node), time.monotonic()
        run.seconds[stage] += now - run.last_saved
        run.last_saved = now
        run.saved.add(dataset_name)
        if dataset_name in DETAILS:
            run.details[stage] = DETAILS[dataset_name](data)
        if dataset_name == "metrics":
            run.metrics = data
        waiting = run.waiting.get(stage, set())
        waiting.discard(dataset_name)
        if not waiting:
            detail = run.details.get(stage, "")
            logger.info("%-9s %7.1f s  %s", stage, run.seconds[stage], detail)

    @hook_impl
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Metrics beside the baselines, and where the files are."""
        run = self.run
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
