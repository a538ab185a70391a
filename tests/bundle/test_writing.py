import json
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from tabweave.bundle import installed_versions, open_bundle, write_bundle
from tabweave.errors import ArtifactError, WriteError


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_bundle_holds_what_the_design_says(good_bundle):
    assert set(contents(good_bundle)) == {
        "card.md",
        "cell_rules.json",
        "export_report.json",
        "impute_dict.json",
        "imputer.json",
        "manifest.json",
        "metrics.json",
        "model.onnx",
        "pipeline.onnx",
        "risk_table_map.json",
        "risk_tables.json",
        "sample/expected.json",
        "sample/rows.csv",
        "sample/rows.json",
        "scaler.json",
        "schema.json",
        "tokenizer/note/tokenizer.json",
    }


def test_a_bundle_may_have_no_sample(bundle_kit, good_bundle, tmp_path):
    folder = bundle_kit.write(tmp_path / "b", sample=None)
    open_bundle(folder)
    gone = {"sample/expected.json", "sample/rows.csv", "sample/rows.json"}
    assert set(contents(folder)) == set(contents(good_bundle)) - gone


def test_the_manifest_lists_all_but_itself(good_bundle):
    manifest = json.loads((good_bundle / "manifest.json").read_text("utf-8"))
    paths = [entry["path"] for entry in manifest["files"]]
    assert paths == sorted(set(contents(good_bundle)) - {"manifest.json"})
    assert manifest["parity"] == {"mismatches": 0}
    assert manifest["pipeline_refused"] is None


def test_equal_parts_give_equal_bytes(bundle_kit, good_bundle, tmp_path):
    again = bundle_kit.write(tmp_path / "again")
    assert contents(again) == contents(good_bundle)


def test_a_pipeline_that_the_gate_refused_is_absent_and_says_why(bundle_kit, tmp_path):
    folder = bundle_kit.write(tmp_path / "b", pipeline="12 texts differ.")
    bundle = open_bundle(folder)
    assert bundle.pipeline is None
    assert bundle.manifest.pipeline_refused == "12 texts differ."
    assert not (folder / "pipeline.onnx").exists()


def test_a_new_bundle_takes_the_place_of_the_old_one_whole(bundle_kit, tmp_path):
    folder = bundle_kit.write(tmp_path / "b")
    bundle_kit.write(folder, tokenizers={}, card=None)
    assert "card.md" not in contents(folder)
    open_bundle(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_quantized_models_are_parts(bundle_kit, tmp_path):
    model = bundle_kit.parts.model
    folder = bundle_kit.write(tmp_path / "b", quantized={"model.int8.onnx": model})
    assert open_bundle(folder).read("model.int8.onnx") == model


def broken_parts(kit):
    outside = kit.model()
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "w")
    tensor.data_location = TensorProto.EXTERNAL
    outside.graph.initializer.append(tensor)
    return {
        "external data": {"model": outside.SerializeToString()},
        "ONNX file": {"pipeline": b"\x80\x04K\x01."},
        "cannot be a file of a bundle": {"tokenizers": {"a/../b": "{}"}},
        "not JSON": {"tokenizers": {"a": "no json"}},
        "looks alike": {"tokenizers": {"a": "{}", "A": "{}"}},
        "no such file": {"quantized": {"lib.so": b"x"}},
    }


@pytest.mark.parametrize(
    "words",
    [
        "external data",
        "ONNX file",
        "cannot be a file of a bundle",
        "not JSON",
        "looks alike",
        "no such file",
    ],
)
def test_what_could_not_be_opened_is_never_written(bundle_kit, tmp_path, words):
    folder = bundle_kit.write(tmp_path / "b")
    before = contents(folder)
    with pytest.raises(ArtifactError, match=words):
        write_bundle(
            folder, replace(bundle_kit.parts, **broken_parts(bundle_kit)[words])
        )
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_numbers_that_json_has_no_word_for_are_refused(bundle_kit, tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        bundle_kit.write(tmp_path / "b", metrics={"test/auroc": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(bundle_kit, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match="Cannot write"):
        bundle_kit.write(tmp_path / "file" / "b")


def test_versions_name_what_is_installed_and_what_is_not(monkeypatch):
    monkeypatch.setattr("tabweave.bundle.writing.LIBRARIES", ("numpy", "not-there"))
    found = installed_versions()
    assert found["numpy"] == np.__version__
    assert found["not-there"] is None
    assert set(found) == {"python", "tabweave", "numpy", "not-there"}
