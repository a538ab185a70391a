import json

import pytest

from tabweave.bundle.contents import PARTS, SAMPLE
from tabweave.bundle.manifest import FileEntry, read_manifest
from tabweave.errors import ArtifactError


def entry(path, size=1):
    return {"path": path, "size": size, "sha256": "0" * 64}


def manifest(*further, without=(), **changes):
    files = [
        entry(path) for path, part in PARTS.items() if part.required or path in SAMPLE
    ]
    files = [one for one in files if one["path"] not in without] + list(further)
    value = {
        "format": 1,
        "files": files,
        "versions": {"python": "3.11", "torch": None},
        "parity": {},
        "pipeline_refused": "No.",
    }
    return json.dumps(value | changes).encode()


def fault(data):
    with pytest.raises(ArtifactError) as caught:
        read_manifest(data)
    return str(caught.value)


def test_a_good_manifest_is_read():
    found = read_manifest(manifest(entry("tokenizer/a/tokenizer.json", 7)))
    assert found.by_path["tokenizer/a/tokenizer.json"].size == 7
    assert found.versions["torch"] is None


def test_an_entry_describes_its_content():
    found = FileEntry.of("a", b"abc")
    assert (found.size, found.sha256[:8]) == (3, "ba7816bf")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (manifest(format=2), "says format 2, but this version of tabweave reads 1"),
        (manifest(format="1"), "format"),
        (manifest(format=True), "format"),
        (manifest(further=1), "further"),
        (b"[]", "not the manifest of a bundle"),
        (manifest(entry("../x")), "'../x': the path holds the step '..'"),
        (manifest(entry("/etc/x")), "'/etc/x': the path is not a plain relative"),
        (manifest(entry("evil.pkl")), "'evil.pkl': a bundle has no such file"),
        (manifest(entry("card.md", 2**40)), "at most 1,048,576 are read"),
        (manifest(entry("card.md", -1)), "files"),
        (manifest(entry("card.md", 1.5)), "files"),
        (manifest(entry("card.md") | {"sha256": "0"}), "sha256"),
        (manifest(entry("model.onnx")), "same name or looks alike"),
        (
            manifest(
                entry("tokenizer/a/tokenizer.json"), entry("tokenizer/A/tokenizer.json")
            ),
            "looks alike",
        ),
        (manifest(without=["model.onnx"]), "model.onnx: is missing"),
        (manifest(without=["sample/rows.csv"]), "sample/rows.csv: is missing"),
        (manifest(entry("pipeline.onnx")), "pipeline_refused must say why not"),
        (manifest(pipeline_refused=None), "pipeline_refused must say why not"),
        (manifest(versions={"torch": 2}), "versions"),
    ],
)
def test_other_manifests_are_refused_with_the_reason(data, words):
    assert words in fault(data)


def test_the_number_of_files_is_bounded():
    many = [entry(f"tokenizer/{n}/tokenizer.json") for n in range(1001)]
    assert "files" in fault(manifest(*many))
