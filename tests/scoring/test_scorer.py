import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from functools import reduce

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabweave.bundle import FileEntry, Sample
from tabweave.errors import ArtifactError, SchemaError
from tabweave.scoring import Scorer
from tabweave.scoring.runtime import BatchSize

ROWS = [
    {"note": "where is it", "shop": "a", "price": 3.5},
    {"note": "", "shop": "b", "price": None},
    {"note": "é日 x" * 30, "shop": "unseen", "price": -0.5},
    {"note": "aa", "shop": "", "price": 16777216},
]


@pytest.fixture(scope="module")
def scorer(good_bundle):
    return Scorer.open(good_bundle, threads=1)


def probabilities(table):
    return np.stack([table["prob_no"].to_numpy(), table["prob_yes"].to_numpy()], axis=1)


def expected(kit, rows=ROWS):
    return np.array([kit.answer(r["note"], r["shop"], r["price"]) for r in rows])


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        pd.DataFrame(ROWS),
        pd.DataFrame(ROWS, dtype=object),
        pa.Table.from_pylist(ROWS),
        [{**row, "price": row["price"] and str(row["price"])} for row in ROWS],
        pd.DataFrame(ROWS).astype({"shop": "category"}),
        pa.table({
            "note": pa.array([r["note"] for r in ROWS], pa.large_string()),
            "shop": pa.array([r["shop"] for r in ROWS]).dictionary_encode(),
            "price": pa.array([r["price"] for r in ROWS], pa.float32()),
        }),
    ],
)  # fmt: skip
def test_rows_of_every_kind_get_the_right_answers(scorer, bundle_kit, rows):
    found = scorer.score(rows)
    assert found.column_names == ["prob_no", "prob_yes", "predicted"]
    assert found.schema.types == [pa.float32(), pa.float32(), pa.string()]
    assert np.abs(probabilities(found) - expected(bundle_kit)).max() < 1e-6
    best = expected(bundle_kit).argmax(axis=1)
    assert found["predicted"].to_pylist() == [("no", "yes")[n] for n in best]


def test_rows_may_come_in_any_order_and_alone(scorer):
    together = scorer.score(ROWS)
    turned = scorer.score(ROWS[::-1])
    assert np.allclose(probabilities(turned)[::-1], probabilities(together), atol=1e-6)
    for row, found in zip(ROWS, probabilities(together), strict=True):
        assert np.abs(probabilities(scorer.score([row]))[0] - found).max() < 1e-6


def test_the_order_of_keys_and_columns_does_not_matter(scorer):
    turned = [dict(reversed(row.items())) for row in ROWS]
    assert scorer.score(turned).equals(scorer.score(ROWS))


def test_small_batches_give_the_same_answers(scorer, good_bundle):
    small = Scorer.open(good_bundle, threads=1, size=BatchSize(1, 1))
    difference = probabilities(small.score(ROWS)) - probabilities(scorer.score(ROWS))
    assert np.abs(difference).max() < 1e-6


DEEP = reduce(lambda cell, _: [cell], range(5_000), [])
DAY = datetime(2024, 1, 31, 12)


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ([7, 8, 9, 10], [7, 8, 9, 10]),
        (["a", "", None, "日"], ["a", "", None, "日"]),
        ([0.5, float("nan"), 1e300, 2.0], [0.5, None, 1e300, 2.0]),
        ([DAY, DAY, None, pd.NaT], [DAY, DAY, None, None]),
        ([Decimal("1.10")] * 4, [Decimal("1.10")] * 4),
        ([b"\xff"] * 4, [b"\xff"] * 4),
        # What is of several kinds, or of none of Arrow's, is text.
        ([1, "1", 1.5, True], ["1", "1", "1.5", "True"]),
        ([2**70, 2**70, 1, None], [str(2**70), str(2**70), "1", None]),
        ([1 + 2j] * 4, ["(1+2j)"] * 4),
        ([(1, "a")] * 4, ["(1, 'a')"] * 4),
        (["\ud800"] * 4, ["'\\ud800'"] * 4),
    ],
)
def test_the_id_comes_back_as_it_was_given_whatever_it_is(scorer, ids, found):
    rows = [{**row, "id": one} for row, one in zip(ROWS, ids, strict=True)]
    for given in (rows, pd.DataFrame(rows, dtype=object)):
        answers = scorer.score(given)
        assert answers["id"].to_pylist() == found
        assert answers.drop_columns("id").equals(scorer.score(ROWS))


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1.5, None, 2.5, 3.5]),
        pa.array([[1], [2], [], None]),
        pa.array(["a", "b", "a", None]).dictionary_encode(),
        pa.array([b"ok", b"\xff", b"", b""]).view(pa.string()),
    ],
)
def test_an_id_of_any_arrow_type_comes_back(scorer, ids):
    rows = pa.Table.from_pylist(ROWS).append_column("id", ids)
    assert scorer.score(rows)["id"].combine_chunks().equals(ids)


