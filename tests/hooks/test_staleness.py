import json
from dataclasses import replace

import pyarrow as pa
import pytest
from kedro.io import DataCatalog, MemoryDataset

from hooks_fixtures import FIT, LOAD, USE, check, make_node, refusal, save
from tabweave.datasets.tables import RawTableDataset
from tabweave.hooks import ProvenanceHooks, artifact_path
from tabweave.hooks.staleness import Hashes
from tabweave.storage.artifacts import (
    STAGE_FORMATS,
    Provenance,
    content_hash,
    write_json,
)


def test_fresh_inputs_pass(hooks, catalog):
    check(catalog, FIT)
    check(catalog, USE)
    # What the run makes itself need not be there.
    check(catalog, LOAD, FIT, USE)


def test_a_missing_input(catalog, tmp_path):
    message = refusal(catalog, USE)
    assert f"imputer: {tmp_path / 'imputer.json'} does not exist" in message
    assert message.endswith("Re-run: kedro run --pipelines=tabular,train")


def test_an_input_without_a_record(hooks, catalog, tmp_path):
    Provenance.path_for(tmp_path / "imputer.json").unlink()
    assert "has no record of what it was made from" in refusal(catalog, USE)


def test_an_input_with_the_record_of_another(hooks, catalog, tmp_path):
    record = Provenance.path_for(tmp_path / "schema.json").read_bytes()
    Provenance.path_for(tmp_path / "imputer.json").write_bytes(record)
    assert "has no record of what it was made from" in refusal(catalog, USE)


def test_an_input_that_was_changed(hooks, catalog, tmp_path):
    write_json(tmp_path / "imputer.json", {"mean": 3})
    message = refusal(catalog, USE)
    assert "was changed after it was written (stage tabular)" in message


def test_an_input_whose_own_input_was_changed(hooks, catalog, tmp_path):
    (tmp_path / "train.csv").write_text("id,n\n1,3\n")
    message = refusal(catalog, USE)
    assert "schema: made from another train.raw than" in message
    assert message.endswith("Re-run: kedro run --pipelines=load,tabular,train")


def test_an_input_made_from_an_older_version_of_another(hooks, catalog):
    save(hooks, catalog, LOAD, schema={"a": 2})
    message = refusal(catalog, USE)
    assert "imputer: made from another schema than" in message
    assert message.endswith("--pipelines=tabular,train")


def test_an_input_made_with_other_parameters(hooks, catalog):
    changed = MemoryDataset({"cross_fit": 3})
    entries = {name: catalog.get(name) for name in ("schema", "imputer", "train.raw")}
    later = DataCatalog({**entries, "params:tabular": changed})
    message = refusal(later, USE)
    assert "made with other parameters, tabular.cross_fit: 5 -> 3" in message


def test_parameters_are_compared_with_their_defaults_filled_in(hooks, catalog):
    entries = {name: catalog.get(name) for name in ("schema", "imputer", "train.raw")}
    plain = MemoryDataset({"imputation": "mean"})
    check(DataCatalog({**entries, "params:tabular": plain}), USE)


def test_raw_files_that_are_gone_are_no_reason_but_are_told(
    hooks, catalog, tmp_path, caplog
):
    (tmp_path / "train.csv").unlink()
    assert artifact_path(catalog, "train.raw") is None
    check(catalog, USE, training={"max_epochs": 1}, data={"val_filename": "x.csv"})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("train.raw: cannot be compared with")
    assert str(tmp_path / "train") in record.getMessage()
    assert len(record.getMessage().splitlines()) == 1


def test_raw_files_that_are_there_are_not_told(hooks, catalog, tmp_path, caplog):
    check(catalog, USE, data_dir=str(tmp_path))
    assert caplog.records == []


@pytest.mark.parametrize(
    "given", [{"data_dir": "tpyo"}, {"data": {"train_filename": "tpyo.csv"}}]
)
def test_raw_files_that_this_run_names_must_be_there(
    hooks, catalog, tmp_path, caplog, given
):
    (tmp_path / "train.csv").unlink()
    lines = refusal(catalog, USE, **given).splitlines()
    # No stage need run again: what is wrong is the name.
    (line,) = lines[1:]
    assert line.startswith("  - train.raw: No supported data file")
    assert str(tmp_path / "train") in line
    assert caplog.records == []


def test_the_load_stage_itself_says_what_it_misses(catalog, tmp_path, caplog):
    (tmp_path / "train.csv").unlink()
    check(catalog, LOAD)
    check(catalog, LOAD, data_dir="tpyo")
    assert caplog.records == []


