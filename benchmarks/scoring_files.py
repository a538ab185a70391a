"""The files of `benchmarks.scoring`: one model in every form, and the rows for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.project import load_project
from tabweave.batching.batches import Rows
from tabweave.evaluation.predict import predict_probabilities
from tabweave.export.config import ExportConfig, Int8Limits
from tabweave.export.gates.pipeline_gate import export_pipeline
from tabweave.export.int8.int8_models import raw_predict, token_predict
from tabweave.export.int8.quantization import int8_gate, quantize
from tabweave.export.onnx_model import export_model
from tabweave.export.pipeline_model import CORE, pipeline_model
from tabweave.export.residual_norms import keep_norms_apart
from tabweave.models.config import ModelConfig, ModelSpec
from tabweave.models.registry import build_model, describe_model, save_model
from tabweave.models.tabular_encoder import quantile_edges
from tabweave.preparation.features import (
    NUMBER,
    FittedTabular,
    fit_tabular,
    train_features,
    transform_features,
)
from tabweave.preparation.reference import Preparation
from tabweave.schema import SPLITS
from tabweave.tables.files import (
    ArrowFile,
    TableFile,
    write_arrow,
    write_parquet,
)
from tabweave.tables.loading import LoadedData, load_splits
from tabweave.tables.lookup import find_split
from tabweave.tables.parted_tables import open_table
from tabweave.tabular import (
    TabularConfig,
)
from tabweave.text import (
    TextField,
    learn_or_load_tokenizers,
    resolve_fields,
    tokenize_tables,
)
from tabweave.training.plan import text_inputs

TRAIN_ROWS, PARITY_ROWS = 6400, 64
ABOUT, COMPARISONS = "about.json", "comparisons.json"
TOKENS, TRAIN, TEST = "tokens.arrow", "train_features.arrow", "test_features.arrow"


def write_files(folder: Path, data: Path, encoder: Path, rows: int, env: str) -> None:
    """The default model over the columns of an environment, untrained.

    Its encoder is the pretrained one, its tables are fitted on the first train rows; the
    first test rows are there as raw texts, as token ids and as features.
    """
    params = load_project(env, {"text": {"encoder": str(encoder)}})[1]
    raw = {split: open_table(find_split(data, split), split) for split in SPLITS}
    loaded = load_splits(raw, params["data"])
    tables = {
        "train": loaded.tables["train"].slice(0, TRAIN_ROWS),
        "test": loaded.tables["test"].slice(0, rows),
    }
    files = {split: TableFile(folder / f"{split}.parquet") for split in tables}
    for split, table in tables.items():
        write_parquet(files[split].path, table)
    fields = resolve_fields(params["text"], loaded.schema)
    tokenizers = learn_or_load_tokenizers(files["train"], fields, params["text"])
    (tokens,) = tokenize_tables([files["test"]], fields, tokenizers)
    write_arrow(folder / TOKENS, tokens.table)
    fitted = _write_features(folder, loaded, tables, params["tabular"])
    spec = _spec(folder, loaded.schema.classes)
    preparation = Preparation(
        schema=loaded.schema,
        fields=tuple(fields),
        tokenizers=tokenizers,
        imputer=fitted.imputer,
        risk_tables=fitted.risk_tables,
        scaler=fitted.scaler,
        features=spec.features,
    )
    _write_models(folder, spec, str(encoder), preparation)
    _write_about(folder, fields, preparation)


def _write_features(
    folder: Path, loaded: LoadedData, tables: Mapping[str, Any], config: TabularConfig
) -> FittedTabular:
    fitted = fit_tabular(tables["train"], loaded.schema, config)
    parts = (fitted.imputer, fitted.risk_tables, fitted.scaler)
    write_arrow(folder / TRAIN, train_features(tables["train"], loaded.schema, *parts))
    write_arrow(
        folder / TEST, transform_features(tables["test"], loaded.schema, *parts)
    )
    return fitted


def _spec(folder: Path, classes: tuple[str, ...]) -> ModelSpec:
    """The default model, with the bins of train."""
    config, inputs = ModelConfig(), text_inputs(ArrowFile(folder / TOKENS))
    names = ArrowFile(folder / TRAIN).open().column_names
    features = [name for name in names if name not in ("id", "label")]
    numeric = [name for name in features if name.startswith(NUMBER)]
    table = ArrowFile(folder / TRAIN).open().select(numeric).to_pandas()
    bins = quantile_edges(table.to_numpy(), config.numeric_embedding.bins)
    return describe_model(config, inputs, features, classes, bins)


def _write_models(
    folder: Path, spec: ModelSpec, encoder: str, preparation: Preparation
) -> None:
    model = build_model(spec, [encoder] * len(spec.text)).eval()
    save_model(model, folder / "model")
    rows = test_rows(folder, spec)
    exported = export_model(model, rows, ExportConfig(parity_rows=PARITY_ROWS)).model
    core = keep_norms_apart(exported)
    pipeline, preprocessing = pipeline_model(core, preparation)
    forms = {
        "model": core,
        "int8": quantize(core),
        "pipeline": pipeline,
        "pipeline_int8": quantize(pipeline, CORE),
        "preprocessing": preprocessing,
    }
    for name, content in forms.items():
        (folder / f"{name}.onnx").write_bytes(content)
    _write_comparisons(folder, model, forms, preparation)


def _write_comparisons(
    folder: Path, model: Any, forms: Mapping[str, bytes], preparation: Preparation
) -> None:
    """How far the forms are from PyTorch on the test rows, as an export compares them."""
    rows, config = test_rows(folder, model.spec), ExportConfig()
    table = TableFile(folder / "test.parquet").read()
    expected = predict_probabilities(model, rows)
    gate = export_pipeline(
        forms["model"], preparation, (table, expected), config, folder / "proofs"
    )
    asked = {
        "model": token_predict(forms["model"], rows, model.spec, config),
        "int8": token_predict(forms["int8"], rows, model.spec, config),
        "pipeline": raw_predict(forms["pipeline"], table),
        "pipeline_int8": raw_predict(forms["pipeline_int8"], table),
    }
    figures = {
        name: int8_gate(expected, predict, rows.labels, Int8Limits()).figures
        for name, predict in asked.items()
    }
    tokens = gate.report["tokens"].values()
    report = {
        "refused": gate.report["refused"],
        "mismatches": sum(one["mismatches"] for one in tokens),
        "texts": sum(one["texts"] for one in tokens),
    } | {
        name: {form: found[name] for form, found in figures.items()}
        for name in ("largest_difference", "alone_shift", "flips")
    }
    (folder / COMPARISONS).write_text(json.dumps(report), encoding="utf-8")


def test_rows(folder: Path, spec: ModelSpec) -> Rows:
    """The test rows as token ids and features."""
    fields = [field.name for field in spec.text]
    return Rows(ArrowFile(folder / TOKENS), ArrowFile(folder / TEST), fields)


def _write_about(
    folder: Path, fields: list[TextField], preparation: Preparation
) -> None:
    """What the arms must know of the columns."""
    about = {
        "texts": {
            field.name: {"columns": field.columns, "most": field.max_sen_len}
            for field in fields
        },
        "kinds": dict(preparation.columns()),
        "chunks": max(field.max_total_chunks for field in fields),
    }
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
