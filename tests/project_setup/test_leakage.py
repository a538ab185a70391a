import numpy as np
import pyarrow as pa
import pytest

from tabweave.project_setup.columns import SampledColumn
from tabweave.project_setup.leakage import leakage_doubt


def column(name, values):
    cells = pa.array(["" if v is None else str(v) for v in values], pa.string())
    return SampledColumn(name, pa.string(), typed=False, cells=cells)


def labels(rng, rows, classes=2):
    return column("y", rng.integers(classes, size=rows))


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def test_the_label_under_another_name_is_a_doubt(rng):
    label = labels(rng, 400)
    names = {"0": "refused", "1": "paid"}
    copy = column("x", [names[v] for v in label.cells.to_pylist()])
    assert "alone it tells label" in leakage_doubt(copy, label)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_amount_that_orders_the_classes_is_a_doubt(rng, sign):
    label = labels(rng, 400)
    y = np.array([int(v) for v in label.cells.to_pylist()])
    amount = column("x", sign * (y + 0.9 * rng.random(400)))
    assert leakage_doubt(amount, label)


def test_being_filled_for_one_class_only_is_a_doubt(rng):
    label = labels(rng, 400)
    filled = [rng.random() if v == "1" else None for v in label.cells.to_pylist()]
    assert leakage_doubt(column("x", filled), label)


def test_one_class_of_several_is_enough(rng):
    label = labels(rng, 600, classes=4)
    knows_two = column("x", ["a" if v == "2" else "b" for v in label.cells.to_pylist()])
    assert "label '2'" in leakage_doubt(knows_two, label)


def test_many_categories_of_one_row_are_no_doubt(rng):
    label = labels(rng, 400)
    assert not leakage_doubt(column("x", range(400)), label)
    assert not leakage_doubt(column("x", [f"c{i // 2}" for i in range(400)]), label)


def test_a_rare_class_makes_no_doubt(rng):
    label = column("y", [1] * 3 + [0] * 997)
    assert not leakage_doubt(column("x", ["a"] * 500 + ["b"] * 500), label)
    assert not leakage_doubt(column("x", range(1000)), label)


def test_a_good_but_honest_column_is_no_doubt(rng):
    label = labels(rng, 400)
    flipped = [
        v if rng.random() < 0.9 else str(1 - int(v)) for v in label.cells.to_pylist()
    ]
    assert not leakage_doubt(column("x", flipped), label)
