"""Model -> model.onnx and the proof that it says the same."""

from tabweave.pipelines.export.pipeline import create_pipeline as create_pipeline
