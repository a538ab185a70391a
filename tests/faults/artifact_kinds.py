"""Every kind of artifact in two versions, for tests that disturb their writers.

A version of a kind is about 1 MB of noise that depends on the version alone, so that a
reader can tell a whole old file and a whole new one from everything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from tabweave.bundle import BundleParts, Sample
from tabweave.datasets import bundle, compatibility, files, split_files, tables
from tabweave.evaluation.predictions import scored_batches
from tabweave.schema import DataSchema
from tabweave.splitting.division import Division
from tabweave.storage.artifacts import Provenance
from tabweave.tables.cells import CellRules
from tabweave.tables.files import RawTable, TableFile, write_parquet, write_rows

ROWS = 12_000
NOISE = 1_000_000


@dataclass(frozen=True)
class Kind:
    """How a kind of artifact is saved, and what its readers find.

    Attributes:
        dataset: Its class in the catalog; None where it is written beside the catalog.
        target: Name of its file or folder in the folder it is saved to.
        save: Writes a version, given the folder, the version and a folder of inputs.
        read: All that a reader finds, to be compared with ``==``.
    """

    dataset: type | None
    target: str
    save: Callable[[Path, int, Path], None]
    read: Callable[[Path], Any]


def _draw(version: int) -> np.random.Generator:
    return np.random.default_rng(version)


@cache
def _bytes(version: int) -> bytes:
    return _draw(version).bytes(NOISE)


@cache
def _table(version: int) -> pa.Table:
    draw = _draw(version)
    names = [f"row {n}" for n in range(ROWS)]
    columns = {name: draw.normal(size=ROWS) for name in ("a", "b", "c", "d", "e", "f")}
    return pa.table({"id": names, **columns})


@cache
def _figure(version: int) -> Figure:
    figure = Figure(figsize=(4, 4))
    figure.figimage(_draw(version).random((600, 600, 3)))
    return figure


@cache
def _model(version: int) -> Any:
    import torch

    from tabweave.models.classifier import Classifier
    from tabweave.models.config import ModelConfig, ModelSpec

    spec = ModelSpec(
        model=ModelConfig(
            model_class="tabular",
            hidden_common_dim=400,
            numeric_embedding={"kind": "linear"},
        ),
        text=(),
        features=("num:a", "num:b"),
        classes=("0", "1"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(version)
        return Classifier(spec)


@cache
def _parts(version: int) -> BundleParts:
    from onnx import TensorProto, helper, numpy_helper

    values = _draw(version).random(NOISE // 4, dtype=np.float32)
    one = helper.make_tensor_value_info("noise", TensorProto.FLOAT, [len(values)])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["constant"], ["noise"])],
        "noise",
        [],
        [one],
        [numpy_helper.from_array(values, "constant")],
    )
    model = helper.make_model(graph).SerializeToString()
    return BundleParts(
        model=model,
        pipeline=model,
        tokenizers={},
        imputer={},
        risk_tables={},
        scaler={},
        impute_dict={},
        risk_table_map={},
        schema=DataSchema(
            id="i", label="y", text=("t",), classes=("0", "1"), positive_label="1"
        ),
        rules=CellRules(),
        metrics={},
        export_report={},
        sample=Sample.of([{"t": "a"}], ("0", "1"), np.array([[0.25, 0.75]])),
    )


def _entry(kind: type, target: str, **options: Any) -> Callable[[Path], Any]:
    return lambda folder: kind(path=str(folder / target), **options)


def _plain(
    kind: type,
    target: str,
    value: Callable[[int], Any],
    seen: Callable[[Any], Any] = lambda loaded: loaded,
) -> Kind:
    """A kind whose dataset takes the value itself."""
    entry = _entry(kind, target)
    return Kind(
        kind,
        target,
        lambda folder, version, _: entry(folder).save(value(version)),
        lambda folder: seen(entry(folder).load()),
    )


def _rows(raw: RawTable) -> pa.Table:
    return pa.Table.from_batches(raw.batches())


def _weights(state: dict[str, Any]) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in state.items()}


def _tokenizers(version: int) -> dict[str, str]:
    half = _bytes(version).hex()
    return {"title": half[:NOISE], "review": half[NOISE:]}


def _input(inputs: Path, name: str, version: int) -> Path:
    """A file that a kind is made from; it lies on a disk in order."""
    path = inputs / str(version) / name
    if not path.exists():
        if path.suffix == ".parquet":
            write_parquet(path, _table(version))
        else:
            table = _table(version)
            write_rows(path, iter(table.to_batches()), table.schema)
    return path


@cache
def _schema(version: int) -> DataSchema:
    classes = [f"class {n}" for n in _draw(version).random(40_000).tolist()]
    return DataSchema(
        id="i", label="y", text=("t",), classes=classes, positive_label=classes[-1]
    )


def _save_split(folder: Path, version: int, inputs: Path) -> None:
    sides = np.arange(ROWS) % 3
    raw = RawTable(_input(inputs, "rows.csv", version), "source")
    _entry(split_files.SplitFolderDataset, "split")(folder).save(
        Division(raw, sides, {})
    )


def _save_scored(folder: Path, version: int, inputs: Path) -> None:
    raw = RawTable(_input(inputs, "rows.csv", version), "test")
    predictions = inputs / str(version) / "predictions.parquet"
    if not predictions.exists():
        ids, scores = _table(version)["id"], _draw(version).random(ROWS)
        columns = {"id": ids, "label": ids, "prob_x": scores, "predicted": ids}
        write_parquet(predictions, pa.table(columns))
    batches, schema = scored_batches(raw, TableFile(predictions).read())
    rows = tables.ScoredRows(batches, schema, raw.format, raw.quoting)
    _entry(tables.ScoredRowsDataset, "scored", split="test")(folder).save(rows)


def _evaluation(version: int) -> dict[str, Any]:
    scalars = {f"metric {n}": version + n / 8 for n in range(2000)}
    return {"scalars": scalars, "figures": {"roc": _figure(version)}}


def _read_events(folder: Path) -> Any:
    from tensorboard.backend.event_processing import event_accumulator as events

    (file,) = folder.glob("events.out.tfevents.*")
    found = events.EventAccumulator(str(file), {events.SCALARS: 0, events.IMAGES: 0})
    found.Reload()
    tags = found.Tags()
    return (
        {tag: [e.value for e in found.Scalars(tag)] for tag in tags["scalars"]},
        {tag: found.Images(tag)[0].encoded_image_string for tag in tags["images"]},
        {path.name: path.read_bytes() for path in folder.glob("*.png")},
    )


def _save_checkpoint(folder: Path, version: int, _: Path) -> None:
    from tabweave.training.checkpoints.checkpoint import WholeFileCheckpointIO

    state = {f"model.{k}": v for k, v in _model(version).state_dict().items()}
    path = _entry(files.FolderDataset, "checkpoints")(folder).load() / "last.ckpt"
    WholeFileCheckpointIO().save_checkpoint({"state_dict": state}, path)


def _read_checkpoint(folder: Path) -> Any:
    from tabweave.training.checkpoints.checkpoint import model_weights

    return _weights(model_weights(folder / "checkpoints" / "last.ckpt"))


def _save_record(folder: Path, version: int, _: Path) -> None:
    Provenance("x", "load", _bytes(version).hex()).write(folder / "x.json")


SCHEMA = _entry(files.ObjectDataset, "schema.json", holds="tabweave.schema.DataSchema")
KINDS = {
    "json": _plain(
        files.JsonDataset,
        "x.json",
        lambda v: _draw(v).integers(9**9, size=99_999).tolist(),
    ),
    "object": Kind(
        files.ObjectDataset,
        "schema.json",
        lambda folder, version, _: SCHEMA(folder).save(_schema(version)),
        lambda folder: SCHEMA(folder).load(),
    ),
    "tokenizers": _plain(files.TokenizersDataset, "tokenizer", _tokenizers),
    "model": _plain(
        files.ModelDataset, "model", _model, lambda model: _weights(model.state_dict())
    ),
    "onnx": _plain(files.OnnxDataset, "model.onnx", _bytes),
    "pipeline": _plain(files.OptionalOnnxDataset, "pipeline.onnx", _bytes),
    "bundle": _plain(
        bundle.BundleDataset, "bundle", _parts, lambda opened: opened.pipeline
    ),
    "pth": _plain(
        compatibility.PthDataset,
        "model.pth",
        lambda v: dict(_model(v).state_dict()),
        _weights,
    ),
    "pickle": _plain(
        compatibility.PickleDataset,
        "map.pkl",
        lambda v: {str(n): x for n, x in enumerate(_draw(v).random(60_000).tolist())},
    ),
    "figure": _plain(files.FigureDataset, "roc.png", _figure),
    "tensorboard": _plain(
        files.TensorBoardDataset, "tensorboard_eval", _evaluation, _read_events
    ),
    "demo": _plain(tables.DemoTableDataset, "train/x.csv", _table, _rows),
    "parquet": _plain(tables.TypedTableDataset, "x.parquet", _table, TableFile.read),
    "arrow": _plain(
        tables.MappedTableDataset, "x.arrow", _table, lambda file: file.open()
    ),
    "split": Kind(
        split_files.SplitFolderDataset,
        "split",
        _save_split,
        lambda folder: {
            split: _rows(raw)
            for split, raw in _entry(split_files.SplitFolderDataset, "split")(folder)
            .load()
            .items()
        },
    ),
    "scored": Kind(
        tables.ScoredRowsDataset,
        "scored/test.csv",
        _save_scored,
        lambda folder: _rows(
            _entry(tables.ScoredRowsDataset, "scored", split="test")(folder).load()
        ),
    ),
    "checkpoint": Kind(
        files.FolderDataset, "checkpoints/last.ckpt", _save_checkpoint, _read_checkpoint
    ),
    "record": Kind(
        None,
        "x.json.provenance.json",
        _save_record,
        lambda folder: Provenance.read(folder / "x.json"),
    ),
}


def whole(kind: Kind, version: int, inputs: Path) -> Any:
    """What a reader finds of a version that was written without disturbance."""
    folder = inputs / "whole" / str(version)
    kind.save(folder, version, inputs)
    return kind.read(folder)


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Relative name of everything in a folder, hidden things too -> content of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def save_for_ever(name: str, folder: Path, inputs: Path, ready: Connection) -> None:
    """Saves both versions in turn until killed; tells how long two saves take."""
    kind = KINDS[name]
    kind.save(folder, 1, inputs)
    started = time.monotonic()
    for version in (0, 1):
        kind.save(folder, version, inputs)
    ready.send(time.monotonic() - started)
    while True:
        for version in (0, 1):
            kind.save(folder, version, inputs)
