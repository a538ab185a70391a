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
import pyarrow as pa

from benchmarks.project import load_project
from tabweave.batches import Rows
from tabweave.evaluation.config import METRICS
from tabweave.evaluation.metrics import compute_metrics
from tabweave.loading import load_splits
from tabweave.models.config import ModelConfig
from tabweave.sampling import ShuffledBatches
from tabweave.schema import SPLITS, DataSchema
from tabweave.tables import (
    ArrowFile,
    RawTable,
    TableFile,
    find_split_file,
    write_arrow,
    write_parquet,
)
from tabweave.tabular import (
    TabularConfig,
    count_categories,
    fit_imputer,
    fit_risk_tables,
    fit_train_scaler,
    train_features,
    transform_features,
)
from tabweave.text import (
    TextConfig,
    learn_or_load_tokenizers,
    resolve_fields,
    tokenize_tables,
)
from tabweave.training.config import TrainingConfig
from tabweave.training.plan import TrainingPlan, make_plan

SEED, VAL_ROWS = 0, 128
CLASSES = "classes.json"


def write_files(folder: Path, data: Path, encoder: str, rows: int, env: str) -> None:
    """Tokens and labels of so many train rows, a few val rows and all test rows.

    The classes, and the order in which the rows are trained on, are written beside them.
    """
    params: dict[str, Any] = load_project(env, {"text": {"encoder": encoder}})[1]
    raw = {split: RawTable(find_split_file(data, split), split) for split in SPLITS}
    loaded = load_splits(raw, params["data"])
    draw = np.random.default_rng(SEED)
    tables = {}
    for split, table in loaded.tables.items():
        wanted = {"train": rows, "val": VAL_ROWS}.get(split, table.num_rows)
        some = np.sort(draw.permutation(table.num_rows)[:wanted])
        tables[split] = table.take(some)
        write_parquet(folder / f"{split}.parquet", tables[split])
        _write_json(
            folder / f"{split}_order.json", _order(split, tables[split].num_rows)
        )
    _write_json(folder / CLASSES, loaded.schema.classes)
    _write_tokens(folder, params["text"], loaded.schema)
    _write_features(folder, tables, loaded.schema)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _order(split: str, rows: int) -> list[int]:
    """Train rows as the first epoch takes them, others as they lie."""
    if split != "train":
        return list(range(rows))
    batches = ShuffledBatches(rows, rows, SEED).batches(0)
    return [int(row) for row in np.concatenate(batches)]


def _write_tokens(folder: Path, config: TextConfig, schema: DataSchema) -> None:
    fields = resolve_fields(config, schema)
    files = [TableFile(folder / f"{split}.parquet") for split in SPLITS]
    tokenizers = learn_or_load_tokenizers(files[0], fields, config)
    tokens = tokenize_tables(files, fields, tokenizers)
    for split, done in zip(SPLITS, tokens, strict=True):
        write_arrow(folder / f"{split}_tokens.arrow", done.table)


def _write_features(
    folder: Path, tables: dict[str, pa.Table], schema: DataSchema
) -> None:
    config, train = TabularConfig(), tables["train"]
    imputer = fit_imputer(train, schema, config)
    risks = fit_risk_tables(
        count_categories(train.to_batches(), schema), schema, config.risk
    )
    fitted = (imputer, risks, fit_train_scaler(train, schema, imputer, risks))
    write_arrow(folder / "train_features.arrow", train_features(train, schema, *fitted))
    for split in ("val", "test"):
        features = transform_features(tables[split], schema, *fitted)
        write_arrow(folder / f"{split}_features.arrow", features)


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
            metrics=METRICS,
            classes=classes,
            positive_index=1,
            stage="val",
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
