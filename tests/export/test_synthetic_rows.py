import json

import numpy as np
import pytest

from preparation_fixtures import SCRATCH, TABLE, preparation, text_field
from tabweave.bundle import Sample
from tabweave.export.synthetic_rows import prepared_rows, synthetic_rows
from tabweave.preparation.reference import reference_chunks
from tabweave.scoring import Scorer
from tabweave.tables.cells import CellRules

RULES = CellRules()
FEATURES = ("num:price", "num:age", "cat:shop:yes", "missing:price")
FIELDS = (
    text_field("chat", ("chat", "more")),
    text_field("plain", ("other",), steps=("tokenizer",), max_total_chunks=1),
)


@pytest.fixture(scope="module")
def prepared():
    return preparation(FIELDS, features=FEATURES)


def test_every_kind_of_cell_is_there(prepared):
    rows = synthetic_rows(prepared, RULES)
    assert len(rows) == 16
    assert all(list(row) == list(prepared.schema.kinds) for row in rows)
    for name in prepared.schema.text:
        texts = [row[name] for row in rows]
        assert "" in texts
        assert any(not text.isascii() for text in texts)
        assert any("&amp;" in text for text in texts)
        assert any(text.count("[bom]") == 3 for text in texts) == (name != "other")
    chunks = reference_chunks(
        prepared, {n: [r[n] for r in rows] for n in prepared.schema.text}
    )
    assert max(map(len, chunks["chat"])) > 1
    for name, table in prepared.risk_tables.columns.items():
        cells = {row[name] for row in rows}
        assert cells >= {"", *table.bins}
        assert cells - table.bins.keys() - {""} == {"made-up category"}
    for name in ("price", "age"):
        numbers = [row[name] for row in rows]
        known = [number for number in numbers if number is not None]
        scaling = prepared.scaler.features[f"num:{name}"]
        assert None in numbers
        assert min(known) < scaling.mean - 2 * scaling.std
        assert max(known) > scaling.mean + 2 * scaling.std
        assert all(
            float(np.float32(number)) == pytest.approx(number) for number in known
        )


def test_they_are_the_same_in_every_export_and_plain_json(prepared):
    rows = synthetic_rows(prepared, RULES)
    assert synthetic_rows(prepared, RULES) == rows
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_words_come_from_the_vocabulary_alone(prepared):
    known = json.loads(SCRATCH)["model"]["vocab"]
    (plain,) = {
        row["chat"]
        for row in synthetic_rows(prepared, RULES)
        if row["chat"].count(" ") == 39
    }
    assert set(plain.split()) <= known.keys()
    cells = TABLE["chat"].to_pylist()
    assert not any(text in row["chat"] for row in synthetic_rows(prepared, RULES)
                   for text in cells if " " in text)  # fmt: skip


def test_as_the_model_reads_them(prepared, tmp_path):
    rows = synthetic_rows(prepared, RULES)
    read = prepared_rows(prepared, rows, tmp_path)
    assert (len(read), tuple(read.feature_names)) == (16, FEATURES)
    batch = read.batch(np.arange(16))
    missing = [row["price"] is None for row in rows]
    assert batch.features[:, 3].tolist() == [float(gap) for gap in missing]
    assert len(batch.texts) == 2


def test_without_text_and_without_a_table(tmp_path):
    for fields, features in (((), FEATURES), (FIELDS, ())):
        prepared = preparation(fields, features=features)
        read = prepared_rows(prepared, synthetic_rows(prepared, RULES), tmp_path)
        assert read.batch(np.arange(16)).features.shape == (16, len(features))


@pytest.mark.parametrize("written", [str, "{:.4f}".format])
def test_a_number_that_means_missing_is_missing_for_the_scorer_too(
    prepared, bundle_kit, tmp_path, written
):
    fill = float(str(np.float32(prepared.imputer.columns["price"].value)))
    rules = CellRules(null_values=("", written(fill), "NA"))
    assert fill in [row["price"] for row in synthetic_rows(prepared, RULES)]
    rows = synthetic_rows(prepared, rules)
    assert fill not in [row["price"] for row in rows]
    named = [{"note": r["chat"], "shop": r["shop"], "price": r["price"]} for r in rows]
    answers = bundle_kit.answers(named)
    sample = Sample.of(named, bundle_kit.schema.classes, answers)
    folder = bundle_kit.write(tmp_path / "bundle", sample=sample, rules=rules)
    assert Scorer.open(folder, threads=1).check_sample() < 1e-6


def test_no_text_is_longer_than_a_cell_may_be(prepared):
    rules = CellRules(max_cell_bytes=14)
    rows = synthetic_rows(prepared, rules)
    texts = [text for row in rows for text in row.values() if isinstance(text, str)]
    assert max(len(text.encode()) for text in texts) in (13, 14)
    assert "made-up catego" in texts
    assert any(not text.isascii() for text in texts)
