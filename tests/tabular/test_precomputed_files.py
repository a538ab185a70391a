"""The files of an upstream step: which one is read, and what cannot be read."""

import json
import os
import pickle

import numpy as np
import pytest

import tabweave.tabular.precomputed_files as module
from tabweave.errors import ArtifactError, MissingDataError
from tabweave.tabular.precomputed_files import find_precomputed, read_precomputed

VALUE = {"price": 1.5, "größe": 2.0}


def put(folder, name, value):
    path = folder / name
    if name.endswith(".json"):
        path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_bytes(pickle.dumps(value))
    return path


@pytest.mark.parametrize("ending", [".json", ".pkl"])
@pytest.mark.parametrize("name", ["impute_dict", "risk_table_map"])
def test_either_format_is_read(tmp_path, name, ending):
    path = put(tmp_path, name + ending, VALUE)
    found = read_precomputed(tmp_path, name)
    assert (found.path, found.value) == (path, VALUE)


def test_json_wins_where_both_say_the_same(tmp_path):
    put(tmp_path, "impute_dict.pkl", {name: np.float64(v) for name, v in VALUE.items()})
    path = put(tmp_path, "impute_dict.json", VALUE)
    assert read_precomputed(tmp_path, "impute_dict").path == path


def test_two_files_that_differ_are_refused_with_the_difference(tmp_path):
    put(tmp_path, "impute_dict.json", VALUE)
    put(tmp_path, "impute_dict.pkl", VALUE | {"price": 2.5, "age": 1.0})
    with pytest.raises(ArtifactError, match="hold different values") as caught:
        read_precomputed(tmp_path, "impute_dict")
    message = str(caught.value)
    assert "impute_dict.price: 1.5 -> 2.5" in message
    assert "impute_dict.age: None -> 1.0" in message
    assert "Remove one of the two files" in message


def test_the_other_file_is_read_even_where_json_wins(tmp_path):
    put(tmp_path, "impute_dict.json", VALUE)
    (tmp_path / "impute_dict.pkl").write_bytes(b"cos\nsystem\n(Vtrue\ntR.")
    with pytest.raises(ArtifactError, match=r"asks for 'os\.system'"):
        read_precomputed(tmp_path, "impute_dict")


def test_a_selection_is_json_alone(tmp_path):
    put(tmp_path, "selected_features.pkl", ["a"])
    with pytest.raises(MissingDataError, match=r"No selected_features\.json found"):
        read_precomputed(tmp_path, "selected_features")


def test_a_missing_file_says_what_the_folder_holds(tmp_path):
    put(tmp_path, "impute_dikt.json", VALUE)
    with pytest.raises(
        MissingDataError, match=r"which holds 'impute_dikt\.json'"
    ) as caught:
        find_precomputed(tmp_path, "impute_dict")
    assert "No impute_dict.json or impute_dict.pkl found in" in str(caught.value)
    assert "--params=model_artifacts_input=<folder>" in str(caught.value)
    with pytest.raises(MissingDataError, match="which holds nothing"):
        find_precomputed(tmp_path / "none", "impute_dict")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Expecting value"),
        ("{'a': 1}", "Expecting property name"),
        ('{"a": 1} x', "Extra data"),
        ('{"a": NaN}', "it holds NaN, which is not a number"),
        ('{"a": -Infinity}', "it holds -Infinity"),
        ('{"a": 1, "b": 2, "a": 3}', "it has the key 'a' twice"),
        ('{"c": {"bins": {"x": 1, "x": 1}}}', "it has the key 'x' twice"),
        ('{"\\ud800": 1}', "surrogates not allowed"),
        ("[" * 100_000, "recursion"),
        ("[" * 20 + "]" * 20, "nests deeper than 8 levels"),
        ('{"a": ' + "9" * 5_000 + "}", "Exceeds the limit"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_json_that_cannot_be_meant_is_refused(tmp_path, content, said):
    (tmp_path / "impute_dict.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=said) as caught:
        read_precomputed(tmp_path, "impute_dict")
    assert "impute_dict.json cannot be read" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "impute_dict.json").write_bytes(b'{"\xff": 1}')
    with pytest.raises(ArtifactError, match="can't decode byte 0xff"):
        read_precomputed(tmp_path, "impute_dict")


def test_a_number_beyond_floats_is_left_to_the_check_of_values(tmp_path):
    (tmp_path / "impute_dict.json").write_text('{"a": 1e999}', encoding="utf-8")
    assert read_precomputed(tmp_path, "impute_dict").value == {"a": float("inf")}


def test_characters_beyond_the_first_plane_may_be_escaped(tmp_path):
    (tmp_path / "impute_dict.json").write_text(
        '{"\\ud83d\\ude00": 1}', encoding="utf-8"
    )
    assert read_precomputed(tmp_path, "impute_dict").value == {"😀": 1}


def test_a_file_above_the_cap_is_refused(tmp_path, monkeypatch):
    path = put(tmp_path, "impute_dict.json", VALUE)
    monkeypatch.setattr(module, "MAX_BYTES", os.path.getsize(path) - 1)
    with pytest.raises(ArtifactError, match="such files are read up to"):
        read_precomputed(tmp_path, "impute_dict")