@pytest.mark.parametrize("then", [1, None])
def test_an_input_made_by_another_version_of_its_stage(
    hooks, catalog, tmp_path, monkeypatch, then
):
    record = Provenance.read(tmp_path / "imputer.json")
    assert record.format == STAGE_FORMATS["tabular"]
    replace(record, format=then).write(tmp_path / "imputer.json")
    monkeypatch.setitem(STAGE_FORMATS, "tabular", 2)
    message = refusal(catalog, USE)
    known = then or "unknown"
    assert f"made by another version of the stage tabular ({known}, now 2)" in message
    assert message.endswith("Re-run: kedro run --pipelines=tabular,train")


def test_an_older_record_has_no_format(hooks, catalog, tmp_path):
    path = Provenance.path_for(tmp_path / "imputer.json")
    record = json.loads(path.read_text())
    del record["format"]
    path.write_text(json.dumps(record))
    assert "another version of the stage tabular (unknown, now" in refusal(catalog, USE)


def test_every_fault_is_said_once_with_all_it_concerns(hooks, catalog, tmp_path):
    table = pa.table({"x": [1]})
    node = make_node(
        ["imputer", "params:tabular"],
        ["train.features", "val.features"],
        "transform",
        "tabular",
    )
    save(hooks, catalog, node, **{"train.features": table, "val.features": table})
    changed = MemoryDataset({"cross_fit": 3})
    names = ("schema", "imputer", "train.raw", "train.features", "val.features")
    entries = {name: catalog.get(name) for name in names}
    later = DataCatalog({**entries, "params:tabular": changed})
    last = make_node(["train.features", "val.features"], "model", "n", "train")
    message = refusal(later, last)
    (line,) = [line for line in message.splitlines() if "cross_fit" in line]
    names, _, _ = line.removeprefix("  - ").partition(":")
    assert set(names.split(", ")) == {"imputer", "train.features", "val.features"}


def test_a_folder_is_hashed_again_when_a_file_of_it_has_changed(tmp_path):
    folder = tmp_path / "tokenizer"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "x").write_text("a")
    (folder / "link").symlink_to("nowhere")
    hashes = Hashes()
    first = hashes.of(folder)
    assert hashes.of(folder) == first == content_hash(folder)
    (folder / "deep" / "x").write_text("bc")
    assert hashes.of(folder) == content_hash(folder) != first


# A split in many files


@pytest.fixture
def parts(catalog, registry, tmp_path):
    """The folder of a split in parts, from which a schema was loaded."""
    (tmp_path / "train.csv").unlink()
    for number in range(3):
        path = tmp_path / "train" / f"part-{number}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"id,n\n{number},2\n")
    hooks = ProvenanceHooks()
    save(hooks, catalog, LOAD, schema={"a": 1})
    save(hooks, catalog, FIT, imputer={"mean": 2})
    return tmp_path / "train"


def test_parts_that_stay_are_fresh_whatever_lies_beside_them(parts, catalog):
    check(catalog, USE)
    (parts / "_SUCCESS").touch()
    (parts / ".part-0.csv.crc").touch()
    (parts / "notes.txt").touch()
    check(catalog, USE)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "part-1.csv").write_text("id,n\n1,3\n"),
        lambda folder: (folder / "part-3.csv").write_text("id,n\n1,3\n"),
        lambda folder: (folder / "part-2.csv").unlink(),
        lambda folder: (folder / "part-2.csv").rename(folder / "part-7.csv"),
    ],
    ids=["changed", "added", "removed", "renamed"],
)
def test_a_part_that_is_not_what_it_was_makes_stale(parts, catalog, change):
    change(parts)
    message = refusal(catalog, USE)
    assert f"schema: made from another train.raw than {parts} is now" in message
    assert message.endswith("Re-run: kedro run --pipelines=load,tabular,train")


def test_a_pattern_is_compared_like_a_folder(parts, catalog, tmp_path):
    entry = RawTableDataset(path=str(tmp_path), split="train", filename="part-[01].csv")
    entries = {name: catalog.get(name) for name in ("schema", "imputer")}
    with_pattern = DataCatalog({**entries, "train.raw": entry})
    save(ProvenanceHooks(), with_pattern, LOAD, schema={"a": 1})
    save_imputer = {**entries, "params:tabular": catalog.get("params:tabular")}
    save(ProvenanceHooks(), DataCatalog(save_imputer), FIT, imputer={"mean": 2})
    run = DataCatalog({**save_imputer, "train.raw": entry})
    check(run, USE)
    (parts / "part-2.csv").write_text("id,n\n1,3\n")
    check(run, USE)
    (parts / "part-1.csv").write_text("id,n\n1,3\n")
    assert "made from another train.raw than" in refusal(run, USE)


def test_parts_that_are_gone_are_no_reason_to_load_again(parts, catalog, caplog):
    for path in parts.iterdir():
        path.unlink()
    check(catalog, USE)
    assert "train.raw: cannot be compared" in caplog.text
