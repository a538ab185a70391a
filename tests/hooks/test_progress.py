"""Which stages of a run are left, whatever the order of its nodes."""

import pytest
from kedro.pipeline import Pipeline

from hooks_fixtures import make_node
from tabweave.hooks.progress import ProgressHooks

FIT = make_node("tokens", ["model", "history"], "fit", "train")
PLOT = make_node("history", "figure", "plot", "train")
WORDS = make_node("raw", "tokens", "words", "text")
USE = make_node("model", "metrics", "use", "evaluate")


@pytest.fixture
def progress():
    """That of a run of three stages, before it begins."""
    hooks = ProgressHooks()
    hooks.before_pipeline_run(Pipeline([USE, PLOT, FIT, WORDS]))
    return hooks


def test_a_stage_is_left_until_its_last_output_is_saved(progress):
    assert progress.left == ("text", "train", "evaluate")
    for name, left in (
        ("tokens", ("train", "evaluate")),
        ("model", ("train", "evaluate")),
        ("history", ("train", "evaluate")),
        ("metrics", ("train",)),
        ("figure", ()),
    ):
        progress.after_dataset_saved(name)
        assert progress.left == left


def test_training_is_under_way_from_its_first_node_to_its_last_output(progress):
    progress.before_node_run(WORDS)
    assert not progress.training
    progress.before_node_run(FIT)
    assert progress.training
    for name in ("tokens", "model", "history", "figure"):
        progress.after_dataset_saved(name)
    assert not progress.training
    progress.before_pipeline_run(Pipeline([FIT]))
    assert (progress.left, progress.training) == (("train",), False)
