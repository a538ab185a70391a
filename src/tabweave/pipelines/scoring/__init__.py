"""Bundle and a file of raw rows -> the same file with predictions."""

from tabweave.pipelines.scoring.pipeline import create_pipeline as create_pipeline
