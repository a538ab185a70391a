"""One raw file -> train, val and test files."""

from tabweave.pipelines.splitting.pipeline import create_pipeline as create_pipeline
