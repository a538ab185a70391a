import pytest

from tabweave.bundle.contents import (
    PARTS,
    look_alikes,
    name_fault,
    part_of,
    tokenizer_path,
)

GOOD = [*PARTS, "tokenizer/title/tokenizer.json", "tokenizer/ひと 日本/tokenizer.json"]
BAD = [
    "",
    "/etc/passwd",
    "../model.onnx",
    "sample/../../x",
    "sample//rows.json",
    "sample/",
    "./model.onnx",
    "C:model.onnx",
    "a\\b",
    "model.onnx\0",
    "model.onnx\n",
    "tokenizer/\ud800/tokenizer.json",
    "tokenizer/ab\u202exno/tokenizer.json",
    "tokenizer/a\u200bb/tokenizer.json",
    "tokenizer/" + "a" * 300 + "/tokenizer.json",
]


@pytest.mark.parametrize("path", GOOD)
def test_names_of_a_bundle_have_no_fault(path):
    assert name_fault(path) == ""
    assert part_of(path) is not None


@pytest.mark.parametrize("path", BAD)
def test_names_that_lead_away_or_deceive_have_one(path):
    assert name_fault(path)


@pytest.mark.parametrize(
    "path", ["model.pkl", "tokenizer/x.json", "tokenizer/a/b/tokenizer.json", "lib.so"]
)
def test_other_files_are_no_part(path):
    assert part_of(path) is None


def test_names_that_one_file_system_could_mix_up_are_found():
    pairs = [("é", "e\u0301"), ("A", "a"), ("\ufb01", "fi")]
    for one, other in pairs:
        paths = [tokenizer_path(one), tokenizer_path(other)]
        assert look_alikes(paths) == paths[1:]
    assert look_alikes(["a", "b"]) == []
    assert look_alikes(["a", "a"]) == ["a"]
