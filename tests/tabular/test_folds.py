"""Folds follow the id or the group, and nothing else."""

import subprocess
import sys
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest

from tabweave.errors import ConfigError
from tabweave.schema import DataSchema
from tabweave.tabular.config import RiskSettings
from tabweave.tabular.folds import assign_folds, hashed_folds

SCHEMA = DataSchema(
    id="id", label="y", categorical=("c",), classes=("0", "1"), positive_label="1"
)


def table(groups):
    n = len(groups)
    return pa.table(
        {
            "id": [f"row {i}" for i in range(n)],
            "y": ["0"] * n,
            "c": ["a"] * n,
            "seller": pa.array(groups, pa.string()),
        }
    )


def test_the_fold_is_the_keyed_hash_of_the_utf8_text():
    keys = ["", "a", "ä", "日本", "a" * 10_000]
    expected = [
        int.from_bytes(
            blake2b(
                key.encode(), digest_size=8, key=(7).to_bytes(8, "little")
            ).digest(),
            "little",
        )
        % 5
        for key in keys
    ]
    assert hashed_folds(pa.array(keys), 5, 7).tolist() == expected


def test_another_process_finds_the_same_folds():
    code = (
        "import pyarrow as pa; from tabweave.tabular.folds import hashed_folds;"
        "print(hashed_folds(pa.array([str(i) for i in range(50)]), 5, 3).tolist())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    here = hashed_folds(pa.array([str(i) for i in range(50)]), 5, 3).tolist()
    assert found.stdout.strip() == str(here)


def test_folds_are_even_and_change_with_the_seed():
    keys = pa.array([str(i) for i in range(20_000)])
    zero, one = hashed_folds(keys, 5, 0), hashed_folds(keys, 5, 1)
    # Five standard deviations of a binomial count.
    assert np.abs(np.bincount(zero, minlength=5) - 4000).max() < 5 * 57
    # Independent folds agree by chance in one row of five.
    assert abs((zero == one).mean() - 0.2) < 0.02


def test_rows_follow_their_ids_when_they_are_permuted():
    data = table(["s"] * 200)
    order = np.random.default_rng(0).permutation(200)
    settings = RiskSettings(cross_fit=4)
    folds = assign_folds(data, SCHEMA, settings)
    moved = assign_folds(data.take(order), SCHEMA, settings)
    np.testing.assert_array_equal(moved, folds[order])


def test_a_group_stays_in_one_fold_and_groups_spread():
    rng = np.random.default_rng(1)
    groups = [f"s{i}" for i in rng.integers(0, 60, 1000)]
    folds = assign_folds(table(groups), SCHEMA, RiskSettings(group="seller"))
    by_group = {}
    for group, fold in zip(groups, folds.tolist(), strict=True):
        assert by_group.setdefault(group, fold) == fold
    assert set(by_group.values()) == set(range(5))


@pytest.mark.parametrize("missing", ["", None])
def test_rows_without_a_group_are_placed_by_their_ids(missing):
    data = table([missing] * 100 + ["s"])
    grouped = assign_folds(data, SCHEMA, RiskSettings(group="seller"))
    alone = assign_folds(data, SCHEMA, RiskSettings())
    np.testing.assert_array_equal(grouped[:100], alone[:100])


def test_a_group_that_is_a_feature_or_absent_is_refused():
    with pytest.raises(
        ConfigError, match=r"'c', which is also under data\.categorical"
    ):
        assign_folds(table(["s"]), SCHEMA, RiskSettings(group="c"))
    with pytest.raises(ConfigError, match="'buyer', but the table has"):
        assign_folds(table(["s"]), SCHEMA, RiskSettings(group="buyer"))
