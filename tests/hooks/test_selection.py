"""Whatever chose the nodes: what a skipped one has written is checked like an input."""

import json
from dataclasses import replace

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro_datasets.json import JSONDataset

from hooks_fixtures import FIT, LOAD, USE, check, make_node, refusal, save
from tabweave.errors import ArtifactError, ConfigError
from tabweave.hooks import ProvenanceHooks
from tabweave.hooks.selection import refuse_other_text_fields
from tabweave.storage.artifacts import STAGE_FORMATS, Provenance, write_json
from tabweave.tabular.config import TabularConfig

SCALE = make_node(["schema", "imputer"], "scaler", "scale", "tabular")
EVALUATE = make_node("model", "metrics", "judge", "evaluate")
EVERY = Pipeline([LOAD, FIT, SCALE, USE, EVALUATE])
# How Kedro's options choose nodes, as its session does it; FIT is skipped by all.
FLAGS = {
    "--nodes": {"node_names": ["use"]},
    "--from-nodes": {"from_nodes": ["use"]},
    "--from-nodes --to-nodes": {"from_nodes": ["use"], "to_nodes": ["use"]},
    "--from-inputs": {"from_inputs": ["imputer"]},
    "--to-outputs": {"to_outputs": ["metrics"], "from_nodes": ["use"]},
    "--tags": {"tags": ["train", "evaluate"]},
    "a skipped one in the middle": {"node_names": ["load", "use"]},
    "another of its stage": {"node_names": ["scale"]},
}


def missing(folder):
    (folder / "imputer.json").unlink()


def changed(folder):
    write_json(folder / "imputer.json", {"mean": 3})


def no_record(folder):
    Provenance.path_for(folder / "imputer.json").unlink()


def other_format(folder):
    record = Provenance.read(folder / "imputer.json")
    old = STAGE_FORMATS["tabular"] - 1
    replace(record, format=old).write(folder / "imputer.json")


def other_input(folder):
    record = Provenance.read(folder / "imputer.json")
    replace(record, inputs={"schema": "0" * 64}).write(folder / "imputer.json")


def other_parameters(folder):
    record = Provenance.read(folder / "imputer.json")
    then = TabularConfig(cross_fit=3).recorded()
    replace(record, parameters={"tabular": then}).write(folder / "imputer.json")


STALE = {
    missing: "does not exist",
    changed: "was changed after it was written",
    no_record: "has no record of what it was made from",
    other_format: "made by another version of the stage tabular",
    other_input: "made from another schema than",
    other_parameters: "made with other parameters, tabular.cross_fit: 3 -> 5",
}


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("stale", STALE)
def test_no_option_gets_round_the_check(hooks, catalog, tmp_path, flag, stale):
    chosen = EVERY.filter(**FLAGS[flag])
    assert FIT not in chosen.nodes
    check(catalog, *chosen.nodes)
    stale(tmp_path)
    message = refusal(catalog, *chosen.nodes)
    assert f"imputer: {'' if stale is not missing else tmp_path}" in message
    assert STALE[stale] in message
    (command,) = [line for line in message.splitlines() if line.startswith("Re-run:")]
    assert "tabular" in command


def ask(catalog, pipeline, **params):
    ProvenanceHooks().before_pipeline_run(
        run_params=params, pipeline=pipeline, catalog=catalog
    )


