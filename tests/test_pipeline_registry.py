import warnings

import pytest

from tabweave.pipeline_registry import register_pipelines

STAGES = ["load", "text", "tabular", "train", "evaluate", "export"]


@pytest.fixture(scope="module")
def pipelines():
    return register_pipelines()


def test_stages_come_first_and_in_their_order(pipelines):
    assert list(pipelines) == [
        *STAGES,
        "prepare",
        "fabricate",
        "split",
        "score",
        "__default__",
    ]


def test_every_call_gives_the_same_pipelines(pipelines):
    again = register_pipelines()
    for name, pipeline in pipelines.items():
        assert [n.name for n in again[name].nodes] == [n.name for n in pipeline.nodes]


def test_registering_warns_of_nothing():
    """The dots in dataset names are meant; a real warning would still be an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register_pipelines()


def test_no_raw_file_is_written_by_a_default_run(pipelines):
    default = pipelines["__default__"].all_outputs()
    assert not default & pipelines["fabricate"].all_outputs()
    assert not default & pipelines["split"].all_outputs()


def test_any_sum_of_stages_is_a_pipeline(pipelines):
    """Kedro adds up what --pipelines names; no node is lost or doubled."""
    for first in STAGES:
        for second in STAGES:
            both = pipelines[first] + pipelines[second]
            names = {
                n.name for n in (*pipelines[first].nodes, *pipelines[second].nodes)
            }
            assert {node.name for node in both.nodes} == names
