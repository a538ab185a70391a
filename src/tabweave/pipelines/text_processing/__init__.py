"""Typed tables -> token ids."""

from tabweave.pipelines.text_processing.pipeline import (
    create_pipeline as create_pipeline,
)
