"""Typed tables -> tokenizers and token ids."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from tabweave.pipelines.text_processing.nodes import fit_tokenizer, tokenize_splits


def create_pipeline() -> Pipeline:
    """The text stage."""
    return Pipeline(
        [
            Node(
                fit_tokenizer,
                inputs=["train.table", "schema", "params:text"],
                outputs="tokenizer",
                name="fit_tokenizer",
            ),
            Node(
                tokenize_splits,
                inputs=[
                    "train.table",
                    "val.table",
                    "test.table",
                    "tokenizer",
                    "schema",
                    "params:text",
                ],
                outputs=["train.tokens", "val.tokens", "test.tokens", "text_report"],
                name="tokenize_splits",
            ),
        ],
        tags="text",
    )