def test_an_id_nested_without_measure_comes_back_as_something(scorer):
    found = scorer.score([{**row, "id": DEEP} for row in ROWS])["id"]
    assert all(len(text) <= 20_000 for text in found.to_pylist())


def test_other_known_columns_may_be_there(scorer):
    rows = [{**r, "id": 7, "y": "no", "customer": "c", "unread": "x"} for r in ROWS]
    found = scorer.score(rows, strict=True)
    assert found.column_names == ["id", "prob_no", "prob_yes", "predicted"]
    assert found.drop_columns("id").equals(scorer.score(ROWS))


@pytest.mark.parametrize("rows", [[], pa.table({}), pd.DataFrame()])
def test_no_rows_give_no_answers(scorer, rows):
    found = scorer.score(rows)
    assert (found.num_rows, found.column_names) == (0, scorer.added)


def test_columns_without_rows_give_no_answers(scorer):
    found = scorer.score(pa.Table.from_pylist(ROWS).slice(0, 0))
    assert (found.num_rows, found.column_names) == (0, scorer.added)


def refused(scorer, rows):
    with pytest.raises(SchemaError) as caught:
        scorer.score(rows)
    return str(caught.value)


def test_missing_columns_are_named(scorer):
    message = refused(scorer, [{"note": "x", "shop": "a", "prise": 1}])
    assert "Column 'price' (numeric) is missing. Did you mean 'prise'?" in message
    assert "unknown" not in message


def test_columns_without_a_role_are_ignored_unless_the_caller_is_strict(scorer):
    rows = [{**row, "shiptrack": 10**5000, 7: object()} for row in ROWS]
    assert scorer.score(rows).equals(scorer.score(ROWS))
    with pytest.raises(SchemaError, match="Column 'shiptrack' is unknown"):
        scorer.score(rows, strict=True)


def test_cells_that_do_not_fit_are_listed_with_their_rows(scorer):
    rows = [dict(row) for row in ROWS]
    rows[1]["price"], rows[2]["price"], rows[3]["note"] = "dear", float("inf"), 1.5
    message = refused(scorer, rows)
    assert "numeric column 'price' holds cells that are not numbers" in message
    assert "row 2: 'dear'" in message
    assert "infinite as float32: row 3: inf" in message
    assert "column 'note' holds floating-point numbers" in message
    assert "row 4: 1.5" in message


def test_arrow_text_that_is_none_is_refused(scorer):
    bad = pa.array([b"ok", b"\xff"]).view(pa.string())
    rows = pa.table({"note": bad, "shop": ["a", "b"], "price": [1.0, 2.0]})
    assert "column 'note': the cell is not UTF-8" in refused(scorer, rows)


def test_the_null_values_are_those_of_the_training_data(scorer):
    given = [{**ROWS[0], "price": "NA"}]
    assert scorer.score(given).equals(scorer.score([{**ROWS[0], "price": None}]))
    assert "'N/A'" in refused(scorer, [{**ROWS[0], "price": "N/A"}])


def test_nothing_of_the_caller_is_changed(scorer):
    rows = [dict(row) for row in ROWS]
    frame = pd.DataFrame(ROWS)
    before = frame.copy()
    scorer.score(rows)
    scorer.score(frame)
    assert rows == ROWS
    assert frame.equals(before)


