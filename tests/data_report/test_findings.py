import copy

import numpy as np
import pyarrow as pa
import pytest

from tabweave.data_report import data_report
from tabweave.data_report.findings import findings
from tabweave.schema import DataSchema

SCHEMA = DataSchema(
    id="i", label="y", text=("t",), categorical=("c",), numeric=("n",),
    classes=("0", "1"), positive_label="1",
)  # fmt: skip


def split(start, rows=100, **columns):
    numbers = np.random.default_rng(start).random(rows)
    good = {
        "i": [str(start + n) for n in range(rows)],
        "y": [str(n % 2) for n in range(rows)],
        "t": [
            f"{start + n} is a text of row {n} and split {start}" * 3
            for n in range(rows)
        ],
        "c": [f"c{n % 5}" for n in range(rows)],
        "n": pa.array(numbers, pa.float32()),
    }
    return pa.table({**good, **columns})


def found(schema=SCHEMA, **splits):
    tables = {"train": split(0), "val": split(1000), "test": split(2000), **splits}
    return [
        (one["severity"], one["split"], one["column"], one["message"])
        for one in data_report(tables, schema)["findings"]
        # The texts of this file differ by numbers only.
        if "nearly" not in one["message"]
    ]


def test_good_data_has_no_findings():
    assert found() == []


def test_ids_of_two_splits_are_said_with_a_few_of_them():
    ids = [*("1", "2", "3", "4"), *(f"v{n}" for n in range(96))]
    (line,) = found(val=split(1000, i=ids))
    assert line[:3] == ("warning", "val", "i")
    assert line[3].startswith(
        "4 ids are also in train, such as '1', '2', '3'. If these"
    )
    ids = ["2099", *(f"v{n}" for n in range(99))]
    (line,) = found(val=split(1000, i=ids))
    # The later of two splits is named first.
    assert line[1] == "test"
    assert line[3].startswith("1 ids are also in val, such as '2099'. If these")


def test_a_class_of_few_rows_is_a_warning():
    few = split(0, y=["1"] * 19 + ["0"] * 81)
    enough = split(0, y=["1"] * 20 + ["0"] * 80)
    assert [f[:3] for f in found(train=few) if "fewer" in f[3]] == [
        ("warning", "train", "y")
    ]
    assert not [f for f in found(train=enough) if "fewer" in f[3]]


@pytest.mark.parametrize(("name", "severity"), [("train", "error"), ("val", "warning")])
def test_a_class_without_rows_is_said(name, severity):
    schema = SCHEMA.model_copy(update={"classes": ("0", "1", "never")})
    (line,) = [f for f in found(schema) if f[1] == name]
    assert line[:3] == (severity, name, "y")
    assert line[3].startswith("no row has the classes 'never'; ")


def test_a_class_whose_share_moves_is_a_warning():
    moved = split(1000, y=["1"] * 85 + ["0"] * 15)
    lines = [f for f in found(val=moved) if "of train have it" in f[3]]
    assert [line[:3] for line in lines] == [("warning", "val", "y")] * 2
    assert lines[0][3].startswith("15.0% of the rows have the class '0', but 50.0%")
    chance = split(1000, y=["1"] * 60 + ["0"] * 40)
    assert not found(val=chance)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (50, []),
        (51, [("warning", "51.0% of the cells are missing")]),
        (100, [("error", "every cell is missing")]),
    ],
)
def test_missing_cells_are_reported_above_half(missing, expected):
    cells = pa.array([None] * missing + [float(n) for n in range(100 - missing)])
    lines = found(train=split(0, n=cells.cast(pa.float32())))
    assert [(f[0], f[3]) for f in lines if f[2] == "n"] == expected


@pytest.mark.parametrize("column", ["t", "c", "n"])
def test_a_constant_column_is_a_warning(column):
    value = pa.array([1.0] * 100, pa.float32()) if column == "n" else ["same"] * 100
    lines = [f for f in found(train=split(0, **{column: value})) if f[2] == column]
    assert ("warning", "train") in [line[:2] for line in lines]
    assert any("the same value" in line[3] for line in lines)


@pytest.mark.parametrize(("shared", "reported"), [(1, False), (2, True)])
def test_texts_of_another_split_are_a_warning_above_one_percent(shared, reported):
    texts = split(0)["t"].to_pylist()[:shared] + split(2000)["t"].to_pylist()[shared:]
    lines = [f for f in found(test=split(2000, t=texts)) if "equal to one" in f[3]]
    assert [line[:3] for line in lines] == [("warning", "test", None)] * reported


def test_a_column_that_is_the_label_is_a_warning():
    leak = split(0, c=[f"c{n % 2}" for n in range(100)])
    lines = [f for f in found(train=leak) if f[2] == "c" and f[1] == "train"]
    (line,) = lines
    assert line[0] == "warning"
    assert line[3].startswith("alone it tells the class '")


@pytest.mark.parametrize(("unseen", "reported"), [(5, False), (6, True)])
def test_unseen_categories_are_an_info_above_five_percent(unseen, reported):
    cells = ["new"] * unseen + ["c1"] * (100 - unseen)
    lines = [f for f in found(val=split(1000, c=cells)) if "never showed" in f[3]]
    expected = (
        "info",
        "val",
        "c",
        "6 rows (6.0%) hold a category that train never showed",
    )
    assert lines == [expected] * reported


def test_errors_come_first_and_infos_last():
    schema = SCHEMA.model_copy(update={"classes": ("0", "1", "never")})
    cells = ["new"] * 50 + ["c1"] * 50
    severities = [f[0] for f in found(schema, val=split(1000, c=cells))]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert {"error", "warning", "info"} == set(severities)


def test_a_sampled_share_is_said_to_be_a_least_one():
    texts = split(0)["t"].to_pylist()
    report = data_report({"train": split(0), "test": split(2000, t=texts)}, SCHEMA)
    sampled = copy.deepcopy(report)
    assert not [f for f in findings(report) if "nearly equal to one" in f["message"]]
    sampled["duplicates"]["near"]["sampled"] = True
    sampled["duplicates"]["exact"]["across"][0]["share"] = 0.5
    lines = [
        f["message"] for f in findings(sampled) if "nearly equal to one" in f["message"]
    ]
    assert lines[0].startswith("at least 100.0% of the rows of a sample have a text")
