import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest

from scoring_fixtures import as_someone_else
from tabweave.bundle import open_bundle
from tabweave.errors import ArtifactError

EVERY = [
    "model.onnx",
    "pipeline.onnx",
    "imputer.json",
    "schema.json",
    "tokenizer/note/tokenizer.json",
    "sample/rows.csv",
    "card.md",
]


@pytest.fixture
def folder(good_bundle, tmp_path):
    """A copy of a good bundle to spoil."""
    shutil.copytree(good_bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def refused(folder):
    with pytest.raises(ArtifactError) as caught:
        open_bundle(folder)
    return str(caught.value)


def relist(folder, path, content):
    """Writes a file and lists it in the manifest as if it belonged there."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    files = [entry for entry in manifest["files"] if entry["path"] != path]
    digest = hashlib.sha256(content).hexdigest()
    files.append({"path": path, "size": len(content), "sha256": digest})
    manifest["files"] = files
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_a_good_bundle_opens(good_bundle, bundle_kit):
    bundle = open_bundle(good_bundle)
    assert bundle.schema == bundle_kit.schema
    assert bundle.rules == bundle_kit.parts.rules
    assert bundle.pipeline == bundle_kit.parts.pipeline
    assert bundle.values["metrics.json"] == {"test/auroc": 0.75}
    content = (good_bundle / "manifest.json").read_bytes()
    assert bundle.identity == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("path", EVERY)
def test_one_changed_byte_is_noticed(folder, path):
    content = bytearray((folder / path).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / path).write_bytes(bytes(content))
    message = refused(folder)
    assert path in message
    assert "its sha256 is not the one in the manifest" in message


@pytest.mark.parametrize("path", EVERY)
def test_a_missing_file_is_named(folder, path):
    (folder / path).unlink()
    assert f"'{path}': is missing" in refused(folder)


@pytest.mark.parametrize("more", [b"x", b""])
def test_another_size_is_named(folder, more):
    path = folder / "metrics.json"
    path.write_bytes(path.read_bytes() + more if more else b"")
    assert "metrics.json" in refused(folder)


@pytest.mark.parametrize(
    "path", ["extra.txt", "sample/extra", ".hidden", "model.onnx.data", "__init__.py"]
)
def test_a_file_that_is_not_listed_is_named(folder, path):
    (folder / path).write_text("x")
    assert f"'{path}': is not in the manifest; remove it" in refused(folder)


def test_a_name_that_is_no_text_is_refused(folder):
    (folder / os.fsdecode(b"caf\xe9")).write_text("x")
    assert "is not in the manifest" in refused(folder)


@pytest.mark.parametrize("path", ["model.onnx", "manifest.json", "sample"])
def test_links_are_refused_even_to_the_right_content(folder, path, tmp_path):
    shutil.move(folder / path, tmp_path / "moved")
    (folder / path).symlink_to(tmp_path / "moved")
    assert path in refused(folder)


def test_a_hard_link_is_refused(folder, tmp_path):
    os.link(folder / "model.onnx", tmp_path / "elsewhere")
    assert "hard link" in refused(folder)


@pytest.mark.parametrize("path", ["model.onnx", "manifest.json", "card.md"])
def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(folder, path):
    (folder / path).unlink()
    os.mkfifo(folder / path)
    message = refused(folder)
    assert path in message
    assert "is a named pipe" in message


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    (folder / "card.md").unlink()
    (folder / "card.md").mkdir()
    (folder / "card.md" / "x").write_text("x")
    message = refused(folder)
    assert "'card.md': is missing" in message
    assert "'card.md/x': is not in the manifest" in message


@pytest.mark.parametrize("path", ["../out.json", "sample/../../out.json"])
def test_the_manifest_cannot_lead_out_of_the_folder(folder, path):
    relist(folder, path, b"{}")
    assert f"'{path}': the path holds the step '..'" in refused(folder)


def test_the_manifest_cannot_name_an_absolute_path(folder, tmp_path):
    relist(folder, str(tmp_path / "out.json"), b"{}")
    assert "is not a plain relative path" in refused(folder)


def test_a_listed_pickle_is_not_a_file_of_a_bundle(folder):
    relist(folder, "model.pkl", pickle.dumps({}))
    assert "'model.pkl': a bundle has no such file" in refused(folder)


@pytest.mark.parametrize("path", ["pipeline.onnx", "imputer.json", "schema.json"])
def test_a_pickle_in_disguise_never_runs(folder, path, tmp_path):
    trace = tmp_path / "trace"

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(trace),))

    relist(folder, path, pickle.dumps(Evil()))
    assert path in refused(folder)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("metrics.json", b'{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("metrics.json", b'{"a": NaN}', "NaN, which is not JSON"),
        ("metrics.json", b"[" * 100_000, "nested deeper"),
        ("metrics.json", b"\xff\xfe{\x00}\x00", "not UTF-8"),
        ("tokenizer/note/tokenizer.json", b'{"k": 1, "k": 1}', "stands twice"),
        ("risk_tables.json", b"[Infinity]", "not JSON"),
        ("schema.json", b"{}", "schema.json cannot be read"),
        ("schema.json", b"[]", "schema.json cannot be read"),
        ("cell_rules.json", b'{"max_cell_bytes": 0}', "cell_rules.json cannot be"),
        ("card.md", b"\xff", "card.md is not UTF-8"),
        ("model.onnx", b"", "it is not an ONNX file"),
    ],
)
def test_listed_content_with_no_one_meaning_is_refused(folder, path, content, words):
    relist(folder, path, content)
    message = refused(folder)
    assert path in message
    assert words in message


def test_every_onnx_file_is_looked_through(folder, bundle_kit):
    from onnx import helper

    node = helper.make_node("Run", ["logit"], ["x"], domain="evil")
    model = bundle_kit.model(graph=bundle_kit.graph(nodes=[node]))
    relist(folder, "model.int8.onnx", model.SerializeToString())
    message = refused(folder)
    assert "model.int8.onnx" in message
    assert "of the domain 'evil'" in message


@pytest.mark.parametrize("content", [b"\xff", b"", b"null", b"[]", b'"x"', b"{}"])
def test_a_manifest_that_is_none_is_refused(folder, content):
    (folder / "manifest.json").write_bytes(content)
    assert "manifest.json" in refused(folder)


def test_a_size_that_only_the_manifest_claims_costs_nothing(folder):
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    entry = next(e for e in manifest["files"] if e["path"] == "model.onnx")
    entry["size"] = 2**31 - 1
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "but the manifest says 2,147,483,647" in refused(folder)


def test_a_large_manifest_is_not_read(folder):
    with open(folder / "manifest.json", "ab") as file:
        file.truncate(2**33)
    assert "manifest.json" in refused(folder)


def test_what_was_verified_is_what_is_used(folder, bundle_kit):
    """A file that changes after the bundle was opened changes nothing, or is noticed."""
    bundle = open_bundle(folder)
    (folder / "pipeline.onnx").write_bytes(b"other")
    assert bundle.pipeline == bundle_kit.parts.pipeline
    with pytest.raises(ArtifactError, match=r"pipeline\.onnx"):
        bundle.read("pipeline.onnx")


def test_a_file_that_the_bundle_does_not_hold_cannot_be_read(good_bundle):
    bundle = open_bundle(good_bundle)
    for path in ("manifest.json", "../x", "gone"):
        with pytest.raises(ArtifactError, match="holds no"):
            bundle.read(path)


def test_a_place_without_a_bundle_says_what_to_give(tmp_path):
    assert "is not a bundle" in refused(tmp_path / "gone")
    assert "'manifest.json' is missing" in refused(tmp_path)


def test_opening_needs_neither_torch_nor_onnx_nor_a_runtime(good_bundle):
    code = (
        "import sys; from pathlib import Path; from tabweave.bundle import open_bundle;"
        "open_bundle(Path(sys.argv[1])); print([m for m in sys.argv[2:]"
        " if m in sys.modules])"
    )
    heavy = ["torch", "onnx", "onnxruntime", "kedro", "transformers", "pickle_module"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(good_bundle), *heavy],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_folder_without_permissions_is_an_error_of_the_bundle(
    bundle_kit, tmp_path, monkeypatch
):
    folder = bundle_kit.write(tmp_path / "b")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # what lies above may be closed to others, too
    (folder / "tokenizer").chmod(0)
    with (
        as_someone_else(),
        pytest.raises(
            ArtifactError, match="b: 'tokenizer/' cannot be read: Permission"
        ),
    ):
        open_bundle("b")
    (folder / "tokenizer").chmod(0o755)
    with as_someone_else():
        open_bundle("b")
