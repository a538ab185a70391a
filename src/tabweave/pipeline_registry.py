"""The pipelines by name: one per stage, and the sums that people run.

The registry is explicit, so that a misspelt name gets a suggestion, and building it
imports neither torch nor lightning nor transformers.
"""

from __future__ import annotations

import warnings

from kedro.pipeline import Pipeline

from tabweave.pipelines import (
    data_loading,
    evaluation,
    export,
    fabrication,
    scoring,
    splitting,
    tabular_processing,
    text_processing,
    training,
)


def register_pipelines() -> dict[str, Pipeline]:
    """All pipelines: stages in their order, then sums of stages."""
    with warnings.catch_warnings():
        # `train.tokens` is the split and what it holds, not a namespace, on purpose.
        warnings.filterwarnings("ignore", message="One or more dataset names contain")
        stages = {
            "load": data_loading.create_pipeline(),
            "text": text_processing.create_pipeline(),
            "tabular": tabular_processing.create_pipeline(),
            "train": training.create_pipeline(),
            "evaluate": evaluation.create_pipeline(),
            "export": export.create_pipeline(),
        }
        return {
            **stages,
            "prepare": stages["load"] + stages["text"] + stages["tabular"],
            "fabricate": fabrication.create_pipeline(),
            "split": splitting.create_pipeline(),
            "score": scoring.create_pipeline(),
            "__default__": sum(stages.values(), Pipeline([])),
        }
