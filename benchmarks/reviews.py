"""The files of the speed benchmarks: token ids and labels of one data set, text alone.

Written by the functions that the stages call, from the rows and columns of an environment
of the project.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.preparation import table_file, tabular, text
from benchmarks.project import load_project
from tabweave.batching.batches import Rows
from tabweave.batching.sampling import ShuffledBatches
from tabweave.evaluation.metrics import compute_metrics
from tabweave.models.config import ModelConfig
from tabweave.schema import SPLITS
from tabweave.tables.files import (
    ArrowFile,
    write_arrow,
    write_parquet,
)
from tabweave.tables.loading import load_splits
from tabweave.tables.lookup import find_split
from tabweave.tables.parted_tables import open_table
from tabweave.text import TextConfig, learn_or_load_tokenizers, resolve_fields
from tabweave.training.config import TrainingConfig
from tabweave.training.measures.torch_metrics import logged
from tabweave.training.plan import TrainingPlan, make_plan

SEED, VAL_ROWS = 0, 128
CLASSES = "classes.json"


def write_files(folder: Path, data: Path, encoder: str, rows: int, env: str) -> None:
    """Tokens and labels of so many train rows, a few val rows and all test rows.

    The classes, and the order in which the rows are trained on, are written beside them.
    """
    params: dict[str, Any] = load_project(env, {"text": {"encoder": encoder}})[1]
    raw = {split: open_table(find_split(data, split), split) for split in SPLITS}
    loaded = load_splits(raw, params["data"])
    draw = np.random.default_rng(SEED)
    for split, table in loaded.tables.items():
        wanted = {"train": rows, "val": VAL_ROWS}.get(split, table.num_rows)
        some = np.sort(draw.permutation(table.num_rows)[:wanted])
        write_parquet(table_file(folder, split).path, table.take(some))
        _write_json(folder / f"{split}_order.json", _order(split, len(some)))
    _write_json(folder / CLASSES, loaded.schema.classes)
    config: TextConfig = params["text"]
    fields = resolve_fields(config, loaded.schema)
    train = table_file(folder, "train")
    text(folder, fields, learn_or_load_tokenizers(train, fields, config))
    tabular(folder, loaded.schema)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _order(split: str, rows: int) -> list[int]:
    """Train rows as the first epoch takes them, others as they lie."""
    if split != "train":
        return list(range(rows))
    batches = ShuffledBatches(rows, rows, SEED).batches(0)
    return [int(row) for row in np.concatenate(batches)]


def text_plan(folder: Path, **training: Any) -> TrainingPlan:
    """The plan of a training on the text of `write_files`, without the table."""
    classes = tuple(json.loads((folder / CLASSES).read_text(encoding="utf-8")))
    files = {
        kind: tuple(
            ArrowFile(folder / f"{split}_{kind}.arrow") for split in ("train", "val")
        )
        for kind in ("tokens", "features")
    }
    return make_plan(
        tokens=files["tokens"],
        features=files["features"],
        classes=classes,
        # The [CLS] state through the pretrained pooler, as the rival has it.
        model=ModelConfig(model_class="bert", pooling="pooler"),
        training=TrainingConfig(seed=SEED, **training),
        metric=partial(
            compute_metrics,
            classes=classes,
            positive_index=1,
            stage="val",
            values_of=logged,
        ),
        checkpoints=folder / "checkpoints",
        log_folder=folder / "events",
    )


def first_rows(folder: Path, split: str, count: int) -> Rows:
    """The first rows of a split, as files of their own."""
    files = {}
    for kind in ("tokens", "features"):
        table = ArrowFile(folder / f"{split}_{kind}.arrow").open().slice(0, count)
        path = folder / f"{split}_{count}_{kind}.arrow"
        write_arrow(path, table.combine_chunks())
        files[kind] = ArrowFile(path)
    names = files["tokens"].open().column_names
    return Rows(files["tokens"], files["features"], names)
