import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.data_report import duplicates
from tabweave.data_report.duplicates import NEAR, duplicate_texts, shared_ids
from tabweave.schema import DataSchema
from tabweave.splitting.duplicates import normalised, shingles

WORDS = (
    "offer",
    "seller",
    "order",
    "late",
    "parcel",
    "refund",
    "photo",
    "broken",
    "price",
)


def schema_of(*text):
    return DataSchema(
        id="i", label="y", text=text, classes=("0", "1"), positive_label="1"
    )


def tables_of(**splits):
    """Splits of rows that each have a text per column."""
    return {
        split: pa.table(
            {
                "i": [f"{split}{n}" for n in range(len(rows))],
                **{f"t{k}": [row[k] for row in rows] for k in range(len(rows[0]))},
            }
        )
        for split, rows in splits.items()
    }


def exact_oracle(splits):
    """Row by row; rows without a text are left out."""
    texts = {s: [row for row in rows if any(row)] for s, rows in splits.items()}
    within = {
        split: sum(row in rows[:place] for place, row in enumerate(rows))
        for split, rows in texts.items()
    }
    names = list(texts)
    across = {
        (later, earlier): sum(row in texts[earlier] for row in texts[later])
        for place, later in enumerate(names)
        for earlier in names[:place]
    }
    return within, across, {split: len(rows) for split, rows in texts.items()}


CELL = st.sampled_from(["", "a", "b", "ab", "A", " a"])
ROWS = st.lists(st.tuples(CELL, CELL), min_size=1, max_size=10)


@given(train=ROWS, val=ROWS, test=ROWS)
@settings(max_examples=60, deadline=None)
def test_exact_duplicates_are_those_of_a_loop(train, val, test):
    splits = {"train": train, "val": val, "test": test}
    found = duplicate_texts(tables_of(**splits), schema_of("t0", "t1"))["exact"]
    within, across, rows = exact_oracle(splits)
    for split, about in found["within"].items():
        share = within[split] / rows[split] if rows[split] else 0
        assert about == {"rows": within[split], "share": share}
    assert {(p["split"], p["of"]): p["rows"] for p in found["across"]} == across
    for pair in found["across"]:
        assert len(pair["examples"]) == min(3, pair["rows"])
        assert all(name.startswith(pair["split"]) for name in pair["examples"])


def test_the_cells_of_a_row_are_not_just_joined():
    tables = tables_of(train=[("a", "bc"), ("ab", "c"), ("bc", "a"), ("abc", "")])
    found = duplicate_texts(tables, schema_of("t0", "t1"))
    assert found["exact"]["within"]["train"]["rows"] == 0


def sentences(count, seed):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=40)) for _ in range(count)]


def similarity(one, other):
    a, b = shingles(normalised(one)), shingles(normalised(other))
    return len(a & b) / len(a | b)


def near_oracle(texts):
    """Connected pairs above the similarity, compared one by one."""
    unit = list(range(len(texts)))
    for one in range(len(texts)):
        for other in range(one):
            if (
                unit[one] != unit[other]
                and similarity(texts[one], texts[other]) >= NEAR
            ):
                old = unit[one]
                unit = [unit[other] if u == old else u for u in unit]
    return unit


def test_near_duplicates_are_those_of_all_pairs():
    train = sentences(30, 1)
    val = [train[0].upper(), f"{train[1]} so", train[2][:100], *sentences(7, 2)]
    test = [f" {val[5].upper()}  ", val[5], val[5]]
    splits = {"train": train, "val": val, "test": test}
    rows = {split: [(text,) for text in texts] for split, texts in splits.items()}
    found = duplicate_texts(tables_of(**rows), schema_of("t0"))["near"]
    units = near_oracle([*train, *val, *test])
    of = {"train": units[:30], "val": units[30:40], "test": units[40:]}
    for split, mine in of.items():
        assert found["within"][split]["rows"] == len(mine) - len(set(mine))
    for pair in found["across"]:
        expected = sum(unit in of[pair["of"]] for unit in of[pair["split"]])
        assert pair["rows"] == expected
    assert [pair["rows"] for pair in found["across"]] == [2, 0, 3]
    assert not found["sampled"]
    assert found["compared_rows"] == {"train": 30, "val": 10, "test": 3}


@pytest.mark.parametrize(
    ("limit", "value"), [("SAMPLED_ROWS", 50), ("SAMPLED_CHARACTERS", 5000)]
)
def test_many_rows_are_sampled_for_near_duplicates_only(monkeypatch, limit, value):
    monkeypatch.setattr(duplicates, limit, value)
    rows = {s: [(t,) for t in sentences(100, 3)] for s in ("train", "val")}
    tables = tables_of(**rows)
    found = duplicate_texts(tables, schema_of("t0"))
    assert found["near"]["sampled"]
    compared = found["near"]["compared_rows"]
    assert 5 <= compared["train"] == compared["val"] <= 50
    assert found["exact"]["across"][0]["share"] == 1
    assert found == duplicate_texts(tables, schema_of("t0"))


def test_without_texts_there_is_nothing_to_compare():
    assert duplicate_texts(tables_of(train=[("a",)]), schema_of()) == {}
    empty = duplicate_texts(tables_of(train=[("",), ("",)]), schema_of("t0"))
    assert empty["exact"]["within"]["train"] == {"rows": 0, "share": 0.0}
    assert empty["near"]["within"]["train"] == {"rows": 0, "share": 0.0}


IDS = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


@given(train=IDS, val=IDS, test=IDS)
@settings(max_examples=60, deadline=None)
def test_shared_ids_are_those_of_a_loop(train, val, test):
    ids = {"train": train, "val": val, "test": test}
    tables = {s: pa.table({"i": pa.array(v, pa.string())}) for s, v in ids.items()}
    found = shared_ids(tables, schema_of())
    pairs = [("val", "train"), ("test", "train"), ("test", "val")]
    assert [(pair["split"], pair["of"]) for pair in found] == pairs
    for pair in found:
        shared = [one for one in ids[pair["split"]] if one in ids[pair["of"]]]
        assert pair["rows"] == len(shared)
        assert pair["examples"] == shared[:3]
        assert pair["share"] == len(shared) / max(1, len(ids[pair["split"]]))
