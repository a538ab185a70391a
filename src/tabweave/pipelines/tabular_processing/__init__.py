"""Typed tables -> scaled features."""

from tabweave.pipelines.tabular_processing.pipeline import (
    create_pipeline as create_pipeline,
)
