"""Token ids and features -> a trained model."""

from tabweave.pipelines.training.pipeline import create_pipeline as create_pipeline
