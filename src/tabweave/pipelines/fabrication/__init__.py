"""Writes the demo files."""

from tabweave.pipelines.fabrication.pipeline import create_pipeline as create_pipeline
