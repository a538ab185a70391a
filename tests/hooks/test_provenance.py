from hooks_fixtures import make_node, save
from tabweave.hooks import artifact_path
from tabweave.storage.artifacts import Provenance, content_hash
from tabweave.tabular.config import TabularConfig


def test_a_record_says_what_an_artifact_was_made_from(hooks, catalog, tmp_path):
    record = Provenance.read(tmp_path / "imputer.json")
    assert (record.dataset, record.stage) == ("imputer", "tabular")
    assert record.content == content_hash(tmp_path / "imputer.json")
    assert record.inputs == {"schema": content_hash(tmp_path / "schema.json")}
    assert record.parameters == {"tabular": TabularConfig().model_dump(mode="json")}
    raw = Provenance.read(tmp_path / "schema.json").inputs
    assert raw == {"train.raw": content_hash(tmp_path / "train.csv")}


def test_parameters_and_folders_that_a_node_fills_have_no_record(hooks, catalog):
    node = make_node("checkpoints", "scaler", "s", "train")
    save(hooks, catalog, node, scaler={})
    record = Provenance.read(artifact_path(catalog, "scaler"))
    assert record.inputs == {}
