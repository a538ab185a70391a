"""Raw files -> typed, checked tables."""

from tabweave.pipelines.data_loading.pipeline import create_pipeline as create_pipeline
