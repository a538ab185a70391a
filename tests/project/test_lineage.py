import pytest

LAYERS = (
    "raw",
    "intermediate",
    "primary",
    "feature",
    "model_input",
    "models",
    "model_output",
    "reporting",
)
PARAMETER = "params:"


@pytest.fixture
def layer_of(catalog_of):
    catalog = catalog_of("base")

    def layer(name):
        return LAYERS.index(catalog.get(name).metadata["kedro-viz"]["layer"])

    return layer


def datasets_read(node):
    return [name for name in node.inputs if not name.startswith(PARAMETER)]


def test_no_edge_runs_backwards(everything, layer_of):
    for node in everything.nodes:
        for source in datasets_read(node):
            for target in node.outputs:
                assert layer_of(source) <= layer_of(target), (
                    f"{node.name}: {source} -> {target}"
                )


def test_what_a_stage_reads_is_raw_or_written_by_an_earlier_stage(pipelines):
    stages = ("load", "text", "tabular", "train", "evaluate", "export")
    written = set()
    # Folders that the training node fills itself; Kedro knows only inputs and outputs.
    filled = {"checkpoints", "tensorboard_train", "row_vectors", "token_proofs"}
    for stage in stages:
        for name in pipelines[stage].inputs():
            if name.startswith(PARAMETER) or name.endswith(".raw"):
                continue
            assert name in written | filled, f"{stage} reads {name}"
        written |= pipelines[stage].all_outputs()


def test_every_artifact_has_one_writer(pipelines):
    stages = (
        *("fabricate", "split", "load", "text", "tabular"),
        *("train", "evaluate", "export"),
    )
    writers = [name for s in stages for name in pipelines[s].all_outputs()]
    assert len(set(writers)) == len(writers)


def test_prepare_and_default_are_the_sums_they_say(pipelines):
    def names(*stages):
        return {node.name for stage in stages for node in pipelines[stage].nodes}

    prepare = {node.name for node in pipelines["prepare"].nodes}
    default = {node.name for node in pipelines["__default__"].nodes}
    assert prepare == names("load", "text", "tabular")
    assert default == names("load", "text", "tabular", "train", "evaluate", "export")


def test_only_the_user_s_files_and_parameters_come_from_outside(pipelines):
    free = pipelines["__default__"].inputs()
    outside = {name for name in free if not name.startswith(PARAMETER)}
    assert outside == {
        "train.raw",
        "val.raw",
        "test.raw",
        "impute_dict.raw",
        "risk_table_map.raw",
        "selected_features.raw",
        "checkpoints",
        "tensorboard_train",
        "row_vectors",
        "token_proofs",
    }
