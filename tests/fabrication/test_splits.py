"""The demo data: same bytes each time, rates as said, a label that needs both."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tabweave.errors import ConfigError
from tabweave.fabrication import (
    COLUMNS,
    FabricationConfig,
    fabricate,
    fabricate_split,
)
from tabweave.schema import SPLITS, DataConfig
from tabweave.tables.files import RawTable, write_rows
from tabweave.tables.loading import load_splits

ROLES = DataConfig(
    id="order_id",
    label="is_abuse",
    text=("dialogue", "shiptrack"),
    categorical=("marketplace", "category", "payment_method", "seller_id"),
    numeric=("price", "quantity", "account_age_days", "seller_rating"),
)
# Markup, entities and markers are no tokens of a cleaned text.
NO_TOKEN = re.compile(r"<[^<>]*>|&#?\w+;|\[[be]om\]")


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return fabricate(FabricationConfig())


def column(table: pa.Table, name: str) -> list[str]:
    return table[name].to_pylist()


def share(table: pa.Table, name: str, value: str) -> float:
    return column(table, name).count(value) / table.num_rows


def test_every_split_has_its_rows_and_string_columns_in_order(tables):
    assert {split: table.num_rows for split, table in tables.items()} == {
        "train": 3000,
        "val": 600,
        "test": 1500,
    }
    for table in tables.values():
        assert tuple(table.column_names) == COLUMNS
        assert set(table.schema.types) == {pa.string()}
        assert sum(table[name].null_count for name in COLUMNS) == 0


def test_same_configuration_gives_same_bytes_in_any_order_of_calls(tables):
    for split in reversed(SPLITS):
        assert fabricate_split(FabricationConfig(), split).equals(tables[split])


def test_seed_and_split_change_what_is_drawn(tables):
    other = fabricate_split(FabricationConfig(seed=21), "val")
    starts = [tuple(column(t, "price")[:50]) for t in (*tables.values(), other)]
    assert len(set(starts)) == 4


def test_rows_of_one_split_do_not_change_the_others_texts():
    few = fabricate_split(FabricationConfig(train_rows=10, val_rows=50), "val")
    more = fabricate_split(FabricationConfig(train_rows=20, val_rows=50), "val")
    assert few.drop_columns("order_id").equals(more.drop_columns("order_id"))


def test_order_ids_are_unique_over_all_splits_and_keep_leading_zeros(tables):
    ids = [name for table in tables.values() for name in column(table, "order_id")]
    assert len(set(ids)) == len(ids) == 5100
    assert all(re.fullmatch(r"0\d{9}", name) for name in ids)


@pytest.mark.parametrize("rate", [0.05, 0.12, 0.4])
def test_abuse_rate_is_the_configured_one(rate):
    table = fabricate_split(FabricationConfig(abuse_rate=rate), "train")
    assert set(column(table, "is_abuse")) == {"0", "1"}
    # Four standard errors of a share over 3,000 rows.
    assert share(table, "is_abuse", "1") == pytest.approx(
        rate, abs=4 * np.sqrt(rate * (1 - rate) / 3000)
    )


def test_missing_cells_are_as_frequent_as_said(tables):
    train = tables["train"]
    assert 0.08 <= share(train, "seller_rating", "") <= 0.12
    assert 0.004 <= share(train, "dialogue", "") <= 0.018
    assert 0.004 <= share(train, "shiptrack", "") <= 0.018
    for name in set(COLUMNS) - {"seller_rating", "dialogue", "shiptrack"}:
        assert share(train, name, "") == 0


def test_lengths_of_threads(tables):
    threads = column(tables["train"], "dialogue")
    tokens = [len(re.findall(r"\w+|[^\w\s]", NO_TOKEN.sub(" ", t))) for t in threads]
    assert 450 <= np.mean([len(thread) for thread in threads]) <= 550
    assert 0.02 <= np.mean([count > 512 for count in tokens]) <= 0.045
    # Between ordinary and long there is a gap: no thread is long by accident.
    assert not [count for count in tokens if 300 < count <= 512]


def test_sellers_have_a_long_tail_and_newcomers_after_train(tables):
    train = column(tables["train"], "seller_id")
    known = set(train)
    assert 550 <= len(known) <= 840
    assert max(train.count(name) for name in known) > 30
    assert sum(train.count(name) == 1 for name in known) > 100
    for split in ("val", "test"):
        late = [name not in known for name in column(tables[split], "seller_id")]
        assert 0.04 <= np.mean(late) <= 0.2


def test_unknown_split_is_refused():
    with pytest.raises(ConfigError, match=r"no split 'dev'.*train.*val.*test"):
        fabricate_split(FabricationConfig(), "dev")


def test_files_are_small_and_read_back_as_the_same_rows(tables, tmp_path):
    raw = {}
    for split, table in tables.items():
        path = tmp_path / split / "marketplace.csv"
        write_rows(path, iter(table.to_batches()), table.schema)
        raw[split] = RawTable(path, split)
    assert sum(source.path.stat().st_size for source in raw.values()) <= 4_000_000
    loaded = load_splits(raw, ROLES)
    assert loaded.schema.classes == ("0", "1")
    for split, table in tables.items():
        for name in (ROLES.id, ROLES.label, *ROLES.text, *ROLES.categorical):
            assert loaded.tables[split][name].equals(table[name])
        for name in ROLES.numeric:
            empty = pc.equal(table[name], "")
            text = pc.if_else(empty, pa.scalar(None, pa.string()), table[name])
            assert loaded.tables[split][name].equals(text.cast(pa.float32()))


def numbers(table: pa.Table) -> np.ndarray:
    cells = [column(table, name) for name in ROLES.numeric]
    return np.array([[float(v or "nan") for v in cell] for cell in cells]).T


def test_text_and_table_together_beat_either_alone(tables):
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import OneHotEncoder

    train, test = tables["train"], tables["test"]
    y, y_test = (np.array(column(t, "is_abuse")).astype(int) for t in (train, test))

    def names(table: pa.Table) -> np.ndarray:
        return np.array([column(table, n) for n in ROLES.categorical[:3]]).T

    one_hot = OneHotEncoder(sparse_output=False).fit(names(train))
    x, x_test = (np.c_[numbers(t), one_hot.transform(names(t))] for t in (train, test))
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    w = words.fit_transform(column(train, "dialogue"))
    w_test = words.transform(column(test, "dialogue"))

    def trees(features: np.ndarray, features_test: np.ndarray) -> float:
        model = HistGradientBoostingClassifier(
            max_iter=80, learning_rate=0.06, max_leaf_nodes=6, random_state=0
        ).fit(features, y)
        return roc_auc_score(y_test, model.predict_proba(features_test)[:, 1])

    linear = LogisticRegression(C=3.0, max_iter=1000)
    folded = cross_val_predict(linear, w, y, cv=5, method="decision_function")
    scores = linear.fit(w, y).decision_function(w_test)
    text, table = roc_auc_score(y_test, scores), trees(x, x_test)
    both = trees(np.c_[x, folded], np.c_[x_test, scores])
    assert 0.74 <= table <= 0.82
    assert 0.74 <= text <= 0.85
    assert both >= max(text, table) + 0.04