@pytest.mark.parametrize("stale", STALE)
def test_only_missing_outputs_is_refused_with_what_to_run_instead(
    hooks, catalog, tmp_path, stale
):
    stale(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        ask(catalog, Pipeline([FIT]), only_missing_outputs=True, env="mine")
    title, *lines, way_out = str(caught.value).splitlines()
    assert title.startswith("--only-missing-outputs is refused: that a file is there")
    assert any(STALE[stale] in line for line in lines)
    assert way_out == "Run instead: kedro run --env=mine --pipelines=tabular"


def test_only_missing_outputs_where_nothing_is_missing_says_so(hooks, catalog):
    with pytest.raises(ArtifactError, match="up to date: there is nothing to run"):
        ask(catalog, Pipeline([LOAD, FIT]), only_missing_outputs=True)


def test_versions_of_what_has_none_are_refused(hooks, catalog, tmp_path):
    kept = JSONDataset(filepath=str(tmp_path / "kept.json"))
    versioned = DataCatalog.from_config(
        {
            "kept": {
                "type": "json.JSONDataset",
                "filepath": str(tmp_path / "versions.json"),
                "versioned": True,
            }
        },
        load_versions={"kept": "2026-01-01T00.00.00.000Z"},
    )
    for entries, name in ((catalog, "imputer"), (DataCatalog({"kept": kept}), "kept")):
        with pytest.raises(ConfigError, match=f"'{name}', which have no versions"):
            ask(entries, Pipeline([]), load_versions={name: "2026-01-01T00.00.00.000Z"})
    ask(versioned, Pipeline([]), load_versions={"kept": "2026-01-01T00.00.00.000Z"})


# What the run itself writes may be other than what a skipped node had read.


@pytest.fixture
def skipping(hooks, catalog):
    """A run of LOAD and USE: FIT between them is skipped."""
    run = ProvenanceHooks()
    run.before_pipeline_run(
        run_params={"runtime_params": {}},
        pipeline=Pipeline([LOAD, USE]),
        catalog=catalog,
    )
    return run


def reads(run, catalog, node):
    inputs = {name: catalog.load(name) for name in node.inputs}
    run.before_node_run(node=node, catalog=catalog, inputs=inputs)


def test_a_skipped_output_that_the_run_has_made_stale_is_not_read(skipping, catalog):
    save(skipping, catalog, LOAD, schema={"a": 2})
    with pytest.raises(ArtifactError, match="imputer: made from another schema than"):
        reads(skipping, catalog, USE)


def test_equal_bytes_make_nothing_stale(skipping, catalog):
    save(skipping, catalog, LOAD, schema={"a": 1})
    reads(skipping, catalog, USE)


def test_what_goes_stale_and_is_not_read_is_no_reason_to_refuse(skipping, catalog):
    save(skipping, catalog, LOAD, schema={"a": 2})
    reads(skipping, catalog, make_node("schema", "data_report", "n", "load"))


def test_a_process_of_the_run_that_did_not_see_its_start_checks_too(
    hooks, catalog, tmp_path
):
    """ParallelRunner may start its processes anew."""
    changed(tmp_path)
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        reads(ProvenanceHooks(), catalog, USE)


def test_a_damaged_record_is_written_anew(hooks, catalog, tmp_path):
    path = Provenance.path_for(tmp_path / "imputer.json")
    path.write_text("{")
    save(hooks, catalog, FIT, imputer={"mean": 2})
    assert json.loads(path.read_text())["dataset"] == "imputer"


def test_parameters_of_now_decide(hooks, catalog):
    later = DataCatalog(
        {
            **{name: catalog.get(name) for name in ("schema", "imputer", "train.raw")},
            "params:tabular": MemoryDataset({"cross_fit": 3}),
        }
    )
    for chosen in FLAGS.values():
        message = refusal(later, *EVERY.filter(**chosen).nodes)
        assert "tabular.cross_fit: 5 -> 3" in message


def groups(model_class, text=(), columns=("a", "b")):
    given = {
        "params:data": {"id": "id", "label": "y", "text": list(columns)}
        | {"numeric": ["n"]},
        "params:text": {"fields": [{"name": name} for name in text]},
        "params:model": {"model_class": model_class},
    }
    return DataCatalog({name: MemoryDataset(given[name]) for name in given})


WHOLE = Pipeline(
    [
        make_node(["params:data", "params:text"], "tokens", "text", "text"),
        make_node(["tokens", "params:model"], "model", "train", "train"),
    ]
)


@pytest.mark.parametrize(
    ("model_class", "text", "columns", "message"),
    [
        ("trimodal_bert", (), ("a",), r"takes 2 text fields, but .* gives 1: \['a'\]"),
        ("bert", (), ("a", "b"), r"takes 1 text field, but .* gives 2: \['a', 'b'\]"),
        (
            "bert",
            ("x", "y"),
            ("a",),
            r"takes 1 text field, but .* gives 2: \['x', 'y'\]",
        ),
        ("bert", (), (), "takes 1 text field, but text.fields gives 0"),
    ],
)
def test_a_model_of_other_text_fields_is_refused_before_they_are_made(
    model_class, text, columns, message
):
    catalog = groups(model_class, text, columns)
    with pytest.raises(ConfigError, match=message):
        refuse_other_text_fields(WHOLE, catalog)
    # A stage that makes them alone does not need the model yet.
    refuse_other_text_fields(Pipeline(WHOLE.nodes[:1]), catalog)


@pytest.mark.parametrize(
    ("model_class", "text"), [("bert", ("x",)), ("trimodal_bert", ()), ("custom", ())]
)
def test_a_model_of_these_text_fields_is_not(model_class, text):
    refuse_other_text_fields(WHOLE, groups(model_class, text))
