from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from preparation_fixtures import (
    SCRATCH,
    preparation,
    prepare_session,
    text_field,
    wordpiece_json,
)
from tabweave.export.gates.token_gate import (
    compare_tokens,
    in_all_columns,
    proof_key,
    prove_tokens,
)

FIELDS = text_field("x", ("s",), max_sen_len=5), text_field("y", ("t", "s"))
PREPARED = preparation(FIELDS)
SESSION = prepare_session(PREPARED)
TEXTS = in_all_columns(
    PREPARED, ["hello there", "", "one two three " * 9, "the fox", "x"]
)


def test_equal_tokens_are_reported_as_equal():
    report = compare_tokens(SESSION, PREPARED, TEXTS)
    assert report.to_json() == {"texts": 10, "mismatches": 0, "first": None}


def broken(change):
    """The session, but `change` is applied to what field x gives."""

    def run(texts):
        found = SESSION(texts)
        arrays = {k: v.copy() for k, v in vars(found["x"]).items()}
        change(arrays)
        return {**found, "x": replace(found["x"], **arrays)}

    return run


def other_token(arrays):
    arrays["ids"][0, 0, 0] += 1


def shorter_chunk(arrays):
    arrays["mask"][-1, 0, -1] = 0


def hole_in_chunk(arrays):
    arrays["mask"][-1, 0, 1] = 0


def tokens_dropped(arrays):
    arrays["dropped_tokens"][0] += 1


def characters_dropped(arrays):
    arrays["dropped_characters"][0] += 1


@pytest.mark.parametrize(
    "change",
    [
        other_token,
        shorter_chunk,
        hole_in_chunk,
        tokens_dropped,
        characters_dropped,
    ],
)
def test_any_difference_is_found_and_shown(change):
    report = compare_tokens(broken(change), PREPARED, TEXTS)
    assert report.mismatches >= 1
    assert report.first.field == "x"
    assert report.first.expected != report.first.got


def test_a_difference_is_told_with_its_text():
    other = preparation(FIELDS, wordpiece_json(["one", "two", "x"]))
    report = compare_tokens(prepare_session(other), PREPARED, TEXTS)
    assert report.mismatches > 5
    assert report.first.text in map(repr, ["hello there", "x", "the fox", ""])
    assert "tokens and 0 characters dropped" in report.first.got


def test_wrong_options_are_found():
    for change in ({"max_sen_len": 6}, {"max_total_chunks": 1}, {"max_characters": 7}):
        fields = FIELDS[0].model_copy(update=change), FIELDS[1]
        prepared = preparation(fields)
        assert compare_tokens(SESSION, prepared, TEXTS).mismatches > 0, change


def test_chunks_that_are_swapped_are_found():
    def swap(arrays):
        row = (arrays["mask"].sum(axis=2) > 0).sum(axis=1).argmax()
        for name in ("ids", "mask"):
            arrays[name][row] = arrays[name][row][::-1].copy()

    texts = pa.table({"s": ["one two three hello the fox"], "t": [""]})
    assert compare_tokens(SESSION, PREPARED, texts).mismatches == 0
    assert compare_tokens(broken(swap), PREPARED, texts).mismatches == 1


def test_every_text_reaches_every_column():
    texts = [str(number) for number in range(5)]
    table = in_all_columns(PREPARED, texts)
    assert table.column_names == ["s", "t"]
    for name in table.column_names:
        assert sorted(table.column(name).to_pylist()) == texts
    assert all(row["s"] != row["t"] for row in table.to_pylist())


def test_the_key_of_a_proof_changes_with_all_that_tokens_depend_on():
    key = proof_key(PREPARED, FIELDS[0])
    assert key == proof_key(preparation(FIELDS), FIELDS[0])
    others = [
        proof_key(PREPARED, FIELDS[0].model_copy(update=change))
        for change in (
            {"max_sen_len": 6},
            {"chunk_truncate": True},
            {"steps": ("tokenizer",)},
            {"max_characters": 9},
        )
    ]
    others.append(proof_key(preparation(FIELDS, SCRATCH + " "), FIELDS[0]))
    assert len({key, *others}) == len(others) + 1
    renamed = FIELDS[0].model_copy(update={"columns": ("t",), "encoder": "elsewhere"})
    assert proof_key(PREPARED, renamed) == key


def test_all_sets_are_compared():
    prepared = preparation()
    val = pa.table({"chat": pa.array(["hello", None, "one two"])})
    reports = prove_tokens(
        prepare_session(prepared), prepared, val, with_code_points=True
    )
    assert {name: report.mismatches for name, report in reports.items()} == {
        "val": 0,
        "edge texts": 0,
        "edge texts one by one": 0,
        "fuzzed texts": 0,
        "code points": 0,
    }
    assert reports["val"].texts == 3
    assert reports["fuzzed texts"].texts == 2000
    assert reports["code points"].texts > 140_000
    assert np.isfinite(reports["edge texts"].texts)