def test_the_sample_of_a_good_bundle_is_answered(scorer):
    assert scorer.check_sample() < 1e-6


def test_other_answers_than_the_bundle_expects_are_an_error(bundle_kit, tmp_path):
    sample = Sample.of(ROWS[:2], ("no", "yes"), np.array([[0.5, 0.5], [0.9, 0.1]]))
    folder = bundle_kit.write(tmp_path / "b", sample=sample)
    with pytest.raises(ArtifactError, match="sample row 2 gives") as caught:
        Scorer.open(folder, threads=1).check_sample()
    assert str(caught.value).endswith(
        "Use the version of onnxruntime in manifest.json."
    )


def with_answers(folder, key, value):
    """Changes an entry of sample/expected.json, as whoever can write a bundle may."""
    path, manifest = folder / "sample" / "expected.json", folder / "manifest.json"
    answers = {**json.loads(path.read_text("utf-8")), key: value}
    path.write_text(json.dumps(answers), encoding="utf-8")
    listed = json.loads(manifest.read_text("utf-8"))
    entry = FileEntry.of("sample/expected.json", path.read_bytes()).model_dump()
    listed["files"] = [
        entry if f["path"] == entry["path"] else f for f in listed["files"]
    ]
    manifest.write_text(json.dumps(listed), encoding="utf-8")
    return folder


@pytest.mark.parametrize("value", [[[0.5, 0.5]], [], "x", [[0.5], [0.5, 0.5], [1]], {}])
@pytest.mark.parametrize("int8", [False, True])
def test_answers_that_cannot_be_compared_are_an_error(
    bundle_kit, tmp_path, value, int8
):
    key = "int8_probabilities" if int8 else "probabilities"
    folder = with_answers(bundle_kit.write_int8(tmp_path / "b"), key, value)
    scorer = Scorer.open(folder, threads=1, int8=int8)
    with pytest.raises(
        ArtifactError, match=rf"/b/sample/expected\.json: '{key}' is not 2 numbers for"
    ):
        scorer.check_sample()


def test_a_bundle_without_a_sample_is_not_checked_and_says_so(
    bundle_kit, tmp_path, caplog
):
    folder = bundle_kit.write(tmp_path / "b", sample=None)
    scorer = Scorer.open(folder, threads=1)
    assert scorer.check_sample() is None
    (record,) = caplog.records
    assert "b has no sample (export.sample was none)" in record.getMessage()
    assert scorer.score(ROWS).num_rows == len(ROWS)


# Rows that the model has no answer to


@pytest.fixture(scope="module")
def overflowing(bundle_kit, tmp_path_factory):
    """A bundle whose model gives NaN for prices near the largest float32."""
    folder = tmp_path_factory.mktemp("overflowing") / "b"
    steep = bundle_kit.model(graph=bundle_kit.graph(weight=-30.0))
    sample = Sample.of(ROWS, ("no", "yes"), bundle_kit.answers(ROWS, -30.0))
    return bundle_kit.write(folder, pipeline=steep.SerializeToString(), sample=sample)


def test_a_row_that_is_too_large_for_the_model_is_named_by_its_number(overflowing):
    scorer = Scorer.open(overflowing, threads=1)
    huge = {**ROWS[0], "price": 3.4e38}
    message = refused(scorer, [ROWS[0], huge, ROWS[1], {**huge, "price": -3e38}])
    assert "the model has no finite answer" in message
    assert "row 2: {'price': 3.39" in message
    assert "row 4: {'price': -3.00" in message
    assert "row 1" not in message
    assert "Train" not in message
    assert scorer.score([ROWS[0], ROWS[2]]).num_rows == 2


# Copies in other processes


