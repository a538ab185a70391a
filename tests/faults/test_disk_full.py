"""A full disk leaves the old file whole, and the message says where and how full."""

import inspect
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from artifact_kinds import KINDS, everything_in, whole
from kedro.io.core import DatasetError

from tabweave import datasets
from tabweave.datasets import (
    bundle,
    compatibility,
    files,
    precomputed,
    scoring,
    split_files,
    tables,
)
from tabweave.datasets.base import FileDataset
from tabweave.errors import ConfigError, WriteError, own_error
from tabweave.export.config import ExportConfig
from tabweave.sagemaker import container
from tabweave.storage.artifacts import PROVENANCE_SUFFIX, Provenance, content_hash

pytestmark = pytest.mark.slow

READ_ONLY = {
    precomputed.PrecomputedDataset,
    split_files.SourceTableDataset,
    tables.RawTableDataset,
    scoring.DeployedBundleDataset,
    scoring.ScoringInputDataset,
}
# Writes window by window; tests/scoring kills it.
IN_WINDOWS = {scoring.ScoredFileDataset}
# Where something is to be written: a name without a file of its own.
NAMES = {scoring.ScoringOutputDataset}
# What a catalog entry raises, and what the other writers raise.
FAILURES = (DatasetError, WriteError)
# Filled by training, and empty here: it has no record.
VECTORS = "row_vectors"
SPACE = re.compile(r"[\d,]+ of [\d,]+ bytes are free in ")


def catalog_classes(root):
    entries = {}
    for path in sorted((root / "conf").glob("*/**/catalog*.yml")):
        entries |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return {entry["type"] for entry in entries.values()}


def test_every_kind_of_the_catalog_is_disturbed(root):
    """A new kind of artifact gets its row here."""
    tried = {kind.dataset for kind in KINDS.values() if kind.dataset}
    tried |= READ_ONLY | IN_WINDOWS
    named = {f"{kind.__module__}.{kind.__qualname__}" for kind in tried | NAMES}
    assert catalog_classes(root) == named
    modules = (bundle, compatibility, files, precomputed, scoring, split_files, tables)
    assert len(modules) == len(list(Path(datasets.__file__).parent.glob("*.py"))) - 2
    written = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, FileDataset)
    }
    written -= {FileDataset, tables.UsersFileDataset}  # what others are made of
    assert written == tried


@pytest.mark.parametrize("name", KINDS)
def test_the_old_content_is_intact(name, disk, inputs):
    kind = KINDS[name]
    old, new = (whole(kind, version, inputs) for version in (0, 1))
    assert old != new
    kind.save(disk.folder, 0, inputs)
    before = everything_in(disk.folder)

    with disk.full(), pytest.raises(FAILURES, match="are free") as caught:
        kind.save(disk.folder, 1, inputs)

    error = own_error(caught.value)
    assert isinstance(error, WriteError)
    assert isinstance(error.__cause__, OSError)
    message = str(error)
    assert message.startswith(f"Cannot write {disk.folder / kind.target}")
    assert disk.reason in message
    assert SPACE.search(message)
    assert ".part" not in message
    assert everything_in(disk.folder) == before
    assert kind.read(disk.folder) == old

    kind.save(disk.folder, 1, inputs)
    assert kind.read(disk.folder) == new
    assert [n for n in everything_in(disk.folder) if Path(n).name.startswith(".")] == []


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_there_where_nothing_was(name, disk, inputs):
    kind = KINDS[name]
    with disk.full(), pytest.raises(FAILURES, match="are free") as caught:
        kind.save(disk.folder, 1, inputs)
    assert isinstance(own_error(caught.value), WriteError)
    assert [n for n, content in everything_in(disk.folder).items() if content] == []


def test_the_exporter_names_its_temporary_file(tiny, small_mount, monkeypatch):
    from tabweave.export.onnx_model import export_model

    model, rows = tiny.model("tabular"), tiny.rows("tabular")
    monkeypatch.setattr(tempfile, "tempdir", str(small_mount))
    filler = small_mount / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_mount).free - 2048))
    with pytest.raises(WriteError, match=r"Cannot write .*model\.onnx: No space left"):
        export_model(model, rows, ExportConfig(parity_rows=4))
    filler.unlink()
    assert not any(everything_in(small_mount).values())
    assert list(small_mount.glob("tmp*")) == []
    assert export_model(model, rows, ExportConfig(parity_rows=4)).report["rows"] == 4


def test_a_container_that_cannot_note_a_failure_still_says_what_failed(
    disk, capsys, caplog
):
    outputs = dict.fromkeys(container.OUTPUTS, str(disk.folder / "out"))
    given = {"input_pth": "", "x" * 300_000: ""}
    with disk.full(), pytest.raises(ConfigError, match="'input_pth' is unknown"):
        container.train(given, outputs, {}, {})
    said = capsys.readouterr().out + caplog.text
    assert f"Cannot write {disk.folder / 'out' / 'failure'}: {disk.reason}" in said
    assert not (disk.folder / "out" / "failure").exists()


def assert_whole(project, *, unfinished):
    """Artifacts are what their records say; one may wait for the record that failed."""
    for path in project.data("").rglob("*"):
        assert not path.name.startswith("."), path
    layers = sorted(p for p in project.data("").iterdir() if p.name != "01_raw")
    records = [r for layer in layers for r in layer.rglob(f"*{PROVENANCE_SUFFIX}")]
    assert records
    for record in records:
        artifact = record.with_name(record.name.removesuffix(PROVENANCE_SUFFIX))
        assert Provenance.read(artifact).content == content_hash(artifact)
    written = [p for layer in layers[:3] for p in layer.iterdir() if p.name != VECTORS]
    for path in written:
        record = Provenance.path_for(path)
        known = path in records or record in records
        assert known or str(record) == unfinished, path


# Sizes at which the demo fails while it loads, and while it trains; locks take room too.
@pytest.mark.parametrize(
    ("kibibytes", "layer", "stages"),
    [(600, "data", "load,text"), (1300, "06_models", "train,evaluate")],
)
def test_a_whole_run_ends_with_one_message_and_goes_on_with_more_space(
    mount, make_project, tmp_path, kibibytes, layer, stages
):
    with mount(tmp_path / "project" / "data", kibibytes):
        project = make_project(tmp_path / "project")
        done = project.run()
        assert done.code == 1, done.text
        assert "Traceback" not in done.text
        (line,) = [line for line in done.text.splitlines() if "Error: " in line]
        found = re.fullmatch(
            rf"Error: Cannot write ({project.data('')}/\S+): No space left on device\. "
            r"[\d,]+ of [\d,]+ bytes are free in .*\. Free some space, then run it again\.",
            line,
        )
        assert found, line
        assert not Path(found[1]).exists()
        assert_whole(project, unfinished=found[1])
        assert f"/{layer}/" in found[1]
        subprocess.run(
            ["mount", "-o", "remount,size=64m", project.data("")], check=True
        )
        project.ran(f"--pipelines={stages}")
