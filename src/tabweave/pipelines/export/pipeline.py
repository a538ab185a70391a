"""Model -> model.onnx, pipeline.onnx, the bundle, the specification's files, reports."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.export.comparison import (
    draw_export,
    measure_export,
    quantize_models,
)
from tabweave.pipelines.export.nodes import (
    export_onnx,
    export_pipeline,
    gather_preparation,
    make_bundle,
)
from tabweave.pipelines.export.specification_files import (
    write_artifacts,
    write_maps,
    write_results,
)

GROUPS = ("data", "text", "tabular", "model", "training")


def create_pipeline() -> Pipeline:
    """The export stage."""
    fitted = ["tokenizer", "imputer", "risk_tables", "scaler"]
    val = ["val.table", "val.tokens", "val.features"]
    reports = ["parity_report", "pipeline_report", "int8_report"]
    return Pipeline(
        [
            Node(
                export_onnx,
                inputs=["model", "val.tokens", "val.features", "params:export"],
                outputs=["onnx_model", "parity_report"],
                name="export_onnx",
            ),
            Node(
                gather_preparation,
                inputs=["model", "selected_schema", *fitted, "params:text"],
                outputs="preparation",
                name="gather_preparation",
            ),
            Node(
                export_pipeline,
                inputs=[
                    *("onnx_model", "model", *val, "preparation"),
                    *("token_proofs", "params:export"),
                ],
                outputs=["pipeline_onnx", "pipeline_report"],
                name="export_pipeline",
            ),
            Node(
                quantize_models,
                inputs=["onnx_model", "pipeline_onnx", "model", *val, "params:export"],
                outputs=["int8_model", "int8_pipeline", "int8_report"],
                name="quantize_models",
            ),
            Node(
                measure_export,
                inputs=[
                    *("model", "onnx_model", "pipeline_onnx", "int8_model"),
                    *("int8_pipeline", *reports, *val, "params:export"),
                ],
                outputs="export_report",
                name="measure_export",
            ),
            Node(
                draw_export,
                inputs="export_report",
                outputs="export_report_figure",
                name="draw_export",
            ),
            Node(
                write_maps,
                inputs=["imputer", "risk_tables"],
                outputs=[
                    *("impute_dict", "impute_dict_pkl"),
                    *("risk_table_map", "risk_table_map_pkl"),
                ],
                name="write_maps",
            ),
            Node(
                make_bundle,
                inputs=[
                    *("model", "onnx_model", "pipeline_onnx", "int8_model"),
                    *("int8_pipeline", "export_report", "schema", "preparation"),
                    *("metrics", "val.raw", "val.tokens"),
                    *("val.features", "params:data"),
                    "params:export",
                ],
                outputs="bundle",
                name="make_bundle",
            ),
            Node(
                write_artifacts,
                inputs=[
                    *("model", "tokenizer", "risk_tables"),
                    *(f"params:{group}" for group in GROUPS),
                ],
                outputs=["model_weights", "model_artifacts"],
                name="write_artifacts",
            ),
            Node(
                write_results,
                inputs=["test.predictions", "schema"],
                outputs="predict_results",
                name="write_results",
            ),
        ],
        tags="export",
    )
