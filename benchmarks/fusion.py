"""Does fusion pay? The fused, the text-only and the table-only model, same settings.

    kedro run --pipelines=prepare [--env=..]
    python -m benchmarks.fusion [--env ..] [--params training.max_epochs=2,..]

Text alone is the same architecture without the table's features. Ends with one JSON line:
AUROC of the three on test (macro F1 where there are more than two classes), and the paired
bootstrap intervals of fused - text and fused - table on the same rows. Exits with 1 when
the lower end of one of the two is not above 0: fusion has then not been shown to pay.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from kedro.framework.cli.utils import _split_params

from benchmarks.project import load_project
from tabweave.batching.batches import LABEL, ROW_ID, Rows
from tabweave.evaluation.metrics import compute_metrics
from tabweave.evaluation.predict import predict_probabilities
from tabweave.models.config import ModelConfig
from tabweave.schema import DataSchema
from tabweave.statistics.classification import Answers, MetricName
from tabweave.statistics.resampling import Resampling
from tabweave.tables.files import ArrowFile, write_arrow
from tabweave.training.engine import train_model
from tabweave.training.measures.torch_metrics import logged
from tabweave.training.plan import make_plan

TABLE_ONLY = "tabular"
FUSED, OTHERS = "fused", ("text", "table")


def without_features(file: ArrowFile, folder: Path) -> ArrowFile:
    """The ids and labels of a feature table, in a file of its own."""
    write_arrow(folder / file.path.name, file.open().select([ROW_ID, LABEL]))
    return ArrowFile(folder / file.path.name)


def predict_test(
    catalog: Any, params: dict[str, Any], kind: str, schema: DataSchema
) -> tuple[np.ndarray, np.ndarray, float]:
    """Trains one model; probabilities and labels of test, seconds of training."""
    splits = ("train", "val", "test")
    tokens = {split: catalog.load(f"{split}.tokens") for split in splits}
    features = {split: catalog.load(f"{split}.features") for split in splits}
    model: ModelConfig = params["model"]
    if kind == "table":
        named = {"model_class": TABLE_ONLY, "text_encoder": None, "fusion": None}
        model = model.model_copy(update=named)
    with tempfile.TemporaryDirectory() as folder:
        if kind == "text":
            features = {
                split: without_features(file, Path(folder))
                for split, file in features.items()
            }
        plan = make_plan(
            tokens=(tokens["train"], tokens["val"]),
            features=(features["train"], features["val"]),
            classes=schema.classes,
            model=model,
            training=params["training"],
            metric=partial(
                compute_metrics,
                classes=schema.classes,
                positive_index=schema.positive_index,
                stage="val",
                values_of=logged,
            ),
            checkpoints=Path(folder) / "checkpoints",
            log_folder=Path(folder) / "events",
        )
        trained = train_model(plan)
        fields = [field.name for field in trained.model.spec.text]
        rows = Rows(tokens["test"], features["test"], fields)
        probabilities = predict_probabilities(trained.model, rows)
        # A copy: the file that the labels are mapped from goes with the folder.
        return probabilities, np.array(rows.labels), trained.history["seconds"]


def compare(catalog: Any, params: dict[str, Any]) -> dict[str, Any]:
    """One metric of the three models, and intervals of the fused one less each other."""
    schema = catalog.load("schema")
    metric: MetricName = "auroc" if len(schema.classes) == 2 else "f1_score"
    done = {
        kind: predict_test(catalog, params, kind, schema) for kind in (FUSED, *OTHERS)
    }
    labels = done[FUSED][1]
    # Of more than two classes it would be that of one class.
    about = schema.positive_index if schema.task == "binary" else None
    result: dict[str, Any] = {"benchmark": "fusion", "rows": len(labels)}
    statistics = {}
    for kind, (probabilities, _, seconds) in done.items():
        statistics[kind] = Answers(probabilities, labels).statistic(metric, about)
        result[f"{kind}_{metric}"] = statistics[kind].value
        result[f"{kind}_seconds"] = round(seconds, 1)
    for other in OTHERS:
        interval = statistics[FUSED].difference(statistics[other], Resampling())
        result[f"fused_minus_{other}"] = asdict(interval)
    return result


def main() -> int:
    """Trains the three models and prints the comparison; 1 when fusion does not pay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default=None)
    parser.add_argument("--params", default="", help="as in kedro run --params")
    options = parser.parse_args()
    given = _split_params(None, None, options.params)
    result = compare(*load_project(options.env, given))
    print(json.dumps(result))
    pays = all(result[f"fused_minus_{other}"]["low"] > 0 for other in OTHERS)
    return 0 if pays else 1


if __name__ == "__main__":
    sys.exit(main())