def spawned(scorer, rows):
    """Scores in a new interpreter that received the scorer as a pickle."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(scorer.score, (rows,))


def test_a_pickled_scorer_gives_the_same_answers(int8_bundle, monkeypatch, tmp_path):
    monkeypatch.chdir(int8_bundle.parent)
    size = BatchSize(2, 64)
    for int8 in (False, True):
        scorer = Scorer.open(int8_bundle.name, threads=1, size=size, int8=int8)
        content = pickle.dumps(scorer)
        assert len(content) < 1000
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir(tmp_path)
            copy = pickle.loads(content)
        assert copy.score(ROWS).equals(scorer.score(ROWS))
        assert pickle.dumps(copy) == content


def test_a_scorer_can_be_sent_to_a_new_process(scorer):
    assert spawned(scorer, ROWS).equals(scorer.score(ROWS))


def test_a_pickle_of_a_bundle_that_is_gone_or_another_one_is_an_error(
    bundle_kit, tmp_path
):
    folder = bundle_kit.write(tmp_path / "b")
    content = pickle.dumps(Scorer.open(folder, threads=1))
    bundle_kit.write(folder, metrics={"test/auroc": 0.5})
    with pytest.raises(ArtifactError, match="/b is not the bundle that the Scorer was"):
        pickle.loads(content)
    shutil.rmtree(folder)
    with pytest.raises(ArtifactError, match="/b is not a bundle"):
        pickle.loads(content)


# 8-bit integers


def test_int8_has_answers_and_a_sample_of_its_own(int8_bundle, bundle_kit):
    int8 = Scorer.open(int8_bundle, threads=1, int8=True)
    wanted = bundle_kit.answers(ROWS, bundle_kit.int8_weight)
    assert np.abs(probabilities(int8.score(ROWS)) - wanted).max() < 1e-6
    assert np.abs(wanted - expected(bundle_kit)).max() > 0.05
    assert int8.check_sample() < 1e-6
    assert Scorer.open(int8_bundle, threads=1).check_sample() < 1e-6


def test_int8_may_round_otherwise_and_no_more_than_that(bundle_kit, tmp_path):
    rounded = bundle_kit.write_int8(tmp_path / "rounded", shift=0.015)
    scorer = Scorer.open(rounded, threads=1, int8=True)
    assert abs(scorer.check_sample() - 0.015) < 1e-6
    with pytest.raises(ArtifactError, match=r"tolerance 0\.01\)"):
        scorer.check_sample(0.01)
    saturated = bundle_kit.write_int8(tmp_path / "saturated", shift=0.025)
    with pytest.raises(ArtifactError, match=r"sample row \d .*or score without int8"):
        Scorer.open(saturated, threads=1, int8=True).check_sample()


def test_int8_without_answers_cannot_be_checked(bundle_kit, tmp_path):
    folder = bundle_kit.write_int8(tmp_path / "b", sample=bundle_kit.parts.sample)
    with pytest.raises(
        ArtifactError,
        match=r"'int8_probabilities' is missing.*\. Or score without int8",
    ):
        Scorer.open(folder, threads=1, int8=True).check_sample()
    assert Scorer.open(folder, threads=1).check_sample() < 1e-6


CODE = """
import json, sys
from pathlib import Path
from tabweave.scoring import Scorer, score_file
folder = Path(sys.argv[1])
Scorer.open(folder).check_sample()
score_file(folder, folder / "sample" / "rows.csv", Path(sys.argv[2]), progress=True)
print(json.dumps([name for name in sys.argv[3:] if name in sys.modules]))
"""


def test_scoring_needs_no_torch_and_no_kedro(good_bundle, tmp_path):
    heavy = ["torch", "onnx", "transformers", "lightning", "kedro", "tokenizers"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(good_bundle), str(tmp_path / "o.csv"), *heavy],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(("kind", "column"), [("list", "note"), ("dict", "price")])
def test_a_cell_nested_without_measure_is_a_bad_cell(good_bundle, kind, column):
    cell = []
    for _ in range(5_000):
        cell = [cell] if kind == "list" else {"a": cell}
    row = {"note": "a", "shop": "a", "price": 1.0, column: cell}
    words = rf"column '{column}' holds values of type '{kind}'"
    with pytest.raises(SchemaError, match=words):
        Scorer.open(good_bundle, threads=1).score([row])
