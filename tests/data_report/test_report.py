import json

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tabweave.data_report import data_report
from tabweave.schema import DataSchema
from tabweave.storage.artifacts import dump_json


def schema_of(classes=("0", "1"), **columns):
    return DataSchema(
        **{"id": "i", "label": "y", "text": ("t",), "categorical": ("c",)}
        | {"numeric": ("n",), "classes": classes, "positive_label": classes[-1]}
        | columns
    )


def table(**columns):
    rows = len(columns["y"])
    good = {
        "i": [f"r{n}" for n in range(rows)],
        "t": [f"text {n}" for n in range(rows)],
        "c": ["x"] * rows,
        "n": [float(n) for n in range(rows)],
    }
    found = pa.table({**good, **columns})
    place = found.column_names.index("n")
    return found.set_column(place, "n", found["n"].cast(pa.float32()))


def test_a_small_report_is_known_by_heart():
    train = table(y=["0", "1", "1", "0"], t=["a", "", "a", "ccc"], n=[1, None, 2, 3])
    test = table(y=["0", "1"], t=["ccc", "d"], c=["x", "new"])
    sources = {"train": {"file": "train.csv", "format": "csv", "repaired_utf8": {}}}
    note = {"severity": "warning", "split": "train", "column": "n", "message": "m"}
    report = data_report({"train": train, "test": test}, schema_of(), sources, [note])
    found = report["splits"]["train"]
    assert found.pop("text_lengths")["t"]["max"] == 3
    assert found == {
        "file": "train.csv",
        "format": "csv",
        "repaired_utf8": {},
        "rows": 4,
        "classes": {"0": 2, "1": 2},
        "class_shares": {"0": 0.5, "1": 0.5},
        "missing": {"t": 1, "c": 0, "n": 1},
        "missing_rates": {"t": 0.25, "c": 0, "n": 0.25},
        "constant": ["c"],
        "distinct": {"c": 1},
        "numeric": {
            "n": {"min": 1, "q25": 1.5, "median": 2, "q75": 2.5, "max": 3, "mean": 2}
        },
    }
    unseen = report["splits"]["test"]["unseen_categories"]
    assert unseen == {"c": {"rows": 1, "share": 0.5}}
    assert report["duplicates"]["exact"] == {
        "within": {
            "train": {"rows": 1, "share": 1 / 3},
            "test": {"rows": 0, "share": 0.0},
        },
        "across": [
            {
                "split": "test",
                "of": "train",
                "rows": 1,
                "share": 0.5,
                "examples": ["r0"],
            }
        ],
    }
    assert report["shared_ids"] == [
        {
            "split": "test",
            "of": "train",
            "rows": 2,
            "share": 1.0,
            "examples": ["r0", "r1"],
        }
    ]
    assert report["leak_probe"] == {
        "rows": 4,
        "sampled": False,
        "columns": {"n": None, "c": None},
    }
    assert report["findings"][0] == note


def test_without_train_there_is_nothing_to_compare_with():
    report = data_report({"test": table(y=["0", "1"])}, schema_of())
    assert report["leak_probe"] == {}
    assert "unseen_categories" not in report["splits"]["test"]


def test_roles_may_be_absent():
    schema = schema_of(text=(), categorical=(), numeric=("n",))
    report = data_report({"train": table(y=["0", "1"])}, schema)
    assert report["duplicates"] == {}
    assert report["splits"]["train"]["distinct"] == {}


LONG = st.text(st.characters(exclude_categories=["Cs"]), min_size=81, max_size=200)


def strings(value):
    if isinstance(value, dict):
        yield from (s for pair in value.items() for part in pair for s in strings(part))
    elif isinstance(value, list):
        yield from (s for part in value for s in strings(part))
    elif isinstance(value, str):
        yield value


@given(labels=st.lists(LONG, min_size=2, max_size=3, unique=True), cell=LONG)
@settings(max_examples=40, deadline=None)
def test_no_cell_is_shown_beyond_80_characters(labels, cell):
    y = labels * 10
    same = [cell] * len(y)
    columns = {"i": [f"{cell}{n}" for n in range(len(y))], "t": same, "c": same}
    tables = {"train": table(y=y, **columns), "test": table(y=y[:12])}
    tables["val"] = table(
        y=y[: len(labels)], **{k: v[: len(labels)] for k, v in columns.items()}
    )
    report = data_report(tables, schema_of(tuple(labels)))
    json.loads(dump_json(report))
    shown = list(strings(report))
    for written in (*labels, cell):
        for part in (written[:81], repr(written)[:81]):
            assert not any(part in text for text in shown)
    examples = [p["examples"] for p in report["duplicates"]["exact"]["across"]]
    examples += [p["examples"] for p in report["shared_ids"]]
    assert all(len(ids) <= 3 for ids in examples)
    assert all(len(name) <= 80 for ids in examples for name in ids)


@given(st.permutations(range(30)))
@settings(max_examples=10, deadline=None)
def test_counts_do_not_depend_on_the_order_of_rows(order):
    train = table(y=["0", "1", "1"] * 10, t=["a", "b", "a"] * 10, c=["u", "v", ""] * 10)
    one = data_report({"train": train}, schema_of())
    other = data_report({"train": train.take(list(order))}, schema_of())
    for key in ("splits", "duplicates", "text_length_edges"):
        assert one[key] == other[key]
