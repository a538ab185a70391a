"""A catalog in one folder, and what Kedro does around a node."""

import warnings

import pytest
from kedro.framework.project import pipelines
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from tabweave.datasets.files import FolderDataset, JsonDataset
from tabweave.datasets.tables import MappedTableDataset, RawTableDataset
from tabweave.errors import ArtifactError
from tabweave.hooks import ProvenanceHooks
from tabweave.tabular.config import TabularConfig


@pytest.fixture(scope="module")
def registry():
    """The hooks ask the registry which stage writes an artifact."""
    pipelines.configure("tabweave.pipeline_registry")


@pytest.fixture
def catalog(tmp_path):
    """Entries of the names that the tabular stage has, in one folder."""
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.csv").write_text("id,n\n1,2\n")
    features = {
        f"{split}.features": MappedTableDataset(path=str(tmp_path / f"{split}.arrow"))
        for split in ("train", "val")
    }
    return DataCatalog(
        {
            "train.raw": RawTableDataset(path=str(tmp_path), split="train"),
            "schema": JsonDataset(path=str(tmp_path / "schema.json")),
            "imputer": JsonDataset(path=str(tmp_path / "imputer.json")),
            "scaler": JsonDataset(path=str(tmp_path / "scaler.json")),
            "checkpoints": FolderDataset(path=str(tmp_path / "checkpoints")),
            "params:tabular": MemoryDataset(TabularConfig().model_dump()),
            "params:export": MemoryDataset({}),
            **features,
        }
    )


def nothing(*_):
    """A function for nodes that the tests run by hand."""


def make_node(inputs, outputs, name, tags=None):
    """A node; the dots in dataset names are meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One or more dataset names contain")
        return Node(nothing, inputs=inputs, outputs=outputs, name=name, tags=tags)


FIT = make_node(["schema", "params:tabular"], "imputer", "fit", "tabular")
LOAD = make_node("train.raw", "schema", "load", "load")
USE = make_node("imputer", "model", "use", "train")


def save(hooks, catalog, node, **values):
    """What Kedro does around one node."""
    inputs = {name: catalog.load(name) for name in node.inputs}
    hooks.before_node_run(node=node, catalog=catalog, inputs=inputs)
    for name, value in values.items():
        catalog.save(name, value)
        hooks.after_dataset_saved(dataset_name=name, node=node)


@pytest.fixture
def hooks(catalog, registry):
    """Hooks that have seen the load and the fit."""
    seen = ProvenanceHooks()
    save(seen, catalog, LOAD, schema={"a": 1})
    save(seen, catalog, FIT, imputer={"mean": 2})
    return seen


def check(catalog, *nodes, **given):
    """A new run: hooks that have seen nothing."""
    run = ProvenanceHooks()
    run.before_pipeline_run(
        run_params={"runtime_params": given},
        pipeline=Pipeline(list(nodes)),
        catalog=catalog,
    )


def refusal(catalog, *nodes, **given):
    with pytest.raises(ArtifactError) as caught:
        check(catalog, *nodes, **given)
    return str(caught.value)
