"""Model -> predictions, metrics, baselines and figures."""

from tabweave.pipelines.evaluation.pipeline import create_pipeline as create_pipeline
